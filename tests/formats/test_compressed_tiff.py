import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from pleura.errors import DataError
from pleura.formats.tiff import TIFF


def picture(dtype, *shape):
    values = np.random.default_rng(0).integers(0, 3000, shape)
    return (values if np.dtype(dtype).itemsize > 1 else values % 128).astype(dtype)


def zstandard_is_built_in():
    """Return whether Pillow decodes Zstandard, as its wheels do since version 12."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((8, 8), np.uint8), compression="zstd")
    try:
        Image.open(file).load()
    except OSError:
        return False
    return True


ZSTANDARD = pytest.param(
    "zstd",
    marks=pytest.mark.skipif(not zstandard_is_built_in(), reason="Pillow without Zstandard"),
)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "lzma", ZSTANDARD])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_compressed_values_are_exact(tmp_path, compression, dtype):
    expected = picture(dtype, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", expected, compression=compression)
    read = TIFF.decode(tmp_path / "a.tif")
    assert read.dtype == expected.dtype
    assert np.array_equal(read, expected)


def test_compression_without_decoder_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture("u2", 40, 50), compression="lerc")
    with pytest.raises(DataError, match="cannot decode compression 34887 of the TIFF"):
        TIFF.decode(tmp_path / "a.tif")


def test_truncated_pages_are_not_a_matter_of_the_decoder(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture("u2", 40, 50), compression="lzw")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        offset = tiff.pages.first.dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[offset : offset + 500] = bytes(500)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(OSError, match="-2"):
        TIFF.decode(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_compressed_big_endian_values_are_exact(tmp_path, dtype):
    expected = picture(dtype, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", expected, compression="lzw", byteorder=">")
    assert np.array_equal(TIFF.decode(tmp_path / "a.tif"), expected)


def test_compressed_stack_is_exact(tmp_path):
    expected = picture("i2", 3, 40, 50)
    options = {"compression": "lzw", "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", expected, **options)
    assert np.array_equal(TIFF.decode_stack(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_compressed_colours_are_exact(tmp_path, planar):
    stored = picture("u1", 40, 50, 3) if planar == "contig" else picture("u1", 3, 40, 50)
    options = {"compression": "lzw", "photometric": "rgb", "planarconfig": planar}
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    expected = stored if planar == "contig" else np.moveaxis(stored, 0, -1)
    assert np.array_equal(TIFF.decode(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "group4"])
def test_bits_are_exact(tmp_path, compression):
    expected = picture("u1", 40, 50) > 60
    Image.fromarray(expected).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(TIFF.decode(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("i2", {"byteorder": ">"}),
        ("f4", {"byteorder": ">"}),
        ("u2", {"photometric": "rgb"}),
    ],
)
def test_values_that_pillow_would_change_are_refused(tmp_path, dtype, options):
    shape = (40, 50, 3) if "photometric" in options else (40, 50)
    tifffile.imwrite(tmp_path / "a.tif", picture(dtype, *shape), compression="lzw", **options)
    with pytest.raises(DataError, match="cannot be decoded exactly"):
        TIFF.decode(tmp_path / "a.tif")
