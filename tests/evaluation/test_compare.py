import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pleura.cli import cli
from pleura.cli.scores import print_scores
from pleura.errors import DataError, DataWarning
from pleura.evaluation.cases import CaseTable
from pleura.evaluation.compare import compare
from pleura.formats.image_files import write_image_file
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.report.comparison import ComparisonOptions, compare_and_report

AFFINE = np.diag([-0.7, -0.7, 2.5, 1])


def lungs():
    """Two boxes: 1 right, 2 left; (columns, rows, slices) as NIfTI has them."""
    labels = np.zeros((40, 30, 12), np.uint8)
    labels[4:14, 8:22, 2:10], labels[24:34, 8:22, 2:10] = 1, 2
    return labels


def save(labels, path, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), path)


@pytest.fixture
def folders(tmp_path):
    """Three cases: right, with the left lung a voxel short, and nothing found."""
    short = lungs()
    short[33] = 0
    for i, found in enumerate((lungs(), short, np.zeros_like(short))):
        save(lungs(), tmp_path / "reference" / f"case{i}.nii.gz")
        save(found, tmp_path / "found" / f"case{i}_lungs.nii.gz")
    return tmp_path / "found", tmp_path / "reference"


def test_cases_are_matched_by_name_and_scored_by_region(folders):
    found = compare(*folders)
    assert found.regions == ["lungs", "right", "left"]
    perfect, short, missed = found.defined("left")
    assert perfect.metrics["dice"] == perfect.metrics["iou"] == 1
    assert perfect.unit == "mm"
    assert short.metrics["recall"] == pytest.approx(0.9)
    assert short.metrics["precision"] == 1
    assert short.metrics["dice"] == pytest.approx(1.8 / 1.9)
    assert short.metrics["hd"] == pytest.approx(0.7)
    assert short.metrics["volume_difference"] == pytest.approx(-14 * 8 * 0.7 * 0.7 * 2.5)
    assert short.metrics["largest_missed_area"] == pytest.approx(14 * 0.7 * 0.7)
    assert missed.outcome == "false_negative"
    assert missed.metrics["dice"] == 0


def test_missed_lung_counts_in_means_and_outcomes(folders):
    found = compare(*folders)
    assert found.outcome_counts() == {
        "true_positive": 2,
        "true_negative": 0,
        "false_negative": 1,
        "false_positive": 0,
    }
    dice = found.summary()["dice"]
    assert dice.min == 0
    assert dice.mean < 0.67
    assert found.summary()["hd95"].max > 30


def test_two_empty_masks_are_excluded_from_means(folders):
    nothing = np.zeros_like(lungs())
    save(nothing, folders[1] / "case2.nii.gz")
    found = compare(*folders)
    assert found.outcome_counts()["true_negative"] == 1
    assert found.summary()["dice"].n_cases == 2


def test_false_positive_lung_counts(folders):
    save(np.zeros_like(lungs()), folders[1] / "case0.nii.gz")
    found = compare(*folders)
    assert found.outcome_counts()["false_positive"] == 1
    assert found.summary()["dice"].mean < 0.34


def test_intervals_are_over_patients(folders):
    known = {f"case{i}": "anna" if i < 2 else "bert" for i in range(3)}
    spread = compare(*folders, cases=CaseTable(known)).summary()["dice"]
    assert (spread.n_cases, spread.n_patients) == (3, 2)


def test_orientation_of_the_files_does_not_matter(folders, tmp_path):
    flipped = nib.as_closest_canonical(nib.load(folders[0] / "case1_lungs.nii.gz"))
    nib.save(flipped, tmp_path / "turned.nii.gz")
    turned = compare(tmp_path / "turned.nii.gz", folders[1] / "case1.nii.gz")
    plain = compare(folders[0] / "case1_lungs.nii.gz", folders[1] / "case1.nii.gz")
    assert turned.defined("left")[0].metrics == pytest.approx(plain.defined("left")[0].metrics)


def test_pictures_are_measured_in_pixels(tmp_path):
    mask = np.zeros((50, 60), np.uint8)
    mask[10:30, 10:30] = 255
    moved = np.roll(mask, 3, 1)
    for kind, picture in (("a", moved), ("b", mask)):
        (tmp_path / kind).mkdir()
        write_image_file(tmp_path / kind / "slice.png", picture)
    (score,) = compare(tmp_path / "a", tmp_path / "b").scores
    assert score.unit == "px"
    assert score.metrics["hd"] == 3
    assert score.metrics["largest_missed_area"] == 60


