import numpy as np
import pydicom
import pytest
from dicom_files import with_raw_values, write_series

from pleura.errors import ScanError
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.formats.write import write_labels
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes

OBLIQUE = affine_from_axes((-90, -120, 31), ((0.3, -0.2, 2.5), (0, 0.697, 0.0558), (0.7, 0, 0)))


@pytest.fixture
def mask(tmp_path):
    """A mask of a series of 6 slices whose files are not in order; one slice is missing."""
    hu = np.random.default_rng(0).integers(-1000, 300, (6, 20, 24), np.int16)
    paths = write_series(tmp_path / "series", hu, OBLIQUE, names="fbdace")
    paths[2].unlink()
    labels = np.zeros((6, 20, 24), np.uint8)
    labels[1:5, 3:9, 4:10] = 1
    labels[1:4, 5:12, 14:20] = 2
    return Mask(labels, read(tmp_path / "series", units="hu"), algorithm=("pleura, small", "1"))


def test_seg_reads_back_voxel_for_voxel_on_the_slices_it_is_of(mask, tmp_path):
    import highdicom

    write_labels(tmp_path / "lungs.dcm", mask)
    seg = highdicom.seg.segread(tmp_path / "lungs.dcm")
    frames = [frame for frame in mask.scan.origin.frames if frame is not None]
    found = seg.get_pixels_by_source_instance(
        [frame.sop_instance_uid for frame in frames],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(found, mask.labels[[0, 1, 3, 4, 5]])
    named = [seg.get_segment_description(n).segmented_property_type.value for n in (1, 2)]
    assert named == ["3341006", "44029006"]
    assert seg.FrameOfReferenceUID == pydicom.dcmread(frames[0].path).FrameOfReferenceUID


def test_the_algorithm_is_named_as_the_standard_codes_it(mask, tmp_path):
    write_labels(tmp_path / "lungs.dcm", mask)
    segment = pydicom.dcmread(tmp_path / "lungs.dcm").SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("pleura, small", "1")
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"


def test_slices_whose_orientation_is_rounded_differently_are_one_seg(tmp_path):
    paths = write_series(tmp_path / "series", np.zeros((3, 20, 24), np.int16), OBLIQUE)
    orientation = [1, 0, 0, 0, 0.99681, 0.07981]
    with_raw_values(paths[1:2], ImageOrientationPatient=[str(v) for v in orientation])
    scan = read(tmp_path / "series", units="hu")
    write_labels(tmp_path / "lungs.dcm", Mask(np.ones((3, 20, 24), np.uint8), scan, sides=False))
    assert pydicom.dcmread(tmp_path / "lungs.dcm").NumberOfFrames == 3


def test_a_seg_given_as_a_scan_or_mask_is_named(mask, tmp_path):
    write_labels(tmp_path / "lungs.dcm", mask)
    with pytest.raises(ScanError, match="not a CT image but Segmentation Storage") as refused:
        read(tmp_path / "lungs.dcm")
    assert "is its mask" in refused.value.hint


def test_both_lungs_as_one_are_coded_as_lung(mask, tmp_path):
    import highdicom

    one = Mask(np.minimum(mask.labels, 1), mask.scan, sides=False, algorithm=mask.algorithm)
    write_labels(tmp_path / "lungs.dcm", one)
    seg = highdicom.seg.segread(tmp_path / "lungs.dcm")
    assert seg.number_of_segments == 1
    assert seg.get_segment_description(1).segmented_property_type.value == "39607008"


def test_seg_of_nothing_or_of_no_dicom_is_refused(mask, tmp_path):
    with pytest.raises(ScanError, match="cannot be empty"):
        write_labels(tmp_path / "a.dcm", Mask(0 * mask.labels, mask.scan))
    scan = from_array(np.zeros((2, 8, 8), np.int16), units="hu")
    with pytest.raises(ScanError, match="refers to DICOM slices"):
        write_labels(tmp_path / "a.dcm", Mask(np.ones((2, 8, 8), np.uint8), scan))
    assert not (tmp_path / "a.dcm").exists()
