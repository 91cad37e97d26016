import contextlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pleura.errors import DataError
from pleura.files.atomic import write_atomically
from pleura.formats.image_files import list_image_files, read_image_file, write_image_file

DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64]


def ramp(dtype):
    values = np.arange(20 * 30).reshape(20, 30) - (0 if np.dtype(dtype).kind == "u" else 300)
    return (values % 256 if np.dtype(dtype).itemsize == 1 else values).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_keeps_dtype_and_values(tmp_path, dtype, byteorder):
    tifffile.imwrite(tmp_path / "a.tif", ramp(dtype), byteorder=byteorder)
    picture = read_image_file(tmp_path / "a.tif")
    assert picture.dtype == dtype
    assert np.array_equal(picture, ramp(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_lzw_tiff_is_read_without_further_packages(tmp_path, dtype):
    path = tmp_path / "a.tif"
    lzw = [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    assert cv2.imwrite(str(path), ramp(dtype), lzw)
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "import numpy; from pathlib import Path\n"
        "from pleura.formats.image_files import read_image_file, write_image_file\n"
        f"numpy.save({str(tmp_path / 'a.npy')!r}, read_image_file(Path({str(path)!r})))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for picture in (np.load(tmp_path / "a.npy"), read_image_file(path)):
        assert picture.dtype == dtype
        assert np.array_equal(picture, ramp(dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_its_bits(tmp_path, dtype):
    picture = ramp(dtype) * dtype(3)
    assert cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert read_image_file(tmp_path / "a.png").dtype == dtype
    assert np.array_equal(read_image_file(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colours_stay_colours(tmp_path, mode):
    Image.new("RGB", (7, 5), "teal").convert(mode).save(tmp_path / "a.png")
    assert read_image_file(tmp_path / "a.png").shape[:2] == (5, 7)
    assert read_image_file(tmp_path / "a.png").ndim == 3


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("a.tif", np.int16),
        ("a.tif", np.float32),
        ("a.png", np.uint8),
        ("a.png", np.uint16),
        ("a.npy", np.int32),
    ],
)
def test_written_picture_reads_back(tmp_path, name, dtype):
    write_image_file(tmp_path / name, ramp(dtype))
    assert read_image_file(tmp_path / name).dtype == dtype
    assert np.array_equal(read_image_file(tmp_path / name), ramp(dtype))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_written_tiff_opens_in_opencv(tmp_path, sample):
    image = read_image_file(sample.images / "LCTSC-201_058.tif")
    write_image_file(tmp_path / "a.tif", image)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED), image)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a"])
def test_picture_is_never_written_with_loss(tmp_path, name):
    with pytest.raises(DataError, match="losslessly"):
        write_image_file(tmp_path / name, ramp(np.int16))
    assert not list(tmp_path.iterdir())


def encoded(name, picture):
    if name.endswith(".npy"):
        file = io.BytesIO()
        np.save(file, picture)
        return file.getvalue()
    return cv2.imencode(Path(name).suffix, picture)[1].tobytes()


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy", "a.jpg"])
@pytest.mark.parametrize("share", [0, 0.3, 0.95])
def test_truncated_file_is_refused(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    content = encoded(name, noise)
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        DataError, match=r"truncated or corrupt|header claims|header is wrong|is empty"
    ):
        read_image_file(tmp_path / name)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.tif", "a.png", "a.npy"]),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=8),
)
def test_corrupt_file_is_read_or_refused_and_nothing_else(tmp_path, name, flips):
    content = bytearray(encoded(name, ramp(np.uint8)))
    for place, value in flips:
        content[int(place * len(content))] ^= value
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(DataError):
        assert read_image_file(tmp_path / name).size < 1 << 28


def test_huge_image_size_in_a_header_is_refused_without_allocation(tmp_path):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    tifffile.imwrite(tmp_path / "a.tif", ramp(np.uint8))
    tiff = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        for tag in ("ImageWidth", "ImageLength"):
            offset = file.pages[0].tags[tag].valueoffset
            tiff[offset : offset + 2] = struct.pack("<H", 65_000)
    (tmp_path / "a.tif").write_bytes(tiff)
    for name in ("a.png", "a.tif"):
        with pytest.raises(DataError, match="claims"):
            read_image_file(tmp_path / name)


def test_stack_is_not_a_picture(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 20, 30), np.int16), photometric="minisblack")
    with pytest.raises(DataError, match="stack of 3 pages"):
        read_image_file(tmp_path / "a.tif")


def test_tiff_that_is_stored_turned_is_refused(tmp_path):
    Image.fromarray(ramp(np.uint8)).save(tmp_path / "a.tif", tiffinfo={274: 3})
    with pytest.raises(DataError, match="orientation 3"):
        read_image_file(tmp_path / "a.tif")


@pytest.mark.parametrize("values", [["a", "b"], [1j, 2j]])
def test_values_that_are_no_numbers_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", np.array([values, values]))
    with pytest.raises(DataError, match="are not intensities"):
        read_image_file(tmp_path / "a.npy")


def test_array_that_carries_code_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(DataError, match="corrupt"):
        read_image_file(tmp_path / "a.npy")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"(?s)no such file.*gone\.png"):
        read_image_file(tmp_path / "gone.png")


def test_failing_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_in_place_of_the_output_file_is_named(tmp_path):
    with pytest.raises(DataError, match="the output path is a folder"):
        write_atomically(tmp_path, lambda file: file.write(b"new"))


def test_pictures_are_listed_in_order_without_hidden_and_other_files(tmp_path):
    for name in ("b.TIF", "a.png", ".c.png", "notes.txt", "d.npy"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "e.png").mkdir()
    assert [path.name for path in list_image_files(tmp_path)] == ["a.png", "b.TIF", "d.npy"]
