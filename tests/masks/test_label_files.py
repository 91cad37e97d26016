"""Label files of other tools: labels are interpreted and reported, or the file is refused."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from pleura.errors import DataError, ScanError
from pleura.evaluation.compare import compare
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.measurement.measure import measure
from pleura.scan.labels import LEFT, RIGHT

RAS = np.diag([-1.0, -1.0, 2.0, 1.0])  # as most scanners: x to the left, y to the back


def lungs(right, left, dtype=np.uint8):
    """Labels (columns, rows, slices) of two lungs, each with its labels from top to bottom."""
    volume = np.zeros((40, 20, 12), dtype)
    for columns, labels in ((slice(3, 15), right), (slice(25, 37), left)):
        for part, label in zip(np.array_split(np.arange(12), len(labels)), labels, strict=True):
            volume[columns, 4:16, part[0] : part[-1] + 1] = label
    return volume


def saved(tmp_path, volume, name="mask.nii.gz", affine=RAS):
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / name)
    return tmp_path / name


@pytest.fixture
def scan(tmp_path):
    values = np.full((40, 20, 12), -800, np.int16)
    return read(saved(tmp_path, values, "ct.nii.gz"), units="hu")


@pytest.mark.parametrize(
    ("right", "left", "text"),
    [
        ((1,), (2,), "1 right, 2 left"),
        ((12, 13, 14), (10, 11), "12-14 right, 10, 11 left"),
        ((3, 4, 5), (1, 2), "3-5 right, 1, 2 left"),
        ((1, 2, 3), (4, 5), "1-3 right, 4, 5 left"),
        ((12, 14), (11,), "12, 14 right, 11 left"),
    ],
)
def test_labels_of_known_tools_become_right_and_left(tmp_path, scan, right, left, text):
    mask = read_mask(saved(tmp_path, lungs(right, left)), scan)
    assert mask.sides
    assert np.array_equal(mask.labels.T, lungs((RIGHT,), (LEFT,)))
    (decision,) = mask.decisions
    assert (decision.topic, decision.choice, decision.warning) == ("labels", text, False)
    assert text in measure(scan, mask).labels


def test_one_label_is_both_lungs(tmp_path, scan):
    mask = read_mask(saved(tmp_path, lungs((7,), (7,))), scan)
    assert not mask.sides
    assert np.array_equal(mask.labels.T, lungs((1,), (1,)))
    assert mask.decisions[0].choice == "7 both lungs"


def test_swapped_labels_are_a_warning(tmp_path, scan):
    path = saved(tmp_path, lungs((2,), (1,)))
    (decision,) = read_mask(path, scan).decisions
    assert decision.warning
    assert "right and left may be swapped" in measure(scan, path).flags["labels"]
    assert any("swapped" in text for text in compare(path, path).label_decisions)


@pytest.mark.parametrize(("right", "left"), [((1, 3), (2,)), ((1,), (2, 4)), ((20, 30), (40,))])
def test_labels_that_are_not_known_are_refused_for_one_scan(tmp_path, scan, right, left):
    path = saved(tmp_path, lungs(right, left))
    with pytest.raises(DataError, match="are unknown"):
        read_mask(path, scan)
    (decision,) = read_mask(path, unknown_as_lung=True).decisions
    assert decision.warning
    assert any(
        text.startswith("warning: prediction") for text in compare(path, path).label_decisions
    )


def test_probabilities_are_not_labels(tmp_path, scan):
    path = saved(tmp_path, lungs((0.5,), (0.9,), np.float32))
    for fails in (
        lambda: read_mask(path, scan),
        lambda: read_mask(path, unknown_as_lung=True),
        lambda: compare(path, path),
        lambda: measure(scan, path),
    ):
        with pytest.raises(DataError, match=r"fractional values from 0 to 0\.9"):
            fails()


def test_whole_numbers_in_floating_point_are_labels(tmp_path, scan):
    mask = read_mask(saved(tmp_path, lungs((1,), (2,), np.float64)), scan)
    assert mask.labels.dtype == np.uint8
    assert np.array_equal(mask.labels.T, lungs((1,), (2,)))


def test_a_mask_may_be_an_image_of_simpleitk(tmp_path, scan):
    path = saved(tmp_path, lungs((1,), (2,)))
    found = read_mask(sitk.ReadImage(str(path)), scan)
    assert np.array_equal(found.labels, read_mask(path, scan).labels)


def test_lobes_are_scored_by_side(tmp_path):
    lobes = saved(tmp_path, lungs((12, 13, 14), (10, 11)), "lobes.nii.gz")
    sides = saved(tmp_path, lungs((1,), (2,)), "sides.nii.gz")
    found = compare(lobes, sides)
    assert found.regions == ["lungs", "right", "left"]
    assert all(score.metrics["dice"] == 1 for score in found.scores)
    assert found.label_decisions == {
        "prediction: 12-14 right, 10, 11 left (lobes of TotalSegmentator)": 1
    }


def test_an_array_of_a_mask_without_orientation_is_read(tmp_path):
    labels = np.ascontiguousarray(lungs((1,), (2,)).T)
    np.save(tmp_path / "mask.npy", labels)
    scan = from_array(np.full(labels.shape, -800, np.int16), units="hu")
    assert np.array_equal(read_mask(tmp_path / "mask.npy", scan).labels, labels)


def test_colour_picture_is_refused_as_a_mask(tmp_path):
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:32, :, 0], rgb[32:, :, 1] = 255, 255
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    with pytest.raises(ScanError, match="not labels") as error:
        read_mask(tmp_path / "rgb.png")
    assert "save the mask in grey" in error.value.hint
