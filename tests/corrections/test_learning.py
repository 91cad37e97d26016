import csv
import json
import os
import shutil
import signal

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from commands import pleura

from pleura.cli import cli
from pleura.cohort.batch import segment_all
from pleura.corrections.cases import ViewCase
from pleura.corrections.learning import SAMPLE, _held_out, corrected_cases, judge, write_slices
from pleura.corrections.saving import record_of
from pleura.errors import DataError
from pleura.formats.pictures import read_picture
from pleura.training import loop


@pytest.fixture(scope="module")
def results(sample, tmp_path_factory):
    """Four parts of a scan, segmented; a corner of both lungs taken out of two slices of three."""
    folder = tmp_path_factory.mktemp("cohort")
    whole = nib.load(sample.folder / "volume" / "ct.nii.gz")
    for i, start in enumerate((15, 25, 35, 45)):
        (folder / "scans").mkdir(exist_ok=True)
        nib.save(whole.slicer[:, :, start : start + 10], folder / "scans" / f"part{i}.nii.gz")
    rows = segment_all(folder / "scans", folder / "out")
    assert [row.status for row in rows] == ["done"] * 4
    for i in range(3):
        mask = nib.load(folder / "out" / f"part{i}_lungs.nii.gz")
        labels = np.asarray(mask.dataobj).copy()
        labels[:, 64:, 4:6] = 0
        target = folder / "out" / f"part{i}_lungs.corrected.nii.gz"
        nib.save(nib.Nifti1Image(labels, mask.affine), target)
    return folder / "out"


def parts(folder):
    with (folder / "split.csv").open(newline="") as file:
        return {row["name"]: row["subset"] for row in csv.DictReader(file)}


def test_corrected_slices_are_truth_and_the_rest_weigh_as_told(results, tmp_path):
    cases = corrected_cases(results)
    assert [case.name for case in cases] == ["part0", "part1", "part2"]
    found = write_slices(cases, tmp_path / "all", rest=1)
    assert (found.corrected, found.rest) == (6, 24)
    few = write_slices(cases, tmp_path / "few", rest=0.25)
    assert (few.corrected, few.rest) == (6, 6)
    none = write_slices(cases, tmp_path / "none", rest=0)
    assert (none.corrected, none.rest) == (6, 0)
    (held,) = found.held_out
    split = parts(tmp_path / "all")
    name = f"case-{[c.name for c in cases].index(held.name):04d}"
    assert {part for file, part in split.items() if file.startswith(name)} == {"test"}
    assert {part for file, part in split.items() if not file.startswith(name)} == {
        "training",
        "validation",
    }
    image = read_picture(tmp_path / "all" / "images" / "case-0001_z0004.tif")
    mask = read_picture(tmp_path / "all" / "masks" / "case-0001_z0004.tif")
    corrected = nib.load(results / "part1_lungs.corrected.nii.gz").get_fdata()[:, :, 4]
    assert (mask > 0).sum() == (corrected > 0).sum()
    assert image[mask > 0].mean() < -600


@pytest.mark.parametrize("seed", range(5))
def test_scans_of_one_patient_are_held_out_together(seed):
    cases = [ViewCase(f"scan{i}", lambda: None) for i in range(9)]
    patients = [f"P{i // 3}" for i in range(9)]
    held = {case.name for case in _held_out(cases, patients, seed)}
    assert len(held) == 3
    assert len({patients[int(name[-1])] for name in held}) == 1
    assert _held_out(cases, ["P"] * 9, seed) == []
    assert len(_held_out(cases, [case.name for case in cases], seed)) == 1


