"""One array has one mapping to HU, whichever way it enters pleura; other images are refused."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from dicom_files import write_series

from pleura.cli.info import command as info
from pleura.errors import ScanError
from pleura.formats.image_files import list_image_files, read_image_file
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes
from pleura.segmentation.flags import find_flags
from pleura.training.check import check

DOORS = ("array", "npy", "tiff", "nifti", "nrrd", "mha", "dicom", "info", "check")
AXES = affine_from_axes((0, 0, 0), ((0, 0, 8.0), (0, 1.4, 0), (1.4, 0, 0)))


@pytest.fixture(scope="module")
def hu(sample):
    """Four real slices, one of the abdomen among them."""
    paths = list_image_files(sample.images)
    return np.stack([read_image_file(paths[i]) for i in (5, 30, 40, 50)]).astype(np.int16)


def as_mr(hu):
    """Draw a T1-weighted image: fat bright, bone and lung dark, noise that is never negative."""
    rng = np.random.default_rng(0)
    signal = np.interp(hu, [-1000, -850, -105, 45, 300, 1200], [0, 25, 320, 420, 180, 60])
    return np.rint(np.hypot(signal + rng.normal(0, 6, hu.shape), 6)).astype(np.int16)


SUFFIXES = {"npy": ".npy", "tiff": ".tif", "nrrd": ".nrrd", "mha": ".mha"}


def enter(door, values, folder):
    """Return what the values are taken for, or 'refused', through one of the doors."""
    path = folder / "images" / f"a{SUFFIXES.get(door, '.nii.gz')}"
    if door == "dicom":
        path = folder / "series"
    if door != "array":
        write(path, values)
    if door == "info":
        info(["-q", "--json", str(folder / "info.json"), str(path)], standalone_mode=False)
        row = json.loads((folder / "info.json").read_text())["scans"][0]
        return row.get("units", "refused")
    if door == "check":
        write(folder / "masks" / path.name, (values * 0 + [1, 0] * 128).astype(np.uint8))
        report = check(path.parent, folder / "masks")
        refused = any("refuses" in finding.hint for finding in report.findings)
        return "refused" if refused or not report.readable else report.units.formula
    try:
        return (from_array(values) if door == "array" else read(path)).intensity.name
    except ScanError:
        return "refused"


def write(path, values):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif path.suffix:
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    else:
        signed = int(values.dtype.kind == "i")
        header = {"PixelRepresentation": signed, "RescaleIntercept": "0"}
        write_series(path, values.astype(np.int64) - 1024, AXES, **header)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("change", "taken_for"),
    [
        (lambda x: x, "HU"),
        (lambda x: x + 1024, "HU plus 1024"),
        (lambda x: (x.astype(np.int32) + 32768).astype(np.uint16), "HU plus 32768"),
        (lambda x: x.view(np.uint16), "HU with lost signs (modulo 65536)"),
        (
            lambda x: (x.astype(np.int32) + 32768).astype(np.uint16).view(np.int16),
            "HU plus 32768 with lost signs (modulo 65536)",
        ),
        (lambda x: np.clip(x, -2048, 2047).astype(np.uint16) % 4096, None),
    ],
    ids=["HU", "offset", "ImageJ", "unsigned", "signed", "12 bits"],
)
def test_one_array_has_one_mapping_through_every_door(hu, change, taken_for, door, tmp_path):
    taken_for = taken_for or "HU with lost signs (modulo 4096)"
    assert enter(door, change(hu), tmp_path) == taken_for


@pytest.mark.parametrize("door", [door for door in DOORS if door != "dicom"])
@pytest.mark.parametrize(
    ("change", "taken_for"),
    [
        (lambda x: x.astype(np.int32) * 10, "HU times about 10"),
        (as_mr, "refused"),
        (lambda x: np.digitize(x, [-600, -200, 100]).astype(np.int16), "refused"),
        (lambda x: np.clip((x + 1000) / 1600, 0, 1).astype(np.float32), "grey"),
    ],
    ids=["times 10", "MR", "label map", "0 to 1"],
)
def test_what_only_pixels_tell_is_the_same_through_every_door(
    hu, change, taken_for, door, tmp_path
):
    assert enter(door, change(hu), tmp_path) == taken_for


@pytest.mark.parametrize("offset", [0, 32768])
def test_lost_signs_come_back_exactly(hu, offset):
    stored = (hu.astype(np.int32) + offset).astype(np.uint16)
    scan = from_array(stored.view(np.int16) if offset else stored)
    assert np.array_equal(scan.hu(), np.maximum(hu, -1024))
    assert scan.warnings


OTHERS = {
    "T1": [0, 40, 900, 400, 200, 60],
    "T1, fat close to muscle": [0, 30, 380, 300, 150, 50],
    "T2": [0, 30, 700, 250, 300, 40],
    "fat suppressed": [0, 30, 150, 500, 120, 40],
    "near HU plus 1024": [0, 60, 1150, 950, 500, 100],
    "PET": [0, 500, 400, 1200, 1500, 1500],
}


def as_other(hu, curve, bias=0.0):
    """Draw another modality; ``bias`` is that of a coil, which lights one side."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
    light = 1 + bias * np.exp(-2 * ((columns - 0.4) ** 2 + (rows - 0.3) ** 2))
    signal = light * np.interp(hu, [-1000, -850, -105, 45, 300, 1200], curve)
    noise = rng.normal(0, 8, (2, *hu.shape))
    return np.hypot(signal + noise[0], noise[1]).astype(np.float32)


