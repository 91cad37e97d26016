"""Compressed pixels of DICOM: every transfer syntax by its own decoder, and none by GDCM."""

import base64

import numpy as np
import pydicom
import pytest
from dicom_files import write_series
from lossless_jpeg import encode_lossless
from pydicom.encaps import encapsulate

from pleura.errors import PleuraError
from pleura.formats.dicom import jpeg, pixels
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
RAMP = np.arange(16)[:, None] * 100 + np.arange(16) * 20 + 500
TWELVE_BITS = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQIBAQEBAQIBAQECAgICAgICAgIDAwQDAwMDAwICAw"
    "QDAwQEBAQEAgMFBQQEBQQEBAT/wQALDAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAACw0O/8QAHBAAAAYDAAAAAAAA"
    "AAAAAAAAAAkLKDZGU2Ny/9oACAEBAAA/AM5flJIcMZaBho3OoKAFJIcMZaBho3OoVAApJDhjLQMNG51BQApJDhjLQMNG51"
    "D/2Q=="
)
"""RAMP as extended JPEG of 12 bits, by libjpeg-turbo."""


def chest():
    values = np.random.default_rng(0).integers(-1000, 300, (1, 40, 36), np.int16)
    values[0, 8:24] //= 8
    return values


def compressed(folder, syntax, frame=None, **elements):
    path = write_series(folder, chest(), AXIAL, names=["a.dcm"])[0]
    dataset = pydicom.dcmread(path)
    if frame is None:
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
        dataset["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("precision", [8, 12, 16])
def test_lossless_jpeg_by_every_predictor(predictor, precision):
    random = np.random.default_rng(predictor)
    values = random.integers(-9, 10, (23, 17)).cumsum(1) % (1 << precision)
    values[3:5] = random.integers(0, 1 << precision, (2, 17))  # all sizes of differences
    frame = encode_lossless(values.astype(np.uint16), predictor, precision)
    assert np.array_equal(jpeg.decode(frame), values)


def test_lossless_jpeg_of_signed_values(tmp_path):
    stored = chest()[0] + 1024
    stored[0, :9] = -5
    path = compressed(tmp_path, pydicom.uid.JPEGLosslessSV1, encode_lossless(stored.view("u2")))
    assert np.array_equal(read(path, units="hu").values()[0], stored.astype(int) - 1024)


def test_twelve_bit_jpeg(tmp_path):
    assert np.array_equal(jpeg.decode(TWELVE_BITS), RAMP)
    path = compressed(
        tmp_path,
        pydicom.uid.JPEGExtended12Bit,
        TWELVE_BITS,
        Rows=16,
        Columns=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
    )
    assert np.array_equal(read(path, units="hu").values()[0], RAMP - 1024)


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_no_decoder_is_left_to_chance(tmp_path, monkeypatch, syntax):
    used = []

    def spy(dataset, **options):
        used.append(options["decoding_plugin"])
        return pydicom.pixels.utils.pixel_array(dataset, **options)

    monkeypatch.setattr(pixels, "pixel_array", spy)
    path = compressed(tmp_path, getattr(pydicom.uid, syntax))
    assert np.array_equal(read(path, units="hu").values(), chest())
    assert used
    assert not {"", "gdcm"} & set(used)


@pytest.mark.parametrize(
    "syntax", ["RLELossless", "JPEGLSLossless", "JPEG2000Lossless", "JPEGLosslessSV1"]
)
@pytest.mark.parametrize("element", ["Rows", "Columns"])
def test_frame_of_another_size_than_its_header_is_refused(tmp_path, syntax, element):
    frame = encode_lossless((chest()[0] + 1024).astype(np.uint16))
    frame = frame if syntax == "JPEGLosslessSV1" else None
    path = compressed(tmp_path, getattr(pydicom.uid, syntax), frame, **{element: 30000})
    with pytest.raises(PleuraError, match=r"40x36 pixels|cannot be decoded|claims"):
        read(path, units="hu").values()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
def test_cut_lossless_jpeg_is_refused(share):
    frame = encode_lossless((chest()[0] + 1024).astype(np.uint16))
    with pytest.raises(ValueError, match="JPEG"):
        jpeg.decode(frame[: int(share * len(frame))])


def test_transfer_syntax_of_a_film_is_named(tmp_path):
    path = compressed(tmp_path, pydicom.uid.MPEG2MPML, b"\0" * 100)
    with pytest.raises(PleuraError, match=r"MPEG2 .* is not supported"):
        read(path, units="hu").values()
