"""Comparison of DICOM masks with each other and with files of labels, with and without a scan."""

import csv
import json

import numpy as np
import pytest
from commands import pleura, refused
from dicom_files import write_series

from pleura.corrections.saving import save_correction
from pleura.errors import DataError
from pleura.evaluation.compare import compare
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes
from pleura.viewer.case_list import find_cases

AFFINE = affine_from_axes((-12, 7, 30), ((0, 0, 2.5), (0, 0.75, 0), (0.7, 0, 0)))
SHAPE = (7, 22, 26)


@pytest.fixture
def folder(tmp_path):
    """Write a series, a mask in all formats, and masks that are smaller by a slice at each end."""
    write_series(tmp_path / "series", np.full(SHAPE, -800, np.int16), AFFINE)
    scan = read(tmp_path / "series", units="hu")
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:6, 4:18, 3:10], labels[1:6, 5:16, 15:23] = 1, 2
    less = labels.copy()
    less[[1, 5]] = 0
    for name, values in (("all", labels), ("less", less)):
        for suffix in (".nii.gz", ".dcm", ".rtstruct.dcm", ".seg.nrrd"):
            (tmp_path / name).mkdir(exist_ok=True)
            Mask(values, scan).write(tmp_path / name / f"case{suffix}")
    return tmp_path


def dice(comparison):
    return [score.metrics["dice"] for score in comparison.scores]


@pytest.mark.parametrize("first", [".nii.gz", ".dcm", ".rtstruct.dcm", ".seg.nrrd"])
@pytest.mark.parametrize("second", [".nii.gz", ".dcm", ".rtstruct.dcm", ".seg.nrrd"])
@pytest.mark.parametrize("order", [("all", "less"), ("less", "all")])
def test_any_two_files_are_compared_on_the_grid_of_the_scan(folder, first, second, order):
    pair = folder / order[0] / f"case{first}", folder / order[1] / f"case{second}"
    assert dice(compare(*pair, images=folder / "series")) == pytest.approx([0.75] * 3)
    if "rtstruct" not in first + second:
        assert dice(compare(*pair)) == pytest.approx([0.75] * 3)


def test_two_files_of_contours_need_the_scan(folder):
    pair = folder / "all" / "case.rtstruct.dcm", folder / "less" / "case.rtstruct.dcm"
    with pytest.raises(DataError, match="defines no grid") as error:
        compare(*pair)
    assert "--images" in error.value.hint


def test_folders_of_dicom_masks_are_matched_by_name(folder):
    masks = folder / "masks"
    masks.mkdir()
    (folder / "less" / "case.rtstruct.dcm").rename(masks / "case_lungs.rtstruct.dcm")
    references = folder / "references"
    references.mkdir()
    (folder / "all" / "case.nii.gz").rename(references / "case.nii.gz")
    write_series(references / "series", np.zeros((2, 8, 8), np.int16), AFFINE)  # not a mask
    found = compare(masks, references)
    assert found.cases == ["case"]
    assert dice(found) == pytest.approx([0.75] * 3)
    assert "Lung_R as label 1" in next(iter(found.label_decisions))


def test_structures_are_selected_on_the_command_line(folder):
    pair = folder / "all" / "case.rtstruct.dcm", folder / "all" / "case.nii.gz"
    table = folder / "scores.csv"
    pleura("compare", *pair, "--roi", "Lung_R=1,Lung_L=2", "--csv", table)
    with table.open(newline="") as file:
        rows = {row["region"]: float(row["dice"]) for row in csv.DictReader(file)}
    assert rows == {"lungs": 1, "right": 1, "left": 1}
    refused(
        *("compare", pair[1], pair[1], "--roi", "Lung_L=1"),
        says="no names of structures, such as Lung_L",
    )
    pleura(
        "compare",
        folder / "all" / "case.dcm",
        pair[0],
        "--roi",
        "Lung_L=1",
        "--images",
        folder / "series",
        "--report",
        folder / "report.html",
    )
    assert "data:image" in (folder / "report.html").read_text()
    both = pleura("compare", *pair, "--roi", "1=1", "--labels", "moose", code=2)
    assert "exclude each other" in both.stderr


def test_masks_are_measured(folder):
    lines = []
    for name in ("case.nii.gz", "case.dcm", "case.rtstruct.dcm", "case.seg.nrrd"):
        done = pleura("measure", folder / "series", folder / "all" / name)
        lines.append([line for line in done.stdout.splitlines() if "volume" in line])
    assert lines[0]
    assert lines == [lines[0]] * 4
    one = pleura("measure", folder / "series", folder / "all" / "case.dcm", "--roi", "Left lung=1")
    assert "labels: Left lung as label 1 (as requested)" in one.stdout
    refused(
        *("measure", folder / "series", folder / "all" / "case.dcm", "--roi", "Left lung=3"),
        says="the labels of lungs are 1 and 2",
    )
    refused(
        *("view", folder / "series", folder / "all" / "case.dcm", "--roi", "Left lung=3"),
        says="the labels of lungs are 1 and 2",
    )
    refused("measure", folder / "all" / "case.dcm", folder / "series", says="the image is a mask")


def test_structures_are_viewed_and_corrected(folder):
    mask = folder / "all" / "case.rtstruct.dcm"
    (case,) = find_cases(folder / "series", mask, roi={"Lung_L": 1})
    scan = case.read_scan()
    labels = read(folder / "all" / "case.nii.gz", units="hu").values()
    assert np.array_equal(case.read_mask(mask, scan).labels, labels == 2)
    corrected = np.where(labels == 2, 1, 0).astype(np.uint8)
    corrected[0] = 1
    Mask(corrected, scan).write(folder / "corrected.nii.gz")
    record = save_correction(case, (folder / "corrected.nii.gz").read_bytes())
    assert record["changed_slices"] == [0]
    assert case.latest_mask_path.name == "case.corrected.nii.gz"
    assert np.array_equal(case.read_mask(case.latest_mask_path, scan).labels, corrected)


@pytest.mark.parametrize("suffix", [".dcm", ".rtstruct.dcm", ".seg.nrrd"])
def test_info_lists_structures(folder, suffix):
    path = folder / "all" / f"case{suffix}"
    printed = pleura("info", path).stdout.splitlines()
    assert printed[0].endswith(" with 2 structures")
    assert [line.split()[0] for line in printed[1:]] == ["1", "2"]
    rows = json.loads(pleura("info", path, "--json", "-").stdout)["structures"]
    for row in rows:
        mask = read_mask(path, read(folder / "series", units="hu"), roi={row["name"]: 1})
        assert mask.labels.sum() == {1: 5 * 14 * 7, 2: 5 * 11 * 8}[row["number"]]
    codes = {".dcm": ["SCT:44029006"], ".seg.nrrd": ["SCT:39607008", "SCT:7771000"]}
    assert rows[1]["codes"] == codes.get(suffix, [])
