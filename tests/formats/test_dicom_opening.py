"""DICOM files that lack parts of PS3.10, and files that only look like DICOM."""

import zipfile

import numpy as np
import pydicom
import pytest
from dicom_files import write_series
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pleura.errors import ScanError
from pleura.formats.dicom.frames import SkippedFile, read_frames_of_file
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
HU = np.random.default_rng(0).integers(-1000, 300, (3, 12, 10), np.int16)


def encoded(path, syntax, *, preamble=False):
    """Write a file's data set again, in another encoding and without file meta information."""
    dataset = pydicom.dcmread(path)
    del dataset.file_meta
    dataset.preamble = None
    little = syntax != ExplicitVRBigEndian
    if not little:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=little)
    if preamble:
        path.write_bytes(128 * b"\0" + b"DICM" + path.read_bytes())


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_series_without_file_meta_information_is_read(tmp_path, syntax, preamble):
    for path in write_series(tmp_path, HU, AXIAL):
        encoded(path, syntax, preamble=preamble)
    scan = read(tmp_path, units="hu")
    assert np.array_equal(scan.hu(), HU)
    assert not scan.warnings


def test_file_meta_information_without_preamble_is_read(tmp_path):
    (path,) = write_series(tmp_path, HU[:1], AXIAL)
    path.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(read(path, units="hu").hu(), HU[:1])


def test_empty_transfer_syntax_is_the_one_of_the_encoding(tmp_path):
    (path,) = write_series(tmp_path, HU[:1], AXIAL)
    content = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", 20 * b"\0")
    path.write_bytes(content)
    assert np.array_equal(read(path, units="hu").hu(), HU[:1])


def no_sop_class(path):
    dataset = pydicom.dcmread(path)
    del dataset.SOPClassUID, dataset.file_meta
    dataset.preamble = None
    dataset.save_as(path, implicit_vr=True, little_endian=True)


def deflated(path):
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[132:])


@pytest.mark.parametrize(
    "spoil",
    [
        no_sop_class,
        deflated,
        lambda path: path.write_bytes(b" " + path.read_bytes()[132:]),
        lambda path: path.write_bytes(b"\x08\0\x05\0text that only begins as DICOM does"),
        lambda path: path.write_bytes(b"\x08\0\0\0\x04\0\0\0" + bytes(range(256)) * 40),
        lambda path: path.write_bytes(np.random.default_rng(3).bytes(5000)),
        lambda path: path.write_bytes(b"\x08\0"),
        lambda path: path.write_text("seen by Dr. X\n" * 50),
    ],
)
def test_other_files_do_not_become_dicom(tmp_path, spoil):
    (path,) = write_series(tmp_path, HU[:1], AXIAL)
    spoil(path)
    found = read_frames_of_file(path)
    assert isinstance(found, SkippedFile)
    assert found.damaged
    with pytest.raises(ScanError, match="cannot be read"):
        read(path)


def test_zip_of_a_mac_is_read_without_its_resource_forks(tmp_path):
    paths = write_series(tmp_path / "ct", HU, AXIAL)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in paths:
            archive.write(path, f"ct/{path.name}")
            archive.writestr(f"__MACOSX/ct/._{path.name}", b"\0\5\x16\7 resource fork")
        archive.writestr("ct/.DS_Store", b"\0")
        archive.writestr("ct/.hidden.dcm", b"\0")
    scan = read(tmp_path / "ct.zip", units="hu")
    assert np.array_equal(scan.hu(), HU)
    assert [decision.topic for decision in scan.decisions] == ["units"]
