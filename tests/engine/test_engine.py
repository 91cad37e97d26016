import json
import subprocess
import sys

import numpy as np
import pytest

from pleura.engine.engine import Engine
from pleura.engine.model_file import METADATA_KEY, read_metadata
from pleura.errors import ModelError
from pleura.formats.image_files import read_image_file


@pytest.fixture(scope="module")
def engine(model):
    return Engine(model, precision="fp32")


def slices(sample):
    names = ("LCTSC-201_058.tif", "LCTSC-201_037.tif", "LCTSC-101_071.tif")
    return np.stack([read_image_file(sample.images / name) for name in names]).astype(np.int16)


def test_probability_has_the_slices_shape_and_finds_lung(engine, sample):
    hu = slices(sample)
    found = engine.probability(hu)
    assert found.shape == hu.shape
    assert found.dtype == np.uint8
    reference = read_image_file(sample.masks / "LCTSC-201_058.tif") > 0
    lung = found[0] >= engine.threshold_level
    assert (lung & reference).sum() / (lung | reference).sum() > 0.8


def test_slices_do_not_hang_on_each_other(engine, sample):
    hu = slices(sample)
    alone = np.concatenate([engine.probability(hu[i : i + 1]) for i in range(3)])
    assert np.abs(engine.probability(hu).astype(int) - alone).max() <= 1


def test_slices_of_any_size_are_taken(engine, sample):
    for rows, columns in ((256, 256), (201, 243), (64, 90), (512, 400)):
        hu = np.resize(slices(sample)[0], (1, rows, columns))
        assert engine.probability(hu).shape == (1, rows, columns)


def test_onnx_runtime_agrees(engine, model, sample):
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    (theirs,) = session.run(None, {"hu": slices(sample)})
    assert np.abs(theirs.astype(int) - engine.probability(slices(sample))).max() <= 1


def test_bfloat16_draws_nearly_the_same_border(engine, model, sample):
    fast = Engine(model, precision="bf16").probability(slices(sample)) >= engine.threshold_level
    exact = engine.probability(slices(sample)) >= engine.threshold_level
    assert 2 * (fast & exact).sum() / (fast.sum() + exact.sum()) > 0.99


def test_record_says_what_the_model_is(model):
    record = read_metadata(model)
    assert record.labels == ("lung",)
    assert record.threshold == 0.5
    assert record.recipe["preprocessing"]["size"] == [64, 64]
    assert len(record.weights_sha256) == 64


@pytest.mark.parametrize("cut", [0, 10, 2000, -1, -100])
def test_truncated_model_is_refused(model, tmp_path, cut):
    path = tmp_path / "cut.onnx"
    path.write_bytes(model.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"truncated|corrupt"):
        Engine(path)


def test_model_without_our_record_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a model file of pleura"):
        Engine(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="no such model"):
        Engine(tmp_path / "b.onnx")


def test_model_of_a_newer_format_is_refused(model, tmp_path):
    import onnx

    content = onnx.load(model)
    (entry,) = (e for e in content.metadata_props if e.key == METADATA_KEY)
    entry.value = json.dumps({**json.loads(entry.value), "format": 99})
    onnx.save(content, tmp_path / "new.onnx")
    with pytest.raises(ModelError, match="format 99"):
        Engine(tmp_path / "new.onnx")


def test_nothing_is_sent_and_no_torch_is_loaded(model):
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import numpy as np; from pathlib import Path\n"
        "from pleura.segmentation.segmenter import Segmenter\n"
        "from pleura.formats.images import from_array\n"
        "rng = np.random.default_rng(0)\n"
        "scan = from_array(rng.integers(-1000, 100, (2, 64, 64), np.int16), units='hu')\n"
        f"Segmenter({str(model)!r})(scan)\n"
        "loaded = {n.partition('.')[0] for n, m in sys.modules.items() if m is not None}\n"
        "sys.exit(', '.join(loaded & {'torch', 'openvino_telemetry'}) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_onnx_runtime_is_an_engine_too(engine, model, sample):
    other = Engine(model, runtime="onnxruntime", threads=1)
    assert other.metadata == engine.metadata
    found = other.probability(slices(sample)).astype(int)
    assert np.abs(found - engine.probability(slices(sample))).max() <= 1
    other.release()


def test_onnx_runtime_that_is_not_installed_is_said(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="not installed"):
        Engine(model, runtime="onnxruntime")


def test_onnx_runtime_refuses_a_truncated_model(model, tmp_path):
    import onnx

    content = onnx.load(model)
    del content.graph.node[3:]
    onnx.save(content, tmp_path / "cut.onnx")
    with pytest.raises(ModelError, match=r"truncated|corrupt"):
        Engine(tmp_path / "cut.onnx", runtime="onnxruntime")


def test_ctrl_c_is_survived_after_an_engine_went_away_in_another_thread():
    code = (
        "import os, signal, threading; from pleura.engine.engine import Engine\n"
        "held = [Engine()]; held[0].prepare((1, 64, 64))\n"
        "thread = threading.Thread(target=held.clear); thread.start(); thread.join()\n"
        "signal.signal(signal.SIGINT, lambda *_: print('caught'))\n"
        "os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "caught\n")


def test_first_inferences_of_several_threads_do_not_wait_for_each_other():
    """OpenVINO's bindings convert a type for the first time; without a guard most tries hang."""
    code = (
        "import sys, threading; sys.setswitchinterval(1e-6)\n"
        "from pleura.engine.openvino_model import ov\n"
        "barrier = threading.Barrier(8)\n"
        "def convert(): barrier.wait(); ov.Type.u8.to_dtype()\n"
        "threads = [threading.Thread(target=convert) for _ in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
