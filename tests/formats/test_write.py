"""What masks carry besides labels, what readers make of their grids, and what is refused."""

import gzip

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from pleura.errors import DataError, MaskWarning, ScanError
from pleura.formats.format import VOXEL_TYPES
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.formats.registry import FORMATS
from pleura.formats.write import check_can_write, write_labels, write_volume
from pleura.masks.mask import Mask
from pleura.scan.geometry import affine_from_axes

SHAPE = (20, 16, 16)
ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def mask_of(scan):
    labels = np.zeros(scan.geometry.shape, np.uint8)
    labels[2:5, 3:7, 4:9] = 1
    return Mask(labels, scan)


def sheared(shear, rotation=ROTATION):
    """Return a grid whose slice axis leans by ``shear`` of its length, in RAS as NIfTI has it."""
    affine = np.eye(4)
    affine[:3, :3] = rotation @ ([[1, 0, 0], [0, 1, shear], [0, 0, 1]] * np.array([0.7, 0.8, 5]))
    return affine


def as_nifti(path, affine, codes):
    image = nib.Nifti1Image(np.zeros(SHAPE[::-1], np.int16), affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    nib.save(image, path)
    return read(path, units="hu")


def misplaced_by_itk(path, scan):
    """Return by how many mm ITK misplaces the last voxel; None where it refuses the file."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    last = np.array(scan.geometry.shape) - 1
    found = image.TransformIndexToPhysicalPoint([int(n) for n in last[::-1]])
    return np.linalg.norm(np.array(found) - scan.geometry.index_to_world(last))


@pytest.mark.parametrize("shear", [0, 5e-5, 2e-4, 9e-4, 4e-3, 0.02, 0.3])
@pytest.mark.parametrize("codes", [(1, 0), (1, 1), None])
def test_itk_opens_each_mask_that_has_no_warning(tmp_path, shear, codes):
    affine = sheared(shear)
    if codes is None:
        lps = np.diag([-1, -1, 1, 1]) @ affine[:, [2, 1, 0, 3]]
        scan = from_array(np.zeros(SHAPE, np.int16), affine=lps, units="hu")
    else:
        scan = as_nifti(tmp_path / "ct.nii", affine, codes)
    mask = mask_of(scan)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        path = tmp_path / f"m{suffix}"
        warned = bool(check_can_write(path, scan))
        assert warned == (suffix == ".nii.gz" and shear > 9e-4)
        write_labels(path, mask)
        misplaced = misplaced_by_itk(path, scan)
        assert warned or misplaced < 0.2
        assert not warned or misplaced is None or misplaced > 0.1
        assert read(path, units="hu").geometry.is_close(scan.geometry)


def test_a_sheared_grid_is_reported_and_the_way_out_named(tmp_path):
    scan = as_nifti(tmp_path / "ct.nii", sheared(0.02), (1, 0))
    (decision,) = (d for d in scan.decisions if d.topic == "grid")
    assert "sheared by 1.15 degrees" in decision.choice
    with pytest.warns(MaskWarning, match=r"write .nrrd or .mha"):
        mask_of(scan).write(tmp_path / "m.nii.gz")
    assert check_can_write(tmp_path / "p.nii", scan, np.float32)


NAME = "DOE^JOHN"


@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_nifti_mask_carries_no_text_of_the_scan(tmp_path, version):
    image = version(np.zeros(SHAPE[::-1], np.int16), np.diag([-0.7, -0.7, 5, 1]))
    for field in ("descrip", "aux_file", "db_name", "intent_name", "data_type", "unused_str"):
        if field in set(image.header):
            image.header[field] = NAME.encode()
    image.header["intent_code"], image.header["intent_p1"] = 3, 7
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", NAME.encode()))
    nib.save(image, tmp_path / "ct.nii")
    assert NAME.encode() in (tmp_path / "ct.nii").read_bytes()
    scan = read(tmp_path / "ct.nii", units="hu")
    write_labels(tmp_path / "m.nii.gz", mask_of(scan))
    content = gzip.decompress((tmp_path / "m.nii.gz").read_bytes())
    assert b"JOHN" not in content
    written = nib.load(tmp_path / "m.nii.gz")
    assert isinstance(written, version)
    assert (written.header["intent_code"], written.header["intent_p1"]) == (0, 0)
    assert np.allclose(written.affine, image.affine)


def test_an_nrrd_mask_carries_no_text_of_the_scan(tmp_path):
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([0.7, 0.7, 5]),
        "space origin": [1, 2, 3],
        "kinds": ["domain", "domain", NAME],
        "content": NAME,
        "patient": NAME,
    }
    nrrd.write(str(tmp_path / "ct.nrrd"), np.zeros(SHAPE[::-1], np.int16), header)
    scan = read(tmp_path / "ct.nrrd", units="hu")
    write_labels(tmp_path / "m.nrrd", mask_of(scan))
    assert b"JOHN" not in (tmp_path / "m.nrrd").read_bytes()
    assert read(tmp_path / "m.nrrd", units="hu").geometry.is_close(scan.geometry)
    header = {"space": NAME, "space directions": np.diag([0.7, 0.7, 5])}
    nrrd.write(str(tmp_path / "ct.nrrd"), np.zeros(SHAPE[::-1], np.int16), header)
    scan = read(tmp_path / "ct.nrrd", units="hu")
    write_labels(tmp_path / "m.nrrd", mask_of(scan))
    assert b"JOHN" not in (tmp_path / "m.nrrd").read_bytes()


def test_a_metaimage_mask_carries_no_text_of_the_scan(tmp_path):
    write_labels(tmp_path / "ct.mha", mask_of(from_array(np.zeros(SHAPE, np.int16), units="hu")))
    content = (tmp_path / "ct.mha").read_bytes()
    lines = f"Comment = {NAME}\nAnatomicalOrientation = {NAME}\nPatient = {NAME}\n".encode()
    (tmp_path / "ct.mha").write_bytes(lines + content)
    scan = read(tmp_path / "ct.mha", units="hu")
    write_labels(tmp_path / "m.mha", mask_of(scan))
    assert b"JOHN" not in (tmp_path / "m.mha").read_bytes()
    assert read(tmp_path / "m.mha", units="hu").geometry.is_close(scan.geometry)


@pytest.mark.parametrize(
    ("name", "says"),
    [("m.png", "a PNG file stores one slice"), ("m.jpg", "cannot write the output as '.jpg'")],
)
def test_a_name_that_cannot_hold_the_mask_is_refused_beforehand(name, says, tmp_path):
    scan = from_array(np.zeros(SHAPE, np.int16), units="hu")
    with pytest.raises(DataError, match=says):
        check_can_write(tmp_path / name, scan)
    with pytest.raises(DataError, match=says):
        write_labels(tmp_path / name, mask_of(scan))


def test_values_that_a_png_cannot_hold_are_refused_beforehand(tmp_path):
    scan = from_array(np.zeros((9, 9), np.int16), units="hu")
    assert check_can_write(tmp_path / "a.png", scan, np.uint8) == ()
    with pytest.raises(DataError, match="PNG files cannot store int16 voxels"):
        check_can_write(tmp_path / "a.png", scan, np.int16)


def test_grids_of_one_description_are_told_apart_by_their_distance():
    axes = ((0, 0, 5), (0, 1, 0), (1, 0, 0))
    first, second = (
        from_array(np.zeros(SHAPE, np.int16), affine=affine_from_axes(p, axes), units="hu").geometry
        for p in ((0, 0, 0), (6, 0, 8))
    )
    assert str(first) == str(second)
    assert "up to 10 mm apart" in first.describe_difference(second)
    assert first.describe_difference(second).count("SPL") == 1


@pytest.mark.parametrize("suffix", [s for one in FORMATS for s in one.output_suffixes])
def test_unsupported_dtypes_and_objects_are_refused_beforehand(suffix, tmp_path):
    scan = from_array(np.zeros(SHAPE, np.int16), units="hu")
    path = tmp_path / f"a{suffix}"
    if suffix.endswith(".dcm"):
        with pytest.raises(ScanError, match="refers to DICOM slices"):
            check_can_write(path, scan)
        with pytest.raises(ScanError, match="refers to DICOM slices"):
            mask_of(scan).write(path)
    with pytest.raises(DataError, match=r"cannot store complex64|only masks|stores one slice"):
        check_can_write(path, scan, np.complex64)
    assert not path.exists()


@pytest.mark.parametrize("dtype", VOXEL_TYPES)
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha", ".tif", ".npy"])
def test_every_dtype_that_is_accepted_is_written(dtype, suffix, tmp_path):
    scan = from_array(np.zeros(SHAPE, np.int16), (1, 1, 1), orientation="SPL", units="hu")
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    path = tmp_path / f"a{suffix}"
    assert check_can_write(path, scan, dtype) == ()
    write_volume(path, array, scan.geometry)
    assert np.array_equal(read(path, units="hu").values(), array)