def test_nothing_corrected_is_said(results, tmp_path):
    shutil.copytree(results.parent, tmp_path / "cohort")
    for path in (tmp_path / "cohort" / "out").glob("*.corrected.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match="no mask here was corrected"):
        corrected_cases(tmp_path / "cohort" / "out")


def test_one_scan_with_two_corrected_slices_is_enough_only_with_the_rest(results, tmp_path):
    cases = corrected_cases(results)[:1]
    with pytest.raises(DataError, match="too few"):
        write_slices(cases, tmp_path / "none", rest=0)
    found = write_slices(cases, tmp_path / "some", rest=0.5)
    assert found.held_out == ()
    assert set(parts(tmp_path / "some").values()) == {"training", "validation", "test"}


@pytest.mark.slow
def test_training_on_corrections_says_what_it_was_before_and_after(results, tmp_path):
    shutil.copytree(results.parent, tmp_path / "cohort")
    out = tmp_path / "cohort" / "out"
    arguments = ["train", "--from", "default", "--corrected", str(out), "-q"]
    small = ["--set", "training.epochs=1", "--set", "training.threads=1"]
    target = ["-o", str(tmp_path / "mine")]
    result = CliRunner().invoke(cli, [*arguments, *target, *small], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "mine" / "before-after.json").read_text())
    assert set(told) - {"sample"} <= {"part0", "part1", "part2"}
    assert len(told) == 2
    assert told["sample"]["before"] > 0.9
    assert "6 corrected slices" in result.output
    assert f"sample{' ' * 35}{told['sample']['before']:.4f}" in result.output
    again = judge({"after": tmp_path / "mine" / "model.onnx"}, [])
    assert again["sample"]["after"] == told["sample"]["after"]


def test_a_stopped_training_on_corrections_goes_on_and_is_judged(
    results, model, tmp_path, monkeypatch, no_figures
):
    """And neither an existing run nor its slices are touched without being told."""
    shutil.copytree(results.parent, tmp_path / "cohort")
    out, run = tmp_path / "cohort" / "out", tmp_path / "mine"
    small = ["--set", "training.epochs=2", "--set", "training.threads=1", "--seed", "3"]
    small += ["--from", str(model)]
    arguments = ["train", "--corrected", str(out), "-o", str(run), "-q"]
    train = loop.train

    def stopping(*data, callbacks, **options):
        stop = loop.TrainingCallbacks(on_step=lambda report: os.kill(os.getpid(), signal.SIGINT))
        return train(*data, callbacks=stop, **options)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train", stopping)
        pleura(*arguments, *small, code=130)
    slices = sorted((tmp_path / "mine.corrected" / "images").iterdir())
    again = CliRunner().invoke(cli, arguments)
    assert "the run folder exists" in str(again.exception)
    assert sorted((tmp_path / "mine.corrected" / "images").iterdir()) == slices
    result = CliRunner().invoke(cli, [*arguments, "--resume"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads((run / "before-after.json").read_text())
    with (tmp_path / "mine.corrected" / "cases.csv").open(newline="") as file:
        held = {row["name"] for row in csv.DictReader(file) if row["subset"] == "test"}
    assert set(told) == held | {"sample"}
    whole = CliRunner().invoke(cli, [*arguments, *small, "--overwrite"], catch_exceptions=False)
    assert whole.exit_code == 0, whole.output


def test_only_slices_that_a_person_changed_are_truth_once_the_model_was_another(results, tmp_path):
    shutil.copytree(results.parent, tmp_path / "cohort")
    out = tmp_path / "cohort" / "out"
    for case in corrected_cases(out):
        record = record_of(case.corrected)
        record.write_text(json.dumps({"slices": [4]}))
        mask = nib.load(case.mask)  # a later model's, wrong everywhere
        nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), case.mask)
    found = write_slices(corrected_cases(out), tmp_path / "data", rest=0.5)
    assert found.corrected == 3


def test_the_scan_that_ships_is_the_sample_s(sample):
    for name in ("ct.nii.gz", "lungs.nii.gz"):
        assert (SAMPLE / name).read_bytes() == (sample.folder / "volume" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--corrected", "out", "images"], "leave out IMAGES"),
        ([], "IMAGES is missing, or --corrected"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, says, tmp_path):
    result = CliRunner().invoke(cli, ["train", *arguments, "-o", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert says in result.output
