"""Trainings are logged with MLflow and Weights & Biases, without a server."""

import logging
import subprocess
import sys

import pytest
from click.testing import CliRunner

import pleura
from pleura.cli import cli
from pleura.errors import RunError
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.recipe_loading import load_recipe
from pleura.training.run import open_run
from pleura.training.train import resume, train

QUICK = (
    "training.epochs=2",
    "training.threads=1",
    "preprocessing.size=[32,32]",
    "network.channels=[4,8]",
)


@pytest.fixture
def recipe():
    return load_recipe("quick", QUICK)


def test_mlflow_logs_recipe_and_epochs(sample, recipe, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    run = train(
        sample.images, sample.masks, tmp_path / "run", recipe, callbacks=pleura.track_with_mlflow()
    )
    (logged,) = mlflow.search_runs(experiment_names=["pleura"], output_format="list")
    assert logged.data.params["network.channels"] == "[4, 8]"
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["validation_loss"] == pytest.approx(
        run.history()[-1]["validation_loss"]
    )
    assert run.record["trackers"] == {"mlflow": logged.info.run_id}
    text = str(logged.to_dictionary())
    assert str(sample.images) not in text


def test_wandb_logs_to_a_folder(sample, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_HOST", "name-of-this-computer")
    code = (
        "import pleura; from pleura.training.recipe_loading import load_recipe\n"
        f"recipe = load_recipe('quick', {QUICK})\n"
        f"images, masks = {str(sample.images)!r}, {str(sample.masks)!r}\n"
        "pleura.train(images, masks, 'run', recipe, callbacks=pleura.track_with_wandb())"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    assert folder.name.endswith(open_run(tmp_path / "run").record["trackers"]["wandb"])
    content = file.read_bytes()
    assert b"validation_loss" in content
    assert b"name-of-this-computer" not in content
    assert str(sample.images).encode() not in content
    assert str(tmp_path).encode() not in content


def test_tracker_that_is_not_installed_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(RunError, match="mlflow is not installed"):
        pleura.track_with_mlflow()


def test_error_of_a_tracker_is_one_of_pleura(sample, recipe, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    callbacks = pleura.track_with_mlflow()
    with pytest.raises(RunError, match="mlflow cannot start a run"):
        train(sample.images, sample.masks, tmp_path / "run", recipe, callbacks=callbacks)


def test_start_and_end_are_called_in_order_also_after_an_error(sample, recipe, tmp_path):
    calls = []

    def fail(row):
        raise RuntimeError("disk full")

    first = TrainingCallbacks(
        on_start=lambda run: calls.append("start"),
        on_end=lambda run: calls.append(f"end, finished {run.finished}"),
    )
    second = TrainingCallbacks(on_start=lambda run: calls.append("second"), on_epoch=fail)
    with pytest.raises(RuntimeError, match="disk full"):
        train(sample.images, sample.masks, tmp_path / "run", recipe, callbacks=first + second)
    assert calls == ["start", "second", "end, finished False"]
    calls.clear()
    resume(sample.images, sample.masks, tmp_path / "run", callbacks=first)
    assert calls == ["start", "end, finished True"]


def test_log_file_of_a_training(sample, tmp_path):
    log = tmp_path / "log.txt"
    options = [argument for change in QUICK for argument in ("--set", change)]
    arguments = [str(sample.images), str(sample.masks), "-o", str(tmp_path / "run"), *options]
    done = CliRunner().invoke(cli, ["train", *arguments, "-r", "quick", "--log-file", str(log)])
    assert done.exit_code == 0, done.output
    lines = log.read_text().splitlines()
    assert any("INFO Epoch 2 of 2: loss" in line for line in lines)
    assert lines[-1].endswith("Saved the run after epoch 2 of 2")
    handlers = logging.getLogger("pleura").handlers
    assert not any(isinstance(handler, logging.FileHandler) for handler in handlers)


def test_log_file_in_a_missing_folder_is_an_error_before_the_training(sample, tmp_path):
    data = [str(sample.images), str(sample.masks), "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(
        cli, ["train", *data, "--log-file", str(tmp_path / "none" / "log.txt")]
    )
    assert isinstance(done.exception, RunError)
    assert not (tmp_path / "run").exists()
