"""Peak memory of a segmentation in a new process."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

CODE = """
import re, sys
from pathlib import Path
from pleura.cli import cli
cli.main(["segment", *sys.argv[1:]], standalone_mode=False)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc of Linux")
@pytest.mark.parametrize(("slices", "megabytes"), [(150, 400), (600, 600), (1200, 900)])
def test_peak_memory(slices, megabytes, sample, tmp_path):
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    values = np.asarray(image.dataobj).astype(np.int16)
    values = values[:, :, np.arange(slices) * values.shape[2] // slices]
    affine = image.affine @ np.diag([0.25, 0.25, image.shape[2] / slices, 1])
    enlarged = nib.Nifti1Image(values.repeat(4, 0).repeat(4, 1), affine)  # 512x512
    nib.save(enlarged, tmp_path / "ct.nii.gz")
    arguments = [str(tmp_path / "ct.nii.gz"), "-o", str(tmp_path / "lungs.nii.gz"), "-q"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True
    )
    assert nib.load(tmp_path / "lungs.nii.gz").shape == (512, 512, slices)
    peak = int(done.stdout.split()[-1]) / 1024
    assert peak < megabytes


ESTIMATE = """
import re, sys
from pathlib import Path
import nibabel as nib
import numpy as np
import pleura
from pleura.segmentation import segmenter

def memory(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

def record(needed, purpose, where):
    estimate.extend([memory("VmRSS"), needed])

estimate, segmenter.require_memory = [], record
with pleura.Segmenter(threads=int(sys.argv[2])) as model:
    scan = pleura.read(sys.argv[1])
    model.segment(scan, warn=False, release_voxels=sys.argv[3] == "True")
print(*estimate, memory("VmHWM"))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc of Linux")
@pytest.mark.parametrize("threads", [1, 4, 16])
@pytest.mark.parametrize(
    ("side", "slices", "axis", "release"),
    [
        (512, 1, 2, False),
        (512, 100, 2, False),
        (512, 300, 2, True),
        (512, 200, 0, False),
        (1024, 64, 2, False),
        (1280, 64, 2, False),
    ],
)
def test_the_estimate_is_an_upper_bound(side, slices, axis, release, threads, sample, tmp_path):
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    index = np.arange(side) * 128 // side
    planes = np.linspace(20, 40, slices).round().astype(int)
    values = np.asarray(image.dataobj).astype(np.int16)[np.ix_(index, index, planes)]
    affine = image.affine @ np.diag([128 / side, 128 / side, 65 / slices, 1])
    order = [*np.roll([0, 1, 2], -1 if axis == 0 else 0), 3]
    stored = np.ascontiguousarray(values.transpose(order[:3]))
    nib.save(nib.Nifti1Image(stored, affine[:, order]), tmp_path / "ct.nii")
    arguments = [str(tmp_path / "ct.nii"), str(threads), str(release)]
    done = subprocess.run(
        [sys.executable, "-c", ESTIMATE, *arguments], capture_output=True, text=True, check=True
    )
    before, needed, peak = map(int, done.stdout.split())
    assert peak <= before + needed <= 1.5 * peak
