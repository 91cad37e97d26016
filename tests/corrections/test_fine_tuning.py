import csv
import json
import os
import shutil
import signal

import pytest
from click.testing import CliRunner
from commands import pleura

from pleura.cli import cli
from pleura.corrections import fine_tuning
from pleura.corrections.comparison import SAMPLE, ScoreChange, compare_models
from pleura.corrections.training_slices import TrainingSlices
from pleura.training.callbacks import TrainingCallbacks


@pytest.mark.slow
def test_the_command_prints_the_scores_before_and_after(results, tmp_path):
    shutil.copytree(results.parent, tmp_path / "cohort")
    out = tmp_path / "cohort" / "out"
    arguments = ["train", "--from", "default", "--corrected", str(out)]
    small = ["--set", "training.epochs=1", "--set", "training.threads=1"]
    target = ["-o", str(tmp_path / "mine")]
    result = CliRunner().invoke(cli, [*arguments, *target, *small], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "mine" / "before-after.json").read_text())
    assert set(scores) - {"sample"} <= {"part0", "part1", "part2"}
    assert len(scores) == 2
    assert scores["sample"]["before"] > 0.9
    assert "6 corrected slices" in result.output
    assert f"sample{' ' * 35}{scores['sample']['before']:.4f}" in result.output
    (again,) = compare_models("default", tmp_path / "mine" / "model.onnx")
    assert again == ScoreChange("sample", **scores["sample"])


def test_an_interrupted_fine_tuning_is_resumed_and_evaluated(
    results, model, tmp_path, monkeypatch, no_figures
):
    """And neither an existing run nor its slices are replaced without --overwrite."""
    shutil.copytree(results.parent, tmp_path / "cohort")
    out, run = tmp_path / "cohort" / "out", tmp_path / "mine"
    small = ["--set", "training.epochs=2", "--set", "training.threads=1", "--seed", "3"]
    small += ["--from", str(model)]
    arguments = ["train", "--corrected", str(out), "-o", str(run), "-q"]
    train = fine_tuning.train

    def interrupted(*data, callbacks, **options):
        stop = TrainingCallbacks(on_step=lambda report: os.kill(os.getpid(), signal.SIGINT))
        return train(*data, callbacks=stop, **options)

    with monkeypatch.context() as patched:
        patched.setattr(fine_tuning, "train", interrupted)
        pleura(*arguments, *small, code=130)
    slices = sorted((tmp_path / "mine.corrected" / "images").iterdir())
    again = CliRunner().invoke(cli, arguments)
    assert "the run folder already exists" in str(again.exception)
    assert sorted((tmp_path / "mine.corrected" / "images").iterdir()) == slices
    result = CliRunner().invoke(cli, [*arguments, "--resume"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    scores = json.loads((run / "before-after.json").read_text())
    with (tmp_path / "mine.corrected" / "cases.csv").open(newline="") as file:
        held = {row["name"] for row in csv.DictReader(file) if row["subset"] == "test"}
    assert set(scores) == held | {"sample"}
    whole = CliRunner().invoke(cli, [*arguments, *small, "--overwrite"], catch_exceptions=False)
    assert whole.exit_code == 0, whole.output


def test_a_result_prints_its_scores_and_warns_where_the_model_is_worse(small_run, tmp_path):
    slices = TrainingSlices(tmp_path, tmp_path, tmp_path, (), 6, 2)
    scores = (ScoreChange("part0", 0.9, 0.95), ScoreChange("sample", 0.97, 0.96))
    result = fine_tuning.FineTuningResult(small_run, slices, tmp_path / "model.onnx", scores)
    assert str(result).splitlines()[0].split() == ["Dice", "of", "both", "lungs", "before", "after"]
    assert str(result).splitlines()[2].split() == ["sample", "0.9700", "0.9600"]
    assert [score.case for score in result.worse] == ["sample"]
    assert "no scan is held out" in result.warnings[0]
    assert "worse on sample" in result.warnings[1]
    assert "interrupted" in str(fine_tuning.FineTuningResult(small_run, slices))


def test_the_installed_sample_is_that_of_the_tests(sample):
    for name in ("ct.nii.gz", "lungs.nii.gz"):
        assert (SAMPLE / name).read_bytes() == (sample.folder / "volume" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corrected", "out", "images"], "takes no IMAGES"),
        ([], "IMAGES or --corrected is missing"),
    ],
)
def test_contradictory_arguments_are_refused(arguments, message, tmp_path):
    result = CliRunner().invoke(cli, ["train", *arguments, "-o", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert message in result.output
