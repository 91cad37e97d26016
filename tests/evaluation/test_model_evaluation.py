import json

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from pleura.cli import cli
from pleura.engine.engine import DEFAULT_MODEL
from pleura.errors import DataError
from pleura.evaluation.cases import CaseTable
from pleura.evaluation.model import evaluate_model
from pleura.evaluation.probability import THRESHOLDS, ProbabilityHistogram, calibration_curve
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter


def guess(seed, shape=(40, 50)):
    """A reference, and a probability that is the share of lung of the reference."""
    rng = np.random.default_rng(seed)
    probability = rng.integers(0, 256, shape).astype(np.uint8)
    return probability, rng.random(shape) < probability / 255


def test_overlap_at_every_threshold_is_that_of_the_pixels():
    probability, reference = guess(0)
    ious, dices = ProbabilityHistogram.from_arrays(probability, reference).overlap()
    for threshold, iou, dice in zip(THRESHOLDS, ious, dices, strict=True):
        found = probability / 255 >= threshold
        both, either = (found & reference).sum(), (found | reference).sum()
        assert iou == pytest.approx(both / either)
        assert dice == pytest.approx(2 * both / (found.sum() + reference.sum()))


def test_overlap_of_nothing_with_nothing_is_undefined():
    empty = ProbabilityHistogram.from_arrays(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool))
    assert np.isnan(empty.overlap()).all()


def test_calibration_error_of_exact_and_overconfident_probabilities():
    honest = [ProbabilityHistogram.from_arrays(*guess(seed, (400, 500))) for seed in range(3)]
    found = calibration_curve(honest)
    assert found.expected_error < 0.01
    assert found.observed == pytest.approx(found.predicted, abs=0.02)
    assert sum(found.pixels) == 3 * 400 * 500
    probability, reference = guess(9, (400, 500))
    bold = np.where(probability > 127, 255, 0).astype(np.uint8)
    assert calibration_curve(
        [ProbabilityHistogram.from_arrays(bold, reference)]
    ).expected_error == pytest.approx(0.25, abs=0.01)


def test_a_sure_background_flatters_the_error_of_all_pixels_alone():
    probability, reference = guess(1)
    bold = np.where(probability > 127, 230, 26).astype(np.uint8)
    wide = np.zeros((400, 500), np.uint8), np.zeros((400, 500), bool)
    wide[0][:40, :50], wide[1][:40, :50] = bold, reference
    alone, surrounded = (
        calibration_curve([ProbabilityHistogram.from_arrays(*both)])
        for both in ((bold, reference), wide)
    )
    assert surrounded.expected_error < alone.expected_error / 50
    assert surrounded.uncertain_expected_error == pytest.approx(alone.uncertain_expected_error)
    assert surrounded.uncertain_fraction == pytest.approx(0.01)


@pytest.fixture(scope="module")
def scans(sample, tmp_path_factory):
    """The sample's volume as two cases: as it is, and upside down with another grid's axes."""
    folder = tmp_path_factory.mktemp("scans")
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    labels = Segmenter(None)(read(sample.folder / "volume" / "ct.nii.gz"))
    for part in ("images", "masks"):
        (folder / part).mkdir()
    nib.save(image, folder / "images" / "a.nii.gz")
    labels.write(folder / "masks" / "a_lungs.nii.gz")
    mask = nib.load(folder / "masks" / "a_lungs.nii.gz")
    for one, name in ((image, "images/b"), (mask, "masks/b_lungs")):
        turned = one.as_reoriented(nib.io_orientation(one.affine)[[1, 0, 2]] * [1, -1])
        nib.save(turned, folder / f"{name}.nii.gz")
    return folder


def test_model_evaluation_in_patient_coordinates(scans):
    found = evaluate_model(
        None, scans / "images", scans / "masks", cases=CaseTable({"a": "P", "b": "P"})
    )
    assert found.regions == ["lungs", "right", "left"]
    for score in found.scores:
        assert score.unit == "mm"
        assert score.patient == "P"
        assert score.metrics["dice"] > 0.999
    assert found.threshold == pytest.approx(0.5, abs=0.01)
    best = max(found.threshold_curve(), key=lambda row: row["dice"])
    assert best["dice"] > 0.98
    assert abs(best["threshold"] - 0.5) <= 0.1


def test_command_prints_groups_and_draws_the_page(scans, tmp_path):
    (tmp_path / "cases.csv").write_text("name,patient,kernel\na.nii.gz,P,soft\nb.nii.gz,Q,sharp\n")
    arguments = [
        *("evaluate", "default", str(scans / "images"), str(scans / "masks"), "-q"),
        *("--cases", str(tmp_path / "cases.csv"), "--by", "kernel"),
        *("--report", str(tmp_path / "report.html"), "--json", str(tmp_path / "scores.json")),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Dice, by group" in result.output
    assert "HD95, mm, by group" in result.output
    assert max(map(len, result.output.splitlines()[:-1])) <= 80
    assert "calibration error" in result.output
    content = json.loads((tmp_path / "scores.json").read_text())
    assert sorted(content["groups"]) == ["sharp", "soft"]
    assert len(content["threshold_curve"]) == len(THRESHOLDS)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("data:image/webp") == 2
    assert str(scans) not in page


def test_a_mask_on_another_grid_and_a_column_that_is_not_there_are_refused(scans, tmp_path):
    mask = nib.load(scans / "masks" / "a_lungs.nii.gz")
    nib.save(mask.slicer[..., :-1], tmp_path / "short.nii.gz")
    with pytest.raises(DataError, match="different grids"):
        evaluate_model(DEFAULT_MODEL, scans / "images" / "a.nii.gz", tmp_path / "short.nii.gz")
    (tmp_path / "cases.csv").write_text("name\na\n")
    arguments = ["evaluate", "default", str(scans / "images"), str(scans / "masks")]
    arguments += ["--cases", str(tmp_path / "cases.csv"), "--by", "kernel"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code != 0
    assert "no column kernel" in str(result.exception or result.output)