@pytest.mark.parametrize("curve", OTHERS.values(), ids=OTHERS)
def test_another_modality_is_not_rescaled_to_hu(hu, curve):
    values = as_other(hu, curve)
    for part in (values, *values):
        with pytest.raises(ScanError, match="cannot determine") as error:
            from_array(part)
        assert "--units hu, offset (HU plus 1024), grey or inverted" in str(error.value)


@pytest.mark.parametrize("curve", OTHERS.values(), ids=OTHERS)
def test_uneven_light_makes_no_ct_of_another_modality(hu, curve):
    """A single slice may look like CT by chance; then it has a flag."""
    values = as_other(hu, curve, bias=0.8)
    with pytest.raises(ScanError):
        from_array(values)
    for part in values:
        try:
            scan = from_array(part)
        except ScanError:
            continue
        assert any(decision.topic == "units" for decision in scan.warnings)


@pytest.mark.parametrize(
    "scale", [19.0, 35000.0, 2.3], ids=["attenuation per m", "16 bits", "unit variance"]
)
def test_ct_on_another_scale_is_recognised_by_fat_muscle_and_bone(hu, scale):
    scan = from_array((hu * scale / 1000 + scale).astype(np.float32))
    assert scan.intensity.scale == pytest.approx(scale / 1000, rel=0.1)
    assert scan.warnings


def test_a_cropped_ct_needs_no_air_around_the_patient(hu):
    scan = from_array(hu[0, 80:-80, 64:-64], orientation="SPL")
    assert (scan.intensity.name, scan.warnings) == ("HU", ())


def test_air_clipped_at_its_usual_place_is_no_factor(hu):
    """-1024 and -2048 are 1.024 times -1000 and -2000, and HU nevertheless."""
    clipped = np.where(hu <= -990, -1024, hu)
    rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
    clipped[:, np.hypot(rows, columns) > 1] = -2048
    scan = from_array(clipped, orientation="SPL")
    assert (scan.intensity.name, scan.warnings) == ("HU", ())


def test_slices_in_different_units_are_refused(hu):
    mixed = np.concatenate([hu, hu + 1024])
    with pytest.raises(ScanError, match="slices have different intensity units"):
        from_array(mixed)


def flags_of(scan):
    labels = np.zeros(scan.geometry.shape, np.uint8)
    labels[1:-1, 100:150, 60:100] = 1
    labels[1:-1, 100:150, 150:190] = 2
    found = find_flags(labels, scan, scan.geometry, 0.0, sides=True)
    return {flag.name: flag.message for flag in found if flag.name != "volume"}


def test_a_correct_ct_has_no_flag_and_each_intensity_warning_is_one(hu, tmp_path):
    write_series(tmp_path / "right", hu, AXES)
    assert flags_of(read(tmp_path / "right")) == {}
    write_series(tmp_path / "offset", hu + 1024, AXES)
    assert "HU plus 1024" in flags_of(read(tmp_path / "offset"))["units"]
    write_series(tmp_path / "lossy", hu, AXES, LossyImageCompression="01")
    assert list(flags_of(read(tmp_path / "lossy"))) == ["pixels"]


