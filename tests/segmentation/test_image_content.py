"""Images that are no CT, or several CT slices in one image."""

import numpy as np
import pytest

import pleura
from pleura.formats.image_files import list_image_files, read_image_file
from pleura.segmentation.image_content import count_panels, find_other_content


@pytest.fixture(scope="module")
def slices(sample):
    """Nine slices of HU (256x256) from apex to abdomen."""
    paths = list_image_files(sample.images)
    return [read_image_file(path).astype(np.int16) for path in paths[::6]][:9]


def to_grey(hu):
    """Return a scan of 8 bits in a lung window."""
    return pleura.from_array(np.clip((hu + 1350) * (255 / 1500), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("limits", [(-1350, 150), (-1024, 600), (-160, 240)])
def test_a_ct_slice_is_one_panel(slices, limits):
    assert [count_panels(np.clip(hu, *limits)[::4, ::4]) for hu in slices] == [1] * 9


@pytest.mark.parametrize("limits", [(-1350, 150), (-1024, 600), (-160, 240)])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_several_slices_are_panels(slices, columns, limits):
    tiles = [np.pad(np.clip(hu, *limits), 8, constant_values=limits[0]) for hu in slices[3:]]
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, 6 if columns > 1 else 2, columns)]
    assert count_panels(np.vstack(rows)[::4, ::4]) > 1


@pytest.mark.parametrize("axis", [0, 1])
def test_slices_in_one_row_or_column_are_panels(slices, axis):
    """In a window of soft tissue, air is too bright to separate bodies."""
    tiles = [np.pad(np.clip(hu, -160, 240), 8, constant_values=-160) for hu in slices[4:6]]
    assert count_panels(np.concatenate(tiles, axis)[::4, ::4]) == 2


def test_bodies_without_uniform_rows_and_columns_between_them_are_panels():
    hu = np.full((100, 100), -1000, np.int16)
    diagonal = np.add.outer(np.arange(80), np.arange(80))
    hu[10:90, 10:90][(diagonal < 75) | (diagonal > 85)] = 40
    assert count_panels(hu) == 2


def test_panels_are_those_of_most_slices():
    one, two = np.full((2, 100, 100), -1000, np.int16)
    one[10:90, 10:90] = 40
    two[10:90, 10:45] = two[10:90, 55:90] = 40
    empty = np.zeros((3, 100, 100), np.uint8)
    assert not find_other_content(np.stack([two, one, one]), empty)
    [flag] = find_other_content(np.stack([one, two, two]), empty)
    assert flag.name == "panels"


def test_an_arm_is_no_panel():
    hu = np.full((100, 100), -1000, np.int16)
    hu[20:80, 15:70], hu[45:60, 80:95] = 40, 40
    assert count_panels(hu) == 1


def test_a_mask_that_continues_into_its_surroundings_is_no_lung():
    hu, labels = np.full((1, 64, 64), 40, np.int16), np.zeros((1, 64, 64), np.uint8)
    labels[0, 20:40, 20:40] = 1
    hu[0, 24:36] = hu[0, 20:40, 20:40] = -850
    flag = find_other_content(hu, labels)[-1]
    assert flag.name == "not_ct"
    assert "of the surroundings of the mask differ from it" in flag.message


def test_a_mask_as_bright_as_its_surroundings_is_no_lung():
    hu, labels = np.full((1, 64, 64), 40, np.int16), np.zeros((1, 64, 64), np.uint8)
    labels[0, 20:40, 20:40] = 1
    hu[0, :5] = -1000
    [flag] = find_other_content(hu - 50 * labels.astype(np.int16), labels)
    assert "hardly differs" in flag.message
    assert not find_other_content((hu - 800 * labels.astype(np.int16)), labels)


def test_an_empty_mask_is_reported_by_another_flag(slices):
    hu = slices[4][None, ::4, ::4]
    assert not find_other_content(hu, np.zeros(hu.shape, np.uint8))


def test_only_scans_without_hu_are_examined(slices):
    """Two panels in HU keep their flags; as an 8-bit image they are flagged."""
    two = np.hstack([np.pad(hu, 8, constant_values=-1000) for hu in slices[4:6]])
    grey = to_grey(two)
    with pleura.Segmenter() as segmenter:
        names = [
            {flag.name for flag in segmenter.segment(scan, warn=False).flags}
            for scan in (pleura.from_array(two, units="hu"), grey)
        ]
        one = segmenter.segment(to_grey(two[:, : two.shape[1] // 2]), warn=False)
    assert "panels" not in names[0]
    assert "panels" in names[1]
    assert not {"panels", "not_ct"} & {flag.name for flag in one.flags}


def test_only_doubtful_masks_are_examined(slices):
    """Two stacked slices have a low confidence; one beside a block of tissue has not."""
    padded = np.pad(slices[5], 8, constant_values=-1000)
    block = np.full((len(padded), 76), -1000, np.int16)
    block[40:230, 12:68] = 40
    images = np.vstack([padded, padded]), np.hstack([padded, block])
    assert all(count_panels(hu[::4, ::4]) == 2 for hu in images)
    with pleura.Segmenter() as segmenter:
        stacked, beside = (
            {flag.name for flag in segmenter.segment(to_grey(hu), warn=False).flags}
            for hu in images
        )
    assert {"low_confidence", "panels"} <= stacked
    assert not {"low_confidence", "no_lung", "panels", "not_ct"} & beside