def test_masks_of_other_grids_are_refused(folders, tmp_path):
    save(lungs()[:, :, :5], folders[0] / "case0_lungs.nii.gz")
    with pytest.raises(DataError, match="different grids"):
        compare(*folders)
    (folders[0] / "case0_lungs.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 reference.* without prediction: case0"):
        compare(*folders)
    shutil.copy(folders[1] / "case1.nii.gz", folders[1] / "case1_mask.nii.gz")
    with pytest.raises(DataError, match="two files belong to the case"):
        compare(*folders)
    with pytest.raises(DataError, match="no such folder"):
        compare(tmp_path / "gone", folders[1])
    with pytest.raises(DataError, match="a file, not a folder"):
        compare(folders[1] / "case1.nii.gz", folders[1])


def test_two_models_are_compared_on_the_same_cases(folders):
    found = compare(*folders)
    perfect = compare(folders[1], folders[1])
    change = found.differences(perfect)["dice"]
    assert change.mean == pytest.approx(1 - found.summary()["dice"].mean)


def test_one_function_compares_and_writes(folders, tmp_path):
    predicted, reference = folders
    options = ComparisonOptions(
        against=predicted, csv=tmp_path / "scores.csv", report=tmp_path / "report.html"
    )
    result = compare_and_report(predicted, reference, options)
    assert result.comparison.scores == compare(predicted, reference).scores
    assert {difference.mean for difference in result.differences.values()} == {0}
    assert "differences" in result.to_dict()
    assert (tmp_path / "scores.csv").exists()
    assert (tmp_path / "report.html").exists()


