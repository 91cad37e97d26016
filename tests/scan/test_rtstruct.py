import shutil
import subprocess

import cv2
import numpy as np
import pydicom
import pytest
from test_seg import mask  # noqa: F401

from pleura.errors import ScanError
from pleura.scan.io import from_array
from pleura.scan.scan import Mask
from pleura.scan.write import write_mask


def drawn_again(dataset, mask):  # noqa: F811
    """Draw the contours by pixel centres, on the slices that they name."""
    inverse = np.linalg.inv(mask.geometry.affine)
    slices = {frame.instance: i for i, frame in enumerate(mask.scan.header.frames) if frame}
    labels = np.zeros_like(mask.labels)
    for roi in dataset.ROIContourSequence:
        for contour in roi.get("ContourSequence", []):
            points = np.reshape([float(v) for v in contour.ContourData], (-1, 3))
            index = points @ inverse[:3, :3].T + inverse[:3, 3]
            i = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            assert np.allclose(index[:, 0], i, atol=1e-2)
            polygon = np.ascontiguousarray(index[:, :0:-1], np.float32)
            for r, c in np.ndindex(labels.shape[1:]):
                if cv2.pointPolygonTest(polygon, (float(c), float(r)), measureDist=False) > 0:
                    labels[i, r, c] = roi.ReferencedROINumber
    return labels


def test_contours_drawn_again_give_the_mask(mask, tmp_path):  # noqa: F811
    write_mask(tmp_path / "lungs.rtstruct.dcm", mask)
    dataset = pydicom.dcmread(tmp_path / "lungs.rtstruct.dcm")
    expected = mask.labels.copy()
    expected[2] = 0  # the slice that is missing has no image to refer to
    assert np.array_equal(drawn_again(dataset, mask), expected)
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["Lung_R", "Lung_L"]
    assert dataset.FrameOfReferenceUID == mask.scan.header.first.frame_of_reference


def test_single_label_is_one_structure(mask, tmp_path):  # noqa: F811
    one = Mask(np.minimum(mask.labels, 1), mask.scan, sides=False)
    write_mask(tmp_path / "lungs.rtstruct.dcm", one)
    dataset = pydicom.dcmread(tmp_path / "lungs.rtstruct.dcm")
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["Lungs"]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
def test_structure_set_is_valid_dicom(mask, tmp_path):  # noqa: F811
    write_mask(tmp_path / "lungs.rtstruct.dcm", mask)
    command = ["dciodvfy", tmp_path / "lungs.rtstruct.dcm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == []


def test_structure_set_of_no_dicom_is_refused(tmp_path):
    scan = from_array(np.zeros((2, 8, 8), np.int16), units="hu")
    with pytest.raises(ScanError, match="refers to DICOM slices"):
        write_mask(tmp_path / "a.rtstruct.dcm", Mask(np.ones((2, 8, 8), np.uint8), scan))
