"""DICOM SEG, RT Structure Set and .seg.nrrd of masks with several classes."""

from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from test_rtstruct import drawn_again
from test_seg import mask  # noqa: F401  (a fixture)

from pleura.errors import DataError
from pleura.masks.classes import read_classes
from pleura.scan.labels import Label

CLASSES = (
    Label(3, "Right lung"),
    Label(7, "lesion"),
    Label(20, "my structure"),
    Label(21, "airway", ("SCT", "89187006", "Airway structure")),
)


@pytest.fixture
def labelled(mask):  # noqa: F811
    labels = np.choose(mask.labels, [0, 3, 7]).astype(np.uint8)
    inside = np.argwhere(labels == 7)
    labels[tuple(inside[len(inside) // 2])] = 20
    return replace(mask, labels=labels, sides=False, classes=CLASSES)


def test_segments_are_numbered_without_gaps_and_coded(labelled, tmp_path):
    labelled.write(tmp_path / "a.dcm")
    seg = hd.seg.segread(tmp_path / "a.dcm")
    described = [
        (
            d.segment_number,
            d.segment_label,
            d.segmented_property_category.value,
            d.segmented_property_type.value,
        )
        for d in seg.SegmentSequence
    ]
    assert described == [
        (1, "Right lung", "123037004", "3341006"),
        (2, "lesion", "49755003", "52988006"),
        (3, "my structure", "123037004", "85756007"),
        (4, "airway", "123037004", "89187006"),
    ]
    for number, label in enumerate(CLASSES, 1):
        frames = sum(
            int(pixels.sum())
            for pixels, groups in zip(
                np.atleast_3d(seg.pixel_array), seg.PerFrameFunctionalGroupsSequence, strict=True
            )
            if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        )
        present = labelled.labels[[0, 1, 3, 4, 5]]  # one slice is missing
        assert frames == np.count_nonzero(present == label.value)


def test_structures_have_the_names_and_numbers_of_the_labels(labelled, tmp_path):
    labelled.write(tmp_path / "a.rtstruct.dcm")
    dataset = pydicom.dcmread(tmp_path / "a.rtstruct.dcm")
    rois = {int(roi.ROINumber): roi.ROIName for roi in dataset.StructureSetROISequence}
    assert rois == {label.value: label.name for label in CLASSES}
    expected = labelled.labels.copy()
    expected[2] = 0  # the slice that is missing has no image to refer to
    np.testing.assert_array_equal(drawn_again(dataset, labelled), expected)


@pytest.mark.parametrize("name", ["a.dcm", "a.rtstruct.dcm", "a.seg.nrrd"])
def test_classes_are_read_by_their_names(labelled, tmp_path, name):
    labelled.write(tmp_path / name)
    scan = labelled.scan
    classes = (Label(5, "LESION"), Label(2, "airway"), Label(1, "right_lung"))
    read = read_classes(tmp_path / name, classes, scan.geometry, scan.origin)
    expected = np.choose(np.searchsorted([0, 3, 7, 20], labelled.labels), [0, 1, 5, 0])
    if name != "a.seg.nrrd":
        expected[2] = 0
    np.testing.assert_array_equal(read.labels, expected)
    assert read.regions == {"LESION": 5, "airway": 2, "right_lung": 1}
    with pytest.raises(DataError, match=r"no structure with the name of a label \(kidney\)"):
        read_classes(tmp_path / name, (Label(1, "kidney"),), scan.geometry, scan.origin)
