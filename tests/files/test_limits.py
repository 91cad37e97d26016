"""Sizes that files claim: bounded before anything is allocated or unpacked."""

import bz2
import gzip
import io
import struct
import time
import tracemalloc
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile
from dicom_files import write_series
from PIL import Image

from pleura.errors import PleuraError
from pleura.files.limits import memory_limit
from pleura.formats import archive
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
RAS = np.diag([-0.7, -0.7, 2.5, 1])
MIB = 1 << 20


def hu(slices=3):
    return np.random.default_rng(0).integers(-1000, 300, (slices, 12, 10), np.int16)


def image_bytes():
    return nib.Nifti1Image(hu().T, RAS).to_bytes()


@pytest.fixture
def refused(tmp_path):
    """Check that a file is refused at once and in little memory."""

    def check(name, content, match):
        path = tmp_path / name
        path.write_bytes(content)
        start = time.monotonic()
        tracemalloc.start()
        with pytest.raises(PleuraError, match=match):
            read(path, units="hu").hu()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200 * MIB
        assert time.monotonic() - start < 10

    return check


def test_memory_limit_is_set_by_the_environment(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(image_bytes())
    monkeypatch.setenv("PLEURA_MAX_MEMORY", "1K")
    assert memory_limit() == 1024
    read(tmp_path / "a.nii", units="hu")
    monkeypatch.setenv("PLEURA_MAX_MEMORY", "700")
    with pytest.raises(PleuraError, match="more than the limit of 700 bytes"):
        read(tmp_path / "a.nii", units="hu")
    monkeypatch.setenv("PLEURA_MAX_MEMORY", "much")
    with pytest.raises(PleuraError, match="'much', which is not a size"):
        read(tmp_path / "a.nii", units="hu")


@pytest.mark.parametrize(("members", "size"), [(30_000, 0), (3, 400)])
def test_gzip_of_many_members_is_read_in_linear_time(tmp_path, members, size):
    content = image_bytes()
    parts = [content[i * size : (i + 1) * size] for i in range(members)]
    parts.append(content[members * size :])
    (tmp_path / "a.nii.gz").write_bytes(b"".join(gzip.compress(part, 1) for part in parts))
    start = time.monotonic()
    assert np.array_equal(read(tmp_path / "a.nii.gz", units="hu").hu(), hu())
    assert time.monotonic() - start < 3


def test_nifti_extension_is_passed_over(tmp_path):
    content = bytearray(image_bytes())
    size = 1 << 27
    content[108:112] = struct.pack("<f", 352 + size)
    extension = struct.pack("<ii", size, 4) + bytes(size - 8)
    whole = content[:348] + b"\1\0\0\0" + extension + content[352:]
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole, 1))
    del extension, whole
    tracemalloc.start()
    assert np.array_equal(read(tmp_path / "a.nii.gz", units="hu").hu(), hu())
    assert tracemalloc.get_traced_memory()[1] < 100 * MIB
    tracemalloc.stop()


def test_bz2_that_unpacks_without_end_is_refused(refused):
    lines = ["NRRD0004", "type: int16", "dimension: 3", "sizes: 1024 1024 512"]
    header = "\n".join([*lines, "encoding: bzip2", "endian: little", "", ""])
    refused("a.nrrd", header.encode() + bz2.compress(bytes(1 << 20)), "claims 1 GiB of voxels")


def deflated(dataset_after):
    with io.BytesIO() as file:
        dataset = dataset_after()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.save_as(file)
        return file.getvalue()


@pytest.mark.parametrize("lying", [False, True])
def test_deflated_dicom_that_unpacks_without_end_is_refused(refused, tmp_path, lying):
    path = write_series(tmp_path / "series", hu(1), AXIAL)[0]

    def padded():
        dataset = pydicom.dcmread(path)
        dataset.add_new(0x7FE10010, "OB", bytes(100 * MIB))
        return dataset

    content = bytearray(deflated(padded))
    if lying:
        content[140:144] = struct.pack("<I", 2)  # the group length of the header
    refused("a.dcm", content, "inflates to more than 64 MiB")


