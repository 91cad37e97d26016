"""DICOM masks of random shapes with holes, compared with highdicom and plastimatch."""

import shutil
import subprocess
import warnings

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import write_series
from scipy.ndimage import gaussian_filter, label

from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes

SHAPE = (6, 70, 64)
SPACING = {"0.5 mm": 0.5, "5 mm": 5.0}
PLASTIMATCH = shutil.which("plastimatch")
needs_plastimatch = pytest.mark.skipif(
    PLASTIMATCH is None, reason="plastimatch (Debian: apt install plastimatch) is not installed"
)


@pytest.fixture(params=SPACING)
def series(request, tmp_path):
    step = SPACING[request.param]
    affine = affine_from_axes((-20, -30, 40), ((0, 0, step), (0, 0.71, 0), (0.68, 0, 0)))
    write_series(tmp_path / "series", np.zeros(SHAPE, np.int16), affine)
    return read(tmp_path / "series", units="hu")


@pytest.fixture
def region():
    noise = np.random.default_rng(5).normal(size=SHAPE)
    found = gaussian_filter(noise, (0.5, 2, 2)) > 0.01
    found[:, [0, -1]] = found[:, :, [0, -1]] = False
    assert sum(label(~plane)[1] for plane in found) > 20  # there are holes
    return found


def highdicom_seg(path, scan, pixels, kind, numbers=(1,), **options):
    import highdicom as hd
    import pydicom
    from pydicom.sr.codedict import codes

    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Part {number}",
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Lung,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in numbers
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = hd.seg.Segmentation(
            source_images=[pydicom.dcmread(file) for file in scan.origin.files],
            pixel_array=pixels,
            segmentation_type=kind,
            segment_descriptions=segments,
            series_instance_uid=hd.UID(),
            series_number=2,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="m",
            manufacturer_model_name="m",
            software_versions="1",
            device_serial_number="1",
            **options,
        )
    seg.save_as(path)
    return path


@pytest.mark.parametrize("omit_empty", [True, False])
def test_binary_segments_of_highdicom_may_overlap(series, region, tmp_path, omit_empty):
    region[[0, 3]] = False
    other = np.roll(region, 5, axis=2)
    path = highdicom_seg(
        tmp_path / "seg.dcm",
        series,
        np.stack([region, other], axis=-1).astype(np.uint8),
        "BINARY",
        (1, 2),
        omit_empty_frames=omit_empty,
    )
    assert np.array_equal(read_mask(path, series, roi={"Part 1": 7}).labels, 7 * region)
    both = read_mask(path, series, roi={"Part 2": 4, "Part 1": 3})
    assert np.array_equal(both.labels, np.where(region, 3, 4 * other))
    assert any("in several structures" in str(decision) for decision in both.decisions)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"])
def test_fractional_segments_of_highdicom_are_halved(series, tmp_path, syntax):
    fractions = np.random.default_rng(1).integers(0, 201, SHAPE) / 200
    path = highdicom_seg(
        tmp_path / "seg.dcm",
        series,
        fractions,
        "FRACTIONAL",
        max_fractional_value=200,
        transfer_syntax_uid=syntax,
    )
    mask = read_mask(path, series, roi={"1": 1})
    assert np.array_equal(mask.labels, fractions >= 0.5)
    assert any("fractional" in decision.reason for decision in mask.decisions)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"])
def test_label_maps_of_highdicom(series, tmp_path, syntax):
    labels = np.random.default_rng(2).integers(0, 4, SHAPE).astype(np.uint8)
    path = highdicom_seg(
        tmp_path / "seg.dcm", series, labels, "LABELMAP", (1, 2, 3), transfer_syntax_uid=syntax
    )
    mask = read_mask(path, series, roi={"Part 3": 1, "Part 1": 1, "Part 2": 2})
    assert np.array_equal(mask.labels, np.array([0, 1, 2, 1])[labels])


def is_within_half_a_voxel(found, expected):
    """Whether only pixels at the border differ."""
    padded = np.pad(expected, ((0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, 1:-1, 1:-1], padded[:, 2:, 1:-1], padded[:, :-2, 1:-1]]
    shifted += [padded[:, 1:-1, 2:], padded[:, 1:-1, :-2]]
    least, most = np.logical_and.reduce(shifted), np.logical_or.reduce(shifted)
    return bool((found <= most).all() and (found >= least).all())


@needs_plastimatch
def test_plastimatch_reads_the_contours_that_are_written(series, region, tmp_path):
    Mask(region.astype(np.uint8), series, sides=False).write(tmp_path / "a.rtstruct.dcm")
    convert(
        *("--input", tmp_path / "a.rtstruct.dcm", "--referenced-ct", tmp_path / "series"),
        *("--output-prefix", tmp_path / "drawn", "--prefix-format", "nrrd"),
    )
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "drawn" / "Lungs.nrrd"))) > 0
    ours = read_mask(tmp_path / "a.rtstruct.dcm", series).labels > 0
    assert np.array_equal(ours, region)
    assert is_within_half_a_voxel(theirs, region)


@needs_plastimatch
def test_contours_of_plastimatch_are_read(series, region, tmp_path):
    image = sitk.GetImageFromArray(region.astype(np.uint8))
    image.SetSpacing(series.geometry.spacing[::-1])
    image.SetOrigin(series.geometry.affine[:3, 3])
    sitk.WriteImage(image, str(tmp_path / "mask.nrrd"))
    convert(
        *("--input-ss-img", tmp_path / "mask.nrrd", "--referenced-ct", tmp_path / "series"),
        *("--output-dicom", tmp_path / "written"),
    )
    (path,) = (tmp_path / "written").glob("rtss*")
    mask = read_mask(path, series, roi={"1": 1})
    assert is_within_half_a_voxel(mask.labels > 0, region)
    assert not [decision for decision in mask.decisions if decision.warning]


def convert(*arguments):
    command = [PLASTIMATCH, "convert", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
