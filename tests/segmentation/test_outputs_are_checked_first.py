"""An output that cannot be written is refused before the network runs, by every door."""

import nibabel as nib
import numpy as np
import pytest
from dicom_files import write_series

from pleura.cli.segment import command
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions, SegmentationOptions
from pleura.errors import PleuraError
from pleura.scan.geometry import affine_from_axes
from pleura.segmentation.segmenter import Segmenter

HU = np.random.default_rng(0).integers(-1000, 300, (3, 20, 24), np.int16)
AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def run(*_, **__):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Segmenter, "segment", run)
    monkeypatch.setattr(Segmenter, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(Segmenter, "classes", (), raising=False)
    monkeypatch.setattr("pleura.cohort.worker.report_options", lambda *_, **__: {})


@pytest.fixture
def nifti(tmp_path):
    path = tmp_path / "in" / "ct.nii"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(HU.T, np.eye(4)), path)
    return path


@pytest.fixture
def dicom(tmp_path):
    write_series(tmp_path / "dicom", HU, AXIAL, FrameOfReferenceUID="")
    return tmp_path / "dicom"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-o", "m.dcm"], "a DICOM SEG refers to DICOM slices"),
        (["-o", "m.rtstruct.dcm"], "an RT Structure Set refers to DICOM slices"),
        (["-o", "m.png"], "a PNG file stores one slice, but the scan has 3"),
        (["-o", "m.nii", "--masked", "a.dcm"], "only masks can be written as DICOM"),
        (["-o", "m.nii", "--probability", "a.png"], "a PNG file stores one slice"),
    ],
)
def test_one_volume(nifti, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PleuraError, match=says):
        command.main([str(nifti), "-q", "--units", "hu", *options], standalone_mode=False)


@pytest.mark.parametrize("name", ["m.dcm", "m.rtstruct.dcm"])
def test_one_series(dicom, tmp_path, name):
    with pytest.raises(PleuraError, match="no Frame of Reference UID"):
        command.main([str(dicom), "-q", "-o", str(tmp_path / name)], standalone_mode=False)


@pytest.mark.parametrize(
    ("kind", "says"), [("png", "a PNG file stores"), ("dicom-seg", "refers to DICOM slices")]
)
def test_a_cohort(nifti, tmp_path, kind, says):
    (row,) = segment_cohort(
        nifti.parent,
        tmp_path / "out",
        SegmentationOptions(units="hu"),
        outputs=OutputOptions(format=kind),
    )
    assert row.status == "failed"
    assert says in row.error


def test_a_cohort_of_series(dicom, tmp_path):
    (row,) = segment_cohort(
        dicom,
        tmp_path / "out",
        SegmentationOptions(units="hu"),
        outputs=OutputOptions(format="rtstruct"),
    )
    assert "no Frame of Reference UID" in row.error
