from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pleura.errors import DataError, PleuraError, ScanError
from pleura.formats.image_files import IMAGE_FORMATS, read_image_file
from pleura.formats.read import read
from pleura.formats.registry import FORMATS, format_of, output_format
from pleura.formats.write import check_can_write
from pleura.masks.labels import whole_labels

NAMES = {"a.tif": "TIFF", "a.png": "PNG", "a.jpg": "JPEG", "a.jpeg": "JPEG", "a.npy": "array"}


def write(path, pixels):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


def slice_of_labels(label=1):
    pixels = np.zeros((32, 32), np.uint8)
    pixels[8:24, 8:24] = label
    return pixels


def test_each_format_has_a_module():
    assert len({type(item).__module__ for item in FORMATS}) == len(FORMATS)
    for item in IMAGE_FORMATS:
        assert all(format_of(path_with(suffix)) is item for suffix in item.suffixes)
        assert all(output_format(path_with(suffix)) is item for suffix in item.output_suffixes)


def path_with(suffix):
    return Path(f"A{suffix.upper()}")


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_stack_has_the_format_of_its_pictures(tmp_path, name, expected):
    for i in range(3):
        write(tmp_path / "stack" / f"{i}{name}", slice_of_labels())
    write(tmp_path / name, slice_of_labels())
    stack = read(tmp_path / "stack", stack=True, units="hu")
    single = read(tmp_path / name, units="hu")
    assert {stack.format, single.format} == {expected}
    assert stack.origin.is_lossy == single.origin.is_lossy == (expected == "JPEG")
    assert any(d.topic == "pixels" for d in stack.warnings) == (expected == "JPEG")


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_a_lossy_stack_are_refused(tmp_path, name):
    for i in range(3):
        write(tmp_path / f"{i}{name}", slice_of_labels(255 if "jp" in name else 1))
    stack = read(tmp_path, stack=True, units="hu")
    if NAMES[name] == "JPEG":
        with pytest.raises(DataError, match=r"not labels(.|\n)*save it losslessly"):
            whole_labels(stack)
    else:
        assert set(np.unique(whole_labels(stack))) == {0, 1}


def test_stack_of_two_formats_is_refused(tmp_path):
    write(tmp_path / "1.png", slice_of_labels())
    write(tmp_path / "2.jpg", slice_of_labels())
    with pytest.raises(ScanError, match="2 formats, so they are not one volume: PNG and JPEG"):
        read(tmp_path, stack=True)


def test_volume_in_a_stack_of_arrays_is_refused(tmp_path):
    np.save(tmp_path / "1.npy", np.zeros((6, 32, 32), np.int16))
    with pytest.raises(DataError, match=r"a volume of shape \(6, 32, 32\), not a single slice"):
        read_image_file(tmp_path / "1.npy")
    with pytest.raises(DataError, match="not a single slice"):
        read(tmp_path, stack=True)


@pytest.mark.parametrize("shape", [(32, 32), (6, 32, 32)])
def test_values_that_are_not_numbers_are_refused(tmp_path, shape):
    np.save(tmp_path / "1.npy", np.zeros(shape, np.complex64))
    with pytest.raises(PleuraError, match="values of type complex64 are not intensities"):
        read(tmp_path / "1.npy")


def test_only_picture_of_a_folder_is_read(tmp_path):
    write(tmp_path / "1.png", slice_of_labels())
    (tmp_path / "notes.txt").write_text("notes")
    scan = read(tmp_path, units="hu")
    assert (scan.format, scan.source) == ("PNG", tmp_path / "1.png")


def test_refused_dtype_names_the_dtypes_that_are_stored(tmp_path):
    scan = read(np.zeros((1, 32, 32), np.int16), units="hu")
    with pytest.raises(DataError, match=r"PNG files cannot store int16 (.|\n)*of uint8, uint16$"):
        check_can_write(tmp_path / "m.png", scan, "i2")
