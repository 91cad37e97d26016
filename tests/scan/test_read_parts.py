"""Volumes that are read in parts, whose memory is released part by part."""

import weakref

import numpy as np
import pytest

from pleura.errors import ScanError
from pleura.formats import raw
from pleura.formats.read import read
from pleura.formats.write import write_volume
from pleura.scan.scan import ReadParts
from pleura.segmentation.segmenter import Segmenter

VOLUME = np.arange(11 * 3 * 4, dtype=np.int16).reshape(11, 3, 4)


class File:
    """A volume in parts of four slices that counts how often it is read."""

    def __init__(self):
        self.reads, self.parts = 0, []

    def load(self):
        self.reads += 1
        for start in range(0, len(VOLUME), 4):
            part = VOLUME[start : start + 4].copy()
            self.parts.append(weakref.ref(part))
            yield part

    @property
    def kept(self):
        return [part() is not None for part in self.parts[-3:]]


def test_slices_of_one_or_more_parts_are_those_of_the_volume():
    file = File()
    voxels = ReadParts(file.load)
    for start in range(len(VOLUME)):
        for stop in range(start + 1, len(VOLUME) + 1):
            assert np.array_equal(voxels(start, stop), VOLUME[start:stop])
    assert file.reads == 1


def test_a_part_is_freed_when_all_its_slices_are_released():
    file = File()
    voxels = ReadParts(file.load)
    voxels(0, 1)
    voxels.release(0, 3)
    assert file.kept == [True, True, True]
    voxels.release(3, 6)
    assert file.kept == [False, True, True]
    assert np.array_equal(voxels(6, 11), VOLUME[6:11])
    assert file.reads == 1


def test_released_slices_are_read_again():
    file = File()
    voxels = ReadParts(file.load)
    voxels(0, 1)
    voxels.release(0, 11)
    assert not any(file.kept)
    assert np.array_equal(voxels(0, 11), VOLUME)
    assert file.reads == 2


def test_a_volume_that_cannot_be_read_fails_again_at_the_next_call():
    def load():
        yield VOLUME
        raise ScanError("truncated", where=None, hint="copy the file again")

    voxels = ReadParts(load)
    for _ in range(2):
        with pytest.raises(ScanError, match="truncated"):
            voxels(0, 1)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_scan_in_parts_has_the_same_mask_when_they_are_released(
    suffix, flipped, sample, model, tmp_path, monkeypatch
):
    scan = read(sample.folder / "volume" / "ct.nii.gz")
    order = slice(None, None, -1) if flipped else slice(None)
    affine = scan.geometry.affine.copy()
    if flipped:  # slices from head to foot
        affine[:3, 3] += affine[:3, 0] * (scan.geometry.shape[0] - 1)
        affine[:3, 0] *= -1
    geometry = type(scan.geometry)(scan.geometry.shape, affine)
    write_volume(tmp_path / f"ct{suffix}", np.ascontiguousarray(scan.hu()[order]), geometry)
    with Segmenter(model) as segmenter:
        expected = segmenter(scan).labels[order]
        monkeypatch.setattr(raw, "_PART", 10 * 128 * 128 * 2)
        reads = []
        read_parts = ReadParts._read
        monkeypatch.setattr(ReadParts, "_read", lambda self: (reads.append(1), read_parts(self)))
        opened = read(tmp_path / f"ct{suffix}")
        found = segmenter.segment(opened, release_voxels=True)
    assert np.array_equal(found.labels, expected)
    assert len(reads) == 1
    assert np.array_equal(opened.hu(), scan.hu()[order])
    assert len(reads) == 2
