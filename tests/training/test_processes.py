import os
import subprocess
import sys

import pytest
import torch

from pleura.training.recipe_loading import build_recipe
from pleura.training.run import open_run
from pleura.training.tensor_files import load_tensors
from pleura.training.train import train

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes over loopback")


TEARDOWN = "terminate called without an active exception"
"""PyTorch rarely aborts so while a process exits that has completed its work."""


def torchrun(processes, *arguments, check=True):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert not check or done.returncode == 0 or TEARDOWN in done.stderr, done.stderr
    return done


def train_in(processes, *arguments, check=True):
    return torchrun(processes, "-m", "pleura", "train", *arguments, check=check)


def recipe_file(tiny, path, **training):
    """Write recipe `tiny` without dropout: two processes would not drop the same."""
    values = tiny.model_dump(mode="json")
    values["network"] |= {"dropout": 0.0}
    values["training"] |= training
    values["loss"] |= {"cross_entropy": 1.0, "dice": 1.0}
    path.write_text(build_recipe(values, "test").to_yaml())
    return path


def losses(run):
    return [(row["loss"], row["validation_loss"]) for row in run.history()]


def test_two_processes_train_what_one_trains(sample, tiny, tmp_path):
    recipe = recipe_file(tiny, tmp_path / "recipe.yaml")
    data = (sample.images, sample.masks, "--recipe", recipe, "-q")
    one = train(sample.images, sample.masks, tmp_path / "one", recipe)
    train_in(2, *data, "-o", tmp_path / "two")
    two = open_run(tmp_path / "two")
    assert two.finished
    for first, second in zip(losses(one), losses(two), strict=True):
        assert first == pytest.approx(second, rel=1e-4)
    first, second = (load_tensors(run.weights)["network"] for run in (one, two))
    assert all(torch.allclose(first[k], second[k], rtol=0, atol=1e-4) for k in first)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on(sample, tiny, tmp_path):
    recipe = recipe_file(tiny, tmp_path / "recipe.yaml", epochs=2, precision="bf16", ema_decay=0.9)
    data = (sample.images, sample.masks, "-q")
    train_in(2, *data, "--recipe", recipe, "-o", tmp_path / "whole")
    stopping = tmp_path / "stop.py"
    stopping.write_text(
        "import os, signal, sys\n"
        "from pleura.training.callbacks import TrainingCallbacks\n"
        "from pleura.training.train import train\n"
        "def stop(report):\n"
        "    if os.environ['RANK'] == '1' and report.epoch == 2 and report.step == 1:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        f"train({str(sample.images)!r}, {str(sample.masks)!r}, {str(tmp_path / 'cut')!r},"
        f" {str(recipe)!r}, callbacks=TrainingCallbacks(on_step=stop))\n"
    )
    torchrun(2, stopping)
    assert not open_run(tmp_path / "cut").finished
    train_in(2, *data, "-o", tmp_path / "cut", "--resume")
    cut, whole = open_run(tmp_path / "cut"), open_run(tmp_path / "whole")
    assert cut.finished
    first, second = (load_tensors(run.weights)["network"] for run in (cut, whole))
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.slow
def test_what_cannot_be_shared_is_refused_by_all(sample, tiny, tmp_path):
    recipe = recipe_file(tiny, tmp_path / "recipe.yaml", batch_size=7)
    data = (sample.images, sample.masks, "--recipe", recipe, "-q")
    done = train_in(2, *data, "-o", tmp_path / "run", check=False)
    assert done.returncode != 0
    assert "a batch of 7 images cannot be divided by 2 processes" in done.stderr
    assert not (tmp_path / "run").exists()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    recipe = recipe_file(tiny, tmp_path / "recipe.yaml")
    done = train_in(2, *data, "-o", tmp_path / "there", check=False)
    assert done.returncode != 0
    assert "the run folder already exists" in done.stderr
