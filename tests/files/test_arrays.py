import gc
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pleura.errors import DataError
from pleura.files import arrays
from pleura.files.arrays import allocate_array


@pytest.fixture
def always_mapped(monkeypatch, tmp_path):
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(arrays.tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_mapped_array_holds_what_is_written(always_mapped, dtype):
    values = np.arange(3 * 70 * 90, dtype=dtype).reshape(3, 70, 90)
    array = allocate_array(values.shape, dtype, "the images")
    array[:] = values
    assert type(array) is np.ndarray
    assert array.dtype == dtype
    assert np.array_equal(array, values)
    assert np.array_equal(array[[2, 0]], values[[2, 0]])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_has_no_name_and_ends_with_the_array(always_mapped):
    def mapped():
        maps = Path("/proc/self/maps").read_text().splitlines()
        return [line for line in maps if str(always_mapped) in line]

    array = allocate_array((1000, 1000), np.uint8, "the images")
    part = array[3]
    del array
    gc.collect()
    assert mapped()  # a view keeps it
    assert not list(always_mapped.iterdir())
    del part
    gc.collect()
    assert not mapped()


def test_a_small_array_needs_no_disk(monkeypatch):
    monkeypatch.setattr(arrays.tempfile, "gettempdir", lambda: pytest.fail("looked for a folder"))
    assert allocate_array((2, 3), np.uint8, "the images").shape == (2, 3)


def test_a_full_disk_is_an_error_before_anything_is_written(always_mapped, monkeypatch):
    usage = shutil.disk_usage(always_mapped)._replace(free=1 << 20)
    monkeypatch.setattr(arrays.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="the images need 2 MiB on disk, but 1 MiB are free"):
        allocate_array((2, 1 << 20), np.uint8, "the images")
    assert not list(always_mapped.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error(always_mapped, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(arrays.tempfile, "TemporaryFile", refuse)
    with pytest.raises(DataError, match="the masks cannot be written"):
        allocate_array((2, 3), np.uint8, "the masks")


def test_space_is_reserved_on_every_platform(always_mapped, monkeypatch):
    monkeypatch.setattr(arrays.sys, "platform", "other")
    monkeypatch.setattr(arrays, "_BLOCK", 1000)
    assert allocate_array((2345,), np.uint8, "the images").shape == (2345,)
