import contextlib
import gzip
import stat
import zipfile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile
from dicom_files import write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pleura.errors import PleuraError, ScanError
from pleura.formats import archive
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
RAS = np.diag([-0.7, -0.7, 2.5, 1])


def hu(slices=3):
    return np.random.default_rng(0).integers(-1000, 300, (slices, 12, 10), np.int16)


def written(folder, suffix):
    path = folder / f"scan{suffix}"
    if suffix == ".dcm":
        return write_series(folder, hu(1), AXIAL, names=["scan.dcm"])[0]
    if suffix == ".tif":
        tifffile.imwrite(path, hu(), photometric="minisblack")
        return path
    image = sitk.GetImageFromArray(hu())
    image.SetSpacing((0.7, 0.7, 2.5))
    sitk.WriteImage(image, str(path), useCompression=suffix in (".nrrd", ".mha"))
    return path


SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".dcm", ".tif"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.9])
def test_truncated_scan_is_refused(tmp_path, suffix, share):
    path = written(tmp_path, suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(PleuraError) as caught:
        read(path, units="hu").hu()
    assert str(path) in str(caught.value)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    suffix=st.sampled_from(SUFFIXES),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=6),
    early=st.booleans(),
)
def test_corrupt_scan_is_read_or_refused_and_nothing_else(tmp_path, suffix, flips, early):
    path = written(tmp_path, suffix)
    content = bytearray(path.read_bytes())
    reach = min(len(content), 400) if early else len(content)
    for place, value in flips:
        content[int(place * reach)] ^= value
    path.write_bytes(content)
    with contextlib.suppress(PleuraError):
        assert read(path).hu().dtype == np.int16


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 6, 7, 3), "not a single volume"),
        ((5, 6, 0), "claims|no voxel|0"),
        ((30000, 30000, 30000), "claims"),
    ],
)
def test_impossible_nifti_shapes_are_refused(tmp_path, shape, message):
    image = nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), RAS)
    header = bytearray(image.to_bytes())
    dims = np.frombuffer(header, np.int16, 8, 40).copy()
    dims[: 1 + len(shape)] = len(shape), *shape
    header[40:56] = dims.tobytes()
    (tmp_path / "a.nii").write_bytes(header)
    with pytest.raises(ScanError, match=message):
        read(tmp_path / "a.nii", units="hu").hu()


def test_colour_volumes_are_refused(tmp_path):
    rgb = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, RAS), tmp_path / "a.nii")
    with pytest.raises(ScanError, match="not CT values"):
        read(tmp_path / "a.nii")
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(ScanError, match="colour"):
        read(tmp_path / "a.mha")
    Image.new("RGB", (9, 9), "teal").save(tmp_path / "a.png")
    with pytest.raises(ScanError, match="colour channels"):
        read(tmp_path / "a.png")


def test_grey_picture_stored_as_colours_is_taken(tmp_path):
    grey = Image.fromarray((hu(1)[0] + 1000).clip(0, 255).astype(np.uint8))
    grey.convert("RGBA").save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", units="grey").geometry.shape == (1, 12, 10)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(tmp_path, value):
    array = hu().astype(np.float32)
    array[1, 2, 3] = value
    nib.save(nib.Nifti1Image(array.T, RAS), tmp_path / "a.nii.gz")
    with pytest.raises(ScanError, match="NaN or infinite"):
        read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("spacing", [0.0, np.nan])