def test_zip_of_many_files_is_refused(refused, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 50)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for i in range(51):
            file.writestr(str(i), b"")
    refused("a.zip", content.getvalue(), "more than 50 files")
    monkeypatch.setattr(archive, "MAX_FILES", 100)
    monkeypatch.setattr(archive, "MAX_DIRECTORY", 1000)
    refused("b.zip", content.getvalue(), "more than 100 files")


def test_sparse_tiff_is_refused(refused, tmp_path):
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint8), rowsperstrip=64, photometric="minisblack")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        places = [tags[name].offset + 8 for name in ("StripOffsets", "StripByteCounts")]
    for place in places:
        content[place : place + 4] = bytes(4)
    refused("a.tif", content, "sparse")


def test_tiff_whose_strips_share_their_data_is_refused(refused, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (8, 4096), np.uint8)
    noise = np.concatenate([noise, np.zeros((248, 4096), np.uint8)])
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, noise, compression="zlib", rowsperstrip=8, photometric="minisblack")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        tags = [page.tags[name] for name in ("StripOffsets", "StripByteCounts")]
        values = page.dataoffsets[0], page.databytecounts[0]
    for tag, value in zip(tags, values, strict=True):
        kind = {3: "H", 4: "I", 16: "Q"}[int(tag.dtype)]
        packed = struct.pack(f"<{tag.count}{kind}", *[value] * tag.count)
        content[tag.valueoffset : tag.valueoffset + len(packed)] = packed
    refused("a.tif", content, "claims")


def test_tiff_strip_that_unpacks_to_more_than_its_pixels_is_refused(refused, tmp_path):
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint8), compression="zlib", rowsperstrip=64)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        tags = [tiff.pages.first.tags[name] for name in ("StripOffsets", "StripByteCounts")]
    strip = zlib.compress(bytes(250 * MIB), 1)
    for tag, value in zip(tags, (len(content), len(strip)), strict=True):
        kind = {3: "H", 4: "I", 16: "Q"}[int(tag.dtype)]
        if kind == "H":  # a wider type in the same place
            content[tag.offset + 2 : tag.offset + 4] = struct.pack("<H", 4)
        content[tag.offset + 8 : tag.offset + 12] = struct.pack("<I", value)
    refused("a.tif", content + strip, "contains more than its pixels")


def test_pictures_that_claim_too_much_are_refused(refused):
    content = io.BytesIO()
    Image.new("L", (64, 64)).save(content, "jpeg")
    lying = bytearray(content.getvalue())
    at = lying.find(b"\xff\xc0")
    lying[at + 5 : at + 9] = struct.pack(">HH", 9000, 9000)
    refused("a.jpg", lying, "claims 77.2 MiB")
    header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (3000, 2000, 2000), }"
    refused("a.npy", b"\x93NUMPY\x01\0\x76\0" + header.ljust(117) + b"\n" + bytes(99), "truncated")


@pytest.mark.parametrize("element", ["Rows", "Columns", "NumberOfFrames"])
def test_dicom_with_an_impossible_size_is_refused(refused, tmp_path, element):
    path = write_series(tmp_path / "series", hu(1), AXIAL)[0]
    dataset = pydicom.dcmread(path)
    setattr(dataset, element, 16000)
    dataset.save_as(path)
    refused("a.dcm", path.read_bytes(), "claims|frames have no geometry")


def test_slice_larger_than_any_ct_is_read_in_three_times_its_size(tmp_path):
    values = np.full((1, 6000, 6000), 40, np.int16)
    values[0, ::7, ::5] = -900
    np.save(tmp_path / "a.npy", values)
    tracemalloc.start()
    scan = read(tmp_path / "a.npy")
    scan.hu()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * values.nbytes + 200 * MIB
