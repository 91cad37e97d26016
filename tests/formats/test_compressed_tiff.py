import numpy as np
import pytest
import tifffile
from PIL import Image

from pleura.errors import DataError
from pleura.formats.tiff import TIFF


def picture(dtype, *shape):
    values = np.random.default_rng(0).integers(0, 3000, shape)
    return (values if np.dtype(dtype).itemsize > 1 else values % 128).astype(dtype)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_compressed_values_are_exact(tmp_path, compression, dtype):
    expected = picture(dtype, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", expected, compression=compression)
    read = TIFF.decode(tmp_path / "a.tif")
    assert read.dtype == expected.dtype
    assert np.array_equal(read, expected)


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