def test_impossible_spacing_is_refused(tmp_path, spacing):
    image = nib.Nifti1Image(hu().T, RAS)
    affine = RAS.copy()
    affine[2, 2] = spacing
    image.header["srow_z"] = affine[2]
    image.header["qform_code"] = 0
    (tmp_path / "a.nii").write_bytes(nib.Nifti1Image(hu().T, None, image.header).to_bytes())
    with pytest.raises(ScanError, match=r"singular|NaN|corrupt"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize(
    "line", ["ElementDataFile = ../secret.raw", "ElementDataFile = /etc/hostname"]
)
def test_header_that_leads_outside_is_refused(tmp_path, line):
    (tmp_path / "secret.raw").write_bytes(b"\0" * 4096)
    folder = tmp_path / "scan"
    folder.mkdir()
    header = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\n"
    (folder / "a.mhd").write_text(header + line + "\n")
    with pytest.raises(ScanError, match="is not in the folder of the header"):
        read(folder / "a.mhd")


def test_bomb_is_unpacked_only_as_far_as_its_header_goes(tmp_path):
    image = nib.Nifti1Image(hu().T, RAS)
    bomb = gzip.compress(image.to_bytes() + b"\0" * (200 << 20), 9)
    (tmp_path / "a.nii.gz").write_bytes(bomb)
    assert np.array_equal(read(tmp_path / "a.nii.gz", units="hu").hu(), hu())


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_zip_of_dicom_is_read_and_nothing_is_left_behind(tmp_path, monkeypatch):
    paths = write_series(tmp_path / "series", hu(), AXIAL)
    zipped(tmp_path / "a.zip", {f"study/{p.name}": p.read_bytes() for p in paths})
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    scan = read(tmp_path / "a.zip", units="hu")
    assert np.array_equal(scan.hu(), hu())
    assert scan.name == "a"
    del scan
    # The folder of the process itself stays until it ends.
    assert not [path for path in (tmp_path / "tmp").glob("*/*") if path.is_dir()]


@pytest.mark.parametrize("name", ["../evil.dcm", "a/../../evil.dcm", "/evil.dcm"])
def test_zip_that_names_files_outside_is_refused(tmp_path, name):
    zipped(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(ScanError, match="outside"):
        read(tmp_path / "a.zip")


def test_zip_that_unpacks_to_more_than_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MIN_LIMIT", 1 << 20)
    zipped(tmp_path / "a.zip", {"a.dcm": b"\0" * (2 << 20)})
    with pytest.raises(ScanError, match="expands to 2 MiB"):
        read(tmp_path / "a.zip")
    (tmp_path / "b.zip").write_bytes(b"PK\3\4 no zip")
    with pytest.raises(ScanError, match="cannot be extracted"):
        read(tmp_path / "b.zip")


def test_pictures_are_single_slices_unless_they_are_said_to_be_a_stack(tmp_path):
    for i, image in enumerate(hu()):
        tifffile.imwrite(tmp_path / f"{i}.tif", image)
    with pytest.raises(ScanError, match="3 images, not one scan"):
        read(tmp_path)
    assert np.array_equal(read(tmp_path, stack=True, units="hu").hu(), hu())
    tifffile.imwrite(tmp_path / "9.tif", np.zeros((5, 5), np.int16))
    with pytest.raises(ScanError, match="2 different sizes"):
        read(tmp_path, stack=True)


def test_stack_of_tiff_pages_is_a_volume(tmp_path):
    assert read(written(tmp_path, ".tif"), units="hu").geometry.shape == (3, 12, 10)


def test_stack_behind_a_single_tiff_page_is_a_volume(tmp_path):
    path = tmp_path / "imagej.tif"
    tifffile.imwrite(path, hu(), imagej=True)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:  # unlink the second page, as ImageJ does in large stacks
        first = tiff.pages.first
        after = first.offset + 2 + 12 * len(first.tags)
    content[after : after + 4] = bytes(4)
    path.write_bytes(content)
    assert np.array_equal(read(path, units="hu").hu(), hu())


def test_image_size_beyond_the_compressed_data_is_refused(tmp_path):
    image = nib.Nifti1Image(hu().T, RAS)
    image.header["dim"][1:4] = 1200, 1200, 1200
    content = image.header.binaryblock + bytes(4) + hu().tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ScanError, match=r"claims 3\.22 GiB of voxels"):
        read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_header_of_a_few_bytes_takes_no_memory(tmp_path, suffix):
    path = written(tmp_path, suffix)
    content = path.read_bytes()
    content = content.replace(b"10 12 3", b"1024 1024 1999")
    path.write_bytes(content)
    with pytest.raises(ScanError, match=r"claims 3\.9 GiB of voxels"):  # and none was unpacked
        read(path).hu()


@pytest.mark.parametrize("key", ["byteskip: 100", "byte skip: 100", "lineskip: 1"])
def test_voxels_that_lie_further_on_are_not_taken_from_the_start(tmp_path, key):
    (tmp_path / "a.raw").write_bytes(b"\1" * 100 + hu().tobytes())
    lines = ["NRRD0004", "type: int16", "dimension: 3", "sizes: 10 12 3", "encoding: raw"]
    lines += ["endian: little", key, "data file: a.raw", ""]
    (tmp_path / "a.nhdr").write_text("\n".join(lines))
    with pytest.raises(ScanError, match="skip lines or bytes"):
        read(tmp_path / "a.nhdr", units="hu")


def test_a_tiff_of_white_as_0_is_refused(tmp_path):
    mask = (hu()[0] > 0).astype(np.uint8) * 255
    tifffile.imwrite(tmp_path / "a.tif", mask, photometric="miniswhite")
    with pytest.raises(PleuraError, match="white as 0"):
        read(tmp_path / "a.tif")


def test_an_array_of_many_slices_is_a_volume(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1025, 512, 512), np.uint8))
    assert read(tmp_path / "a.npy", units="hu").geometry.shape == (1025, 512, 512)


