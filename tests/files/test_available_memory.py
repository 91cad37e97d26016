"""Scans that need more memory than is available are refused before they are read."""

import sys
import time

import nibabel as nib
import numpy as np
import pytest

from pleura.errors import ScanError
from pleura.files import limits
from pleura.files.memory import available_memory
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter

MIB = 1 << 20
MEMINFO = f"MemTotal: 8192 kB\nMemAvailable:    {4 * 1024} kB\nHugePages_Total:       0\n"


def write_files(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("files", "mebibytes"),
    [
        ({}, 4),
        ({"memory.max": "max\n", "memory.current": "7\n", "memory.stat": "inactive_file 3\n"}, 4),
        (
            {
                "memory.max": f"{3 * MIB}\n",
                "memory.current": f"{2 * MIB}\n",
                "memory.stat": f"anon 5\ninactive_file {MIB}\n",
            },
            2,
        ),
        (
            {
                "memory/memory.limit_in_bytes": f"{3 * MIB}\n",
                "memory/memory.usage_in_bytes": f"{2 * MIB}\n",
                "memory/memory.stat": "cache 1\ntotal_inactive_file 0\n",
            },
            1,
        ),
        (
            {
                "memory.max": f"{MIB}\n",
                "memory.current": f"{2 * MIB}\n",
                "memory.stat": "inactive_file 0\n",
            },
            0,
        ),
    ],
)
def test_the_smaller_of_system_and_container_counts(files, mebibytes, tmp_path):
    write_files(tmp_path, {"meminfo": MEMINFO, **files})
    assert available_memory(tmp_path / "meminfo", tmp_path) == mebibytes * MIB


def test_memory_is_unknown_without_the_files_of_linux(tmp_path):
    assert available_memory(tmp_path / "meminfo", tmp_path) is None
    if sys.platform == "linux":
        assert available_memory() > 64 * MIB


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.delenv("PLEURA_MAX_MEMORY", raising=False)
    monkeypatch.setattr(limits, "available_memory", lambda: 70 * MIB)


def test_a_volume_larger_than_memory_is_refused_at_once(tmp_path, little_memory, monkeypatch):
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, 200))
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    header["vox_offset"] = 352
    with (tmp_path / "ct.nii").open("wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + 512 * 512 * 200 * 2)  # sparse
    start = time.perf_counter()
    with pytest.raises(ScanError, match=r"100 MiB of memory for its voxels, but 70 MiB") as error:
        read(tmp_path / "ct.nii")
    assert time.perf_counter() - start < 1
    assert "PLEURA_MAX_MEMORY" in error.value.hint
    monkeypatch.setenv("PLEURA_MAX_MEMORY", "1G")
    with pytest.raises(ScanError, match="constant"):
        read(tmp_path / "ct.nii")


def test_a_segmentation_that_needs_more_memory_is_refused_before_inference(
    little_memory, monkeypatch
):
    scan = from_array(np.zeros((30, 512, 512), np.int16), spacing=(1, 1, 1), units="hu")
    with Segmenter(threads=2) as segmenter:
        monkeypatch.setattr(segmenter.engine, "probability", None)
        with pytest.raises(ScanError, match=r"150 MiB of memory for its segmentation, but 70"):
            segmenter(scan)
