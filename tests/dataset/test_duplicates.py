"""Near duplicates in large data sets."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pleura.dataset import duplicates
from pleura.dataset.duplicates import (
    NEAR_DUPLICATE_CORRELATION,
    THUMBNAIL_PIXELS,
    find_near_duplicates,
    thumbnail,
)
from pleura.files.arrays import TemporaryRows
from pleura.formats.image_files import write_image_file


@pytest.mark.parametrize("block", [1, 7, 128])
def test_near_duplicates_are_those_of_each_two_thumbnails(block, monkeypatch):
    rng = np.random.default_rng(0)
    scenes = rng.random((5, 64, 64))
    images = [scenes[i % 5] + rng.normal(0, 0.02 * (i % 3), (64, 64)) for i in range(40)]
    thumbnails = np.stack([*map(thumbnail, images), np.zeros(THUMBNAIL_PIXELS, np.float32)])
    expected = [
        (i, j)
        for i, j in combinations(range(41), 2)
        if thumbnails[i] @ thumbnails[j] > NEAR_DUPLICATE_CORRELATION
    ]
    assert 100 < len(expected) < 200
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    found = [
        (*pair,) for part in find_near_duplicates(thumbnails) for pair in zip(*part, strict=True)
    ]
    assert [(i, j) for i, j, _ in found] == expected
    for i, j, correlation in found:
        assert correlation == pytest.approx(thumbnails[i] @ thumbnails[j], abs=1e-5)


def test_rows_of_a_temporary_file_are_those_that_were_appended():
    rows = TemporaryRows(3, np.float32, "the thumbnails")
    for i in range(5):
        rows.append(np.arange(3) + i)
    array = rows.array()
    assert array.dtype == np.float32
    assert np.array_equal(array, np.arange(3) + np.arange(5)[:, None])
    assert TemporaryRows(3, np.uint8, "the thumbnails").array().shape == (0, 3)


CODE = """
import re, sys
from pathlib import Path
from pleura.dataset.checks import check_folders

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

check_folders(f"{sys.argv[1]}/few", f"{sys.argv[1]}/few-masks")
before = peak()
report = check_folders(f"{sys.argv[1]}/images", f"{sys.argv[1]}/masks")
print(*[one.message for one in report.findings if "near" in one.message])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc of Linux")
def test_millions_of_near_duplicates_need_little_memory(tmp_path):
    rng = np.random.default_rng(0)
    scene, mask = rng.integers(20, 200, (32, 32)), np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 255
    for images, masks, count in (("few", "few-masks", 2), ("images", "masks", 2000)):
        for folder in (images, masks):
            (tmp_path / folder).mkdir()
        for i in range(count):
            image = (scene + rng.integers(-3, 4, scene.shape)).astype(np.uint8)
            write_image_file(tmp_path / images / f"{i:04}.png", image)
            write_image_file(tmp_path / masks / f"{i:04}.png", mask)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    message, peak = done.stdout.splitlines()
    assert message.startswith("1999000 pairs of near duplicates")
    assert int(peak) < 100  # MiB; 18 of them are the file of thumbnails
