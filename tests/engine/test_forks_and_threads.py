"""Threads and processes, as notebooks, web servers and `multiprocessing` use them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pleura
from pleura.engine.engine import Engine

SCRIPT = """
import multiprocessing as mp, os, sys
from concurrent.futures import ProcessPoolExecutor
import numpy as np
import pleura

def scan(_=None):
    hu = np.full((2, 48, 48), -1000, np.int16)
    hu[:, 4:44, 4:44] = 40
    hu[:, 10:30, 8:20] = hu[:, 10:30, 26:40] = -850
    return pleura.from_array(hu, spacing=(5, 6, 6), units="hu")

def work(_):
    return int((pleura.segment(scan()).labels > 0).sum())

def work_shared(_):
    return int((segmenter.segment(scan()).labels > 0).sum())

if __name__ == "__main__":
    segmenter = pleura.Segmenter(sys.argv[2], threads=1) if len(sys.argv) > 2 else None
    one = work_shared if segmenter else work
    first = one(0)
    {body}
    assert found == [first] * len(found), (first, found)
    print("done")
"""

POOL = """
    with mp.get_context("fork").Pool(2) as pool:
        found = pool.map(one, range(3), 1)
"""
EXECUTOR = """
    with ProcessPoolExecutor(1, mp_context=mp.get_context(sys.argv[1])) as pool:
        found = list(pool.map(one, range(2)))
"""
PLAIN = """
    child = os.fork()
    found = [one(0)]
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


def run(tmp_path, body, *arguments):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.replace("{body}", body))
    command = [sys.executable, "-W", "ignore", str(path), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout


needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@needs_fork
def test_a_fork_pool_works_after_a_segmentation_in_the_parent(tmp_path):
    run(tmp_path, POOL)


@needs_fork
def test_a_segmenter_of_the_parent_works_in_a_forked_process(tmp_path, model):
    run(tmp_path, PLAIN, "fork", model)


def test_a_spawn_executor_works_after_a_segmentation_in_the_parent(tmp_path):
    run(tmp_path, EXECUTOR, "spawn")


@needs_fork
def test_a_helper_process_that_cannot_run_is_an_error_that_names_spawn(model, monkeypatch):
    from pleura.engine.subprocess_model import SubprocessModel
    from pleura.errors import ModelError

    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: "/bin/false")
    with pytest.raises(ModelError, match="spawn"):
        SubprocessModel(model, 1, "auto", "openvino")
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: "/no/such/python")
    with pytest.raises(ModelError, match="spawn"):
        SubprocessModel(model, 1, "auto", "openvino")


@needs_fork
def test_a_helper_process_answers_as_the_engine_does_and_ends(model):
    from pleura.engine.subprocess_model import SubprocessModel
    from pleura.errors import ModelError

    hu = np.full((2, 48, 48), -800, np.int16)
    helper = SubprocessModel(model, 1, "fp32", "openvino")
    np.testing.assert_array_equal(helper.run(hu), Engine(model, 1, "fp32").probability(hu))
    with pytest.raises(RuntimeError):
        helper.run(hu[0])
    with pytest.raises(ModelError, match="truncated"):
        SubprocessModel(model.with_name("none.onnx"), 1, "auto", "openvino")


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_threads_share_a_segmenter(model, runtime):
    """Of several sizes at a time, while another thread releases the memory."""
    rng = np.random.default_rng(0)
    slices = [rng.integers(-1000, 100, (2, 40 + 8 * i, 48), np.int16) for i in range(4)]
    engine = Engine(model, 2, "fp32", runtime)
    expected = [engine.probability(one) for one in slices]

    def work(i):
        if i % 7 == 0:
            engine.release()
        return engine.probability(slices[i % 4])

    with ThreadPoolExecutor(4) as pool:
        for i, found in enumerate(pool.map(work, range(16))):
            np.testing.assert_array_equal(found, expected[i % 4])


def test_threads_share_a_segmenter_for_whole_scans(sample):
    with pleura.Segmenter() as segmenter, ThreadPoolExecutor(2) as pool:
        scans = [pleura.read(sample.images / "LCTSC-201_058.tif") for _ in range(4)]
        found = list(pool.map(lambda scan: segmenter(scan).labels, scans))
    assert found[0].any()
    for labels in found[1:]:
        np.testing.assert_array_equal(labels, found[0])


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "not enough memory to run the model on 1 slice of 48x48"),
        (RuntimeError("Exception from core.cpp:117:\nstd::bad_alloc\n"), "not enough memory"),
        (RuntimeError("Exception from core.cpp:117:\nno kernel\n"), r"cannot run .* \(no kernel\)"),
    ],
)
def test_lack_of_memory_and_other_failures_are_told_apart(model, monkeypatch, error, says):
    from pleura.errors import ModelError

    def fail(_):
        raise error

    engine = Engine(model, 1)
    monkeypatch.setattr(engine._model, "run", fail)
    with pytest.raises(ModelError, match=says):
        engine.probability(np.zeros((1, 48, 48), np.int16))
