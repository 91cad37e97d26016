"""Headers of NIfTI files are read and written as nibabel does it."""

import nibabel as nib
import numpy as np
import pytest

import pleura
from pleura.errors import PleuraError
from pleura.formats.nifti_header import NIFTI_1, NIFTI_2, HeaderError, NiftiHeader, new_header

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def random_image(seed):
    """Return an image with random version, type, byte order, axes, qform, sform and scaling."""
    rng = np.random.default_rng(seed)
    kind = rng.choice([nib.Nifti1Image, nib.Nifti2Image])
    shape = [(4, 3, 2), (4, 3), (4, 3, 2, 1)][rng.choice(3, p=[0.7, 0.2, 0.1])]
    voxels = rng.integers(0, 100, shape).astype(
        rng.choice(["u1", "i2", "u2", "i4", "f4", "f8", "i1", "u4"])
    )
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.3, 4, 3)
    affine[:3, 3] = rng.normal(size=3) * 100
    image = kind(voxels, affine)
    image.set_qform(affine, int(rng.integers(0, 6)))
    image.set_sform(affine, int(rng.integers(0, 6)) * int(rng.integers(0, 2)))
    image.header.set_xyzt_units(str(rng.choice(["mm", "meter", "micron", "unknown"])))
    image.header.set_slope_inter(*[(1, 0), (2, -1024), (None, None)][rng.integers(3)])
    image.header["vox_offset"] = image.header.single_vox_offset
    order = str(rng.choice(["<", ">"]))
    header = image.header.as_byteswapped(order)
    content = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
    return header, header.binaryblock + bytes(4) + content, affine


@pytest.mark.parametrize("seed", range(60))
def test_header_is_that_of_nibabel(seed):
    expected, content, _ = random_image(seed)
    header = NiftiHeader.parse(content)
    assert header.shape == expected.get_data_shape()
    assert header.voxel_type == expected.get_data_dtype()
    assert header.voxel_offset(separate=False) == expected.single_vox_offset
    assert (header.slope_and_intercept or (None, None)) == expected.get_slope_inter()
    for form, (affine, code) in (
        (header.qform, expected.get_qform(coded=True)),
        (header.sform, expected.get_sform(coded=True)),
    ):
        assert (form is None) == (code == 0)
        if code:
            np.testing.assert_allclose(form, affine, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seed", range(60))
def test_qform_of_an_affine_is_that_of_nibabel(seed):
    expected, _, affine = random_image(seed)
    expected.set_qform(affine, 1)
    header = new_header(np.dtype("u1"), NIFTI_1 if expected.sizeof_hdr == 348 else NIFTI_2)
    header.set_qform(affine, 1)
    np.testing.assert_allclose(header.qform, expected.get_qform(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(header.qform, affine, rtol=1e-5, atol=1e-4)
    read_back = type(expected)(header.to_bytes()[:-4])
    np.testing.assert_allclose(read_back.get_qform(), affine, rtol=1e-5, atol=1e-4)
    assert read_back.get_data_dtype() == np.uint8


@pytest.mark.parametrize("angle", [0, 1e-4, 90, 179.99, 180])
def test_qform_of_half_rotations(angle):
    for axis in range(3):
        turned = np.roll(np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]], float), axis, (0, 1))
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turned[i, i] = turned[j, j] = cosine
        turned[i, j], turned[j, i] = -sine, sine
        affine = np.eye(4)
        affine[:3, :3] = turned
        header = new_header(np.dtype("u1"))
        header.set_qform(affine, 1)
        np.testing.assert_allclose(header.qform, affine, atol=1e-3)  # of float32


def read_all(content):
    header = NiftiHeader.parse(content)
    return header.shape, header.voxel_offset(separate=False), header.slope_and_intercept


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("magic", b"n+9", "magic string"),
        ("xyzt_units", 7, "unit of length"),
        ("sizeof_hdr", 347, "of another format"),
        ("dim", [0] * 8, "0 axes"),
        ("dim", [300, *[1] * 7], "300 axes"),
        ("vox_offset", 100, "in the header"),
        ("vox_offset", np.inf, "byte inf"),
        ("scl_inter", np.nan, "intercept are 1.0 and nan"),
    ],
)
def test_damaged_header(field, value, message):
    _, content, _ = random_image(1)
    header = NiftiHeader.parse(nib.Nifti1Image(np.zeros((2, 2, 2), "i2"), None).to_bytes())
    header.fields["scl_slope"] = 1
    header.fields[field] = value
    with pytest.raises(HeaderError, match=message):
        read_all(header.to_bytes())
    with pytest.raises(HeaderError, match="truncated"):
        NiftiHeader.parse(content[:300])


@pytest.mark.parametrize("seed", range(100))
def test_damaged_file_is_read_as_by_nibabel_or_refused(seed, tmp_path):
    header, content, _ = random_image(seed)
    rng = np.random.default_rng(seed)
    damaged = bytearray(content)
    for _ in range(2):
        damaged[rng.integers(0, header.sizeof_hdr)] = rng.choice([0, 1, 127, 255])
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(damaged))
    try:
        scan = pleura.read(path)
        values = scan.read(0, scan.geometry.shape[0])
        expected = nib.load(path)
    except (PleuraError, nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError):
        return
    voxels = np.reshape(np.asarray(expected.dataobj), values.T.shape, order="F")
    np.testing.assert_allclose(values, voxels.T, rtol=1e-6)
    if scan.geometry.orientation_known:
        scale = {"meter": 1000, "micron": 0.001}.get(expected.header.get_xyzt_units()[0], 1)
        affine = LPS_FROM_RAS @ np.diag([scale] * 3 + [1]) @ expected.affine
        np.testing.assert_allclose(
            scan.geometry.affine, affine[:, [2, 1, 0, 3]], rtol=1e-4, atol=1e-3
        )