def test_a_slice_that_cannot_be_read_is_said_in_a_zip_too(tmp_path):
    paths = write_series(tmp_path / "series", hu(8), AXIAL)
    content = {p.name: p.read_bytes() for p in paths}
    content[paths[-1].name] = b""
    zipped(tmp_path / "a.zip", content)
    paths[-1].write_bytes(b"")
    for place in (tmp_path / "series", tmp_path / "a.zip"):
        (said,) = read(place, units="hu").warnings
        assert (said.topic, said.reason) == ("slices", "not a DICOM file (may be a slice)")


def test_what_is_no_scan_is_named(tmp_path):
    with pytest.raises(ScanError, match="no such file"):
        read(tmp_path / "gone.nii")
    (tmp_path / "a.docx").write_bytes(b"words")
    with pytest.raises(ScanError, match="no CT found"):
        read(tmp_path / "a.docx")
    with pytest.raises(ScanError, match="not a scan"):
        from_array(np.zeros((2, 3, 4, 5)))
    with pytest.raises(ScanError, match="flipping is not allowed"):
        read(written(tmp_path, ".nii.gz"), flip=True)


def test_file_that_may_not_be_read_is_an_error(tmp_path):
    path = written(tmp_path, ".mha")
    path.chmod(0)
    with contextlib.suppress(PermissionError), path.open("rb"):
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        pytest.skip("this user may read everything")
    with pytest.raises(PleuraError):
        read(path)


@pytest.mark.parametrize("number", ["nan", "inf", "-1e300", "1e9"])
@pytest.mark.parametrize("field", ["ElementSpacing", "TransformMatrix", "Offset"])
@pytest.mark.filterwarnings("error")
def test_impossible_numbers_of_a_metaimage_are_refused(field, number, tmp_path):
    values = {
        "ElementSpacing": ["1", "1", "1"],
        "TransformMatrix": ["1", "0", "0", "0", "1", "0", "0", "0", "1"],
        "Offset": ["0", "0", "0"],
    }
    values[field][1] = number
    lines = [f"{key} = {' '.join(words)}" for key, words in values.items()]
    header = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\n"
    text = header + "\n".join(lines) + "\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(text.encode() + bytes(128))
    with pytest.raises(ScanError, match="impossibly large"):
        read(tmp_path / "a.mha")


@pytest.mark.parametrize("number", [np.nan, np.inf, -1e300, 1e9])
@pytest.mark.parametrize("field", ["srow_x", "quatern_b", "qoffset_x", "pixdim"])
@pytest.mark.filterwarnings("error")
def test_impossible_numbers_of_a_nifti_file_are_refused(field, number, tmp_path):
    header = nib.Nifti2Image(hu().T, np.eye(4)).header
    header["vox_offset"] = 544
    header["sform_code"], header["qform_code"] = (1, 0) if field == "srow_x" else (0, 1)
    values = header[field]
    values[np.s_[2] if values.ndim else ()] = number
    (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(4) + hu().tobytes())
    with pytest.raises(ScanError, match=r"impossibly large|longer than 1"):
        read(tmp_path / "a.nii")