def test_command_prints_and_writes_differences(folders, tmp_path):
    (tmp_path / "patients.csv").write_text("name,patient\ncase0,a\ncase1,a\ncase2,b\n")
    arguments = [
        *("compare", str(folders[0]), str(folders[1]), "--against", str(folders[1])),
        *("--cases", str(tmp_path / "patients.csv"), "--csv", str(tmp_path / "cases.csv")),
        *("--json", str(tmp_path / "scores.json"), "-q"),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    with (tmp_path / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert {row["outcome"] for row in rows} == {"true_positive", "false_negative"}
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["summary"]["lungs"]["metrics"]["dice"]["n_patients"] == 2
    assert scores["differences"]["dice"]["mean"] > 0.3


def test_a_mask_without_orientation_has_that_of_its_nifti(tmp_path):
    """RAS, as most NIfTI files are: rows run to the front, and the TIFF knows nothing of it."""
    own = np.diag([0.7, 0.7, 2.5, 1])
    labels = lungs()
    labels[5:9, 8:10, 3] = 0  # nothing in it is symmetric
    save(labels, tmp_path / "reference.nii.gz", own)
    scan = read(tmp_path / "reference.nii.gz", units="hu")
    mask = read_mask(tmp_path / "reference.nii.gz", scan)
    for name in ("found.tif", "found.npy", "found.nrrd"):
        mask.write(tmp_path / name)
        found = compare(tmp_path / name, tmp_path / "reference.nii.gz")
        assert [score.metrics["dice"] for score in found.scores] == [1, 1, 1]
        assert found.scores[0].unit == "mm"


def test_one_label_for_both_lungs_is_not_scored_by_side(tmp_path):
    save(lungs(), tmp_path / "reference.nii.gz")
    save((lungs() > 0).astype(np.uint8), tmp_path / "one.nii.gz")
    found = compare(tmp_path / "one.nii.gz", tmp_path / "reference.nii.gz")
    assert [(score.region, score.metrics["dice"]) for score in found.scores] == [("lungs", 1)]
    save(np.where(lungs() == 1, 1, 0).astype(np.uint8), tmp_path / "right.nii.gz")
    found = compare(tmp_path / "right.nii.gz", tmp_path / "reference.nii.gz")
    assert [score.outcome for score in found.scores] == [
        "true_positive",
        "true_positive",
        "false_negative",
    ]


def test_true_negatives_count_in_differences(folders, tmp_path):
    empty = np.zeros_like(lungs())
    speck = empty.copy()
    speck[3, 3, 3] = 1
    save(empty, folders[1] / "none.nii.gz")
    save(empty, folders[0] / "none_lungs.nii.gz")
    shutil.copytree(folders[0], tmp_path / "other")
    save(speck, tmp_path / "other" / "none_lungs.nii.gz")
    first, second = compare(*folders), compare(tmp_path / "other", folders[1])
    changes = first.differences(second)
    assert changes["dice"].mean == pytest.approx(-1 / 4)
    assert changes["hd95"].mean > 0
    assert second.differences(first)["dice"].mean == pytest.approx(1 / 4)


def test_a_photograph_is_not_a_mask(tmp_path):
    save(lungs(), tmp_path / "reference.nii.gz")
    grey = np.random.default_rng(0).integers(-900, 900, lungs().shape).astype(np.int16)
    save(grey, tmp_path / "ct.nii.gz")
    with pytest.raises(DataError, match="are not labels"):
        compare(tmp_path / "ct.nii.gz", tmp_path / "reference.nii.gz")
    slice_ = (lungs()[..., 4].T > 0).astype(np.uint8) * 255
    Image.fromarray(slice_).save(tmp_path / "mask.jpg")
    write_image_file(tmp_path / "mask.png", slice_)
    with pytest.raises(DataError, match="losslessly"):
        compare(tmp_path / "mask.jpg", tmp_path / "mask.png")


def test_a_tilted_gantry_makes_no_voxel_larger(tmp_path):
    tilted = AFFINE.copy()
    tilted[1, 2] = 2.5 * np.tan(np.radians(20))
    short = lungs()
    short[33] = 0
    save(lungs(), tmp_path / "reference.nii.gz", tilted)
    save(short, tmp_path / "found.nii.gz", tilted)
    scores = compare(tmp_path / "found.nii.gz", tmp_path / "reference.nii.gz").scores
    assert scores[0].metrics["volume_error"] == pytest.approx(14 * 8 * 0.7 * 0.7 * 2.5, rel=1e-3)


def test_the_worst_difference_of_volumes_is_the_largest(folders):
    found = compare(*folders).summary()["volume_difference"]
    assert found.min == pytest.approx(-2 * 10 * 14 * 8 * 0.7 * 0.7 * 2.5)
    more = compare(folders[1], folders[1]).summary()["volume_difference"]
    assert (more.min, more.max) == (0, 0)


def test_cases_that_are_not_in_the_table_are_named(folders, tmp_path):
    (tmp_path / "cases.csv").write_text("name,patient\nother0,A\ncase1_lungs,B\ncase1,B\n")
    arguments = ["compare", *map(str, folders), "--cases", str(tmp_path / "cases.csv"), "-q"]
    with pytest.warns(DataWarning, match=r"2 of 3 cases have no patient in .*: case0, case2;"):
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0


def test_a_comparison_displays_itself_briefly(folders):
    found = compare(*folders)
    assert repr(found) == "Comparison(3 cases; mean Dice 0.6581)"
    html = found._repr_html_()
    assert html.count("<table>") == 3
    assert "left: 2 with lung in both masks, 1 missed" in html


def test_a_comparison_of_one_case_displays_one_table_with_a_column_per_region(folders):
    predicted, reference = (sorted(folder.iterdir())[0] for folder in folders)
    found = compare(predicted, reference)
    html = found._repr_html_()
    assert html.count("<table>") == 1
    assert all(f">{region}</th>" in html for region in ("lungs", "right", "left"))
    assert f"{found.scores[0].metrics['dice']:.3f}" in html
    assert all(label in html for label in ("HD95, mm", "Size difference, ml", "area, mm²"))


def test_command_prints_the_important_metrics_of_one_case_with_units(folders, capsys):
    predicted, reference = (sorted(folder.iterdir())[0] for folder in folders)
    print_scores(compare(predicted, reference))
    output = capsys.readouterr().out
    assert len(output.splitlines()) <= 12
    assert all(label in output for label in ("Dice", "HD95, mm", "Size difference, ml"))
    assert "e+" not in output


def test_groups_of_cases_have_statistics_of_their_own(folders):
    found = compare(*folders, cases=CaseTable(groups={"case0": "a", "case1": "b"}))
    groups = found.by_group()
    assert {name: part.cases for name, part in groups.items()} == {
        "(not given)": ["case2"],
        "a": ["case0"],
        "b": ["case1"],
    }
    assert found.to_dict()["groups"]["b"]["lungs"]["metrics"]["dice"]["n_cases"] == 1
    assert found.to_csv().startswith("case,patient,group,region,")
    assert compare(*folders).by_group() == {}


def test_a_table_of_cases_is_written(folders, tmp_path):
    found = compare(*folders)
    found.write_csv(tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text() == found.to_csv()