def stored_series(folder, stored, changes, *more):
    """Write stored values (slices, rows, columns), each with changes, and more data elements."""
    for i, (image, elements) in enumerate(zip(stored, changes, strict=True)):
        one = image[None].astype(np.int64) - 1024
        place = AXES.copy()
        place[2, 3] = 8.0 * i
        defaults = {"InstanceNumber": i + 1, "SOPInstanceUID": f"1.2.3.{i + 1}"}
        (path,) = write_series(folder, one, place, names=[f"{i}.dcm"], **(defaults | elements))
        dataset = pydicom.dcmread(path)
        dataset.update({element.tag: element for element in more})
        dataset.save_as(path)
    return folder


@pytest.mark.parametrize("intercept", ["0", "-1024"], ids=["values are HU", "values are stored"])
def test_slices_without_rescale_get_that_of_their_neighbours(hu, intercept, tmp_path):
    """The values without rescale are HU already, or stored as their neighbours' are."""
    smooth = np.repeat(hu[:1], 6, 0)
    stored = smooth + 1024
    stored[1::2] = smooth[1::2] - int(intercept)
    missing = {"RescaleIntercept": None, "RescaleSlope": None}
    folder = stored_series(tmp_path, stored, [missing if i % 2 else {} for i in range(6)])
    scan = read(folder)
    assert np.array_equal(scan.hu(), smooth)
    assert "missing in 3 of 6 slices" in flags_of(scan)["units"]


def test_rescale_that_the_pixels_contradict_is_refused(hu, tmp_path):
    stored = np.repeat(hu[:1], 6, 0) + 1024
    changes = [{"RescaleIntercept": "0" if i % 2 else "-1024"} for i in range(6)]
    with pytest.raises(ScanError, match="different rescale values"):
        read(stored_series(tmp_path / "wrong", stored, changes))
    stored[1::2] -= 1024
    scan = read(stored_series(tmp_path / "right", stored, changes))
    assert np.array_equal(scan.hu(), np.repeat(hu[:1], 6, 0))
    assert flags_of(scan) == {}


CORNERS = np.hypot(*np.mgrid[-1:1:256j, -1:1:256j]) > 1


@pytest.mark.parametrize(
    ("padding", "written", "signed", "warned"),
    [
        (63536, 63536, 0, False),
        (63536, -2000, 0, False),
        (-2000, 63536, 1, False),
        (0, 0, 1, False),
        (1064, 1064, 0, True),
    ],
    ids=["unsigned", "written signed", "signed, written unsigned", "air", "as muscle"],
)
def test_padding_is_air_whatever_its_value(hu, padding, written, signed, warned, tmp_path):
    stored = hu.astype(np.int32) + 1024
    inside = (stored == padding).sum()
    stored[:, CORNERS] = padding
    vr = "SS" if written < 0 else "US"
    element = pydicom.DataElement("PixelPaddingValue", vr, written)
    scan = read(stored_series(tmp_path, stored, [{"PixelRepresentation": signed}] * 4, element))
    found = scan.hu()
    assert (found[:, CORNERS] <= -1000).all()
    assert np.array_equal(found[:, ~CORNERS], hu[:, ~CORNERS])
    assert inside or padding != 1064  # tissue of the padding's value stays
    assert ("padding" in flags_of(scan)) is warned
    assert any(d.topic == "padding" for d in scan.decisions) is (padding in (63536, 1064))


def test_range_of_padding_is_air_and_unused_padding_is_not_reported(hu, tmp_path):
    stored = hu.astype(np.int32) + 1024
    absent = {"PixelRepresentation": 0, "PixelPaddingValue": 60000}
    assert flags_of(read(stored_series(tmp_path / "a", stored, [absent] * 4))) == {}
    stored[:, CORNERS] = 60010
    stored[:, :20][:, CORNERS[:20]] = 60100
    limit = absent | {"PixelPaddingRangeLimit": 60100}
    found = read(stored_series(tmp_path / "b", stored, [limit] * 4)).hu()
    assert (found[:, CORNERS] == -1024).all()


@pytest.mark.parametrize("dtype", [np.uint64, np.float64, np.float32])
def test_values_far_beyond_any_unit_are_refused(hu, dtype):
    values = hu.astype(np.uint64).astype(dtype)  # negative ones become 1.8e19
    with pytest.raises(ScanError, match="the values are not in HU"):
        from_array(values, affine=np.eye(4))
