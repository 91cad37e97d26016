"""Scans and masks as images of SimpleITK, nibabel and highdicom, in all 48 orientations."""

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pleura.errors import ScanError
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.scan.geometry import AXIS_ENDS
from pleura.scan.orientation import flip_left_right
from pleura.scan.scan import Decision

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(AXIS_ENDS)
    for letters in itertools.product(*axes)
]
LIBRARIES = ["to_simpleitk", "to_nibabel", "to_highdicom"]
HU = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 1000


def oriented_scan(orientation):
    return from_array(HU, (2.5, 0.7, 0.8), orientation=orientation, units="hu")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_scans_and_masks_keep_voxels_and_geometry(orientation, library):
    scan = oriented_scan(orientation)
    found = read(getattr(scan, library)(), units="hu")
    assert np.array_equal(found.hu(), HU)
    assert found.geometry.is_close(scan.geometry, 1e-4)
    labels = np.zeros(HU.shape, np.uint8)
    labels[1:3, 2, 3] = 1
    mask = read_mask(getattr(Mask(labels, scan), library)(), scan)
    assert np.array_equal(mask.labels, labels)


def test_the_position_of_a_voxel_is_the_same_in_every_library():
    scan = oriented_scan("IAR")
    expected = scan.geometry.index_to_world([3, 1, 2])
    image = scan.to_simpleitk()
    assert np.allclose(image.TransformIndexToPhysicalPoint((2, 1, 3)), expected)
    ras = scan.to_nibabel().affine @ (2, 1, 3, 1)
    assert np.allclose(ras[:3] * (-1, -1, 1), expected)
    volume = scan.to_highdicom()
    assert np.allclose(volume.map_indices_to_reference(np.array([[3, 1, 2]]))[0], expected)


@pytest.mark.parametrize("library", ["to_simpleitk", "to_highdicom"])
def test_a_sheared_grid_is_refused(library):
    affine = [[0, 0, 0.7, 0], [0.9, 0.7, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]]
    scan = from_array(np.zeros((9, 9, 9), np.int16), affine=affine, units="hu")
    with pytest.raises(ScanError, match="sheared"):
        getattr(scan, library)()
    assert read(scan.to_nibabel(), units="hu").geometry.is_close(scan.geometry, 1e-4)


def test_a_numpy_array_is_read_with_a_warning_about_its_orientation():
    scan = read(HU, units="hu")
    assert [decision.topic for decision in scan.warnings] == ["orientation"]


def test_a_mask_without_its_scan():
    labels = np.zeros(HU.shape, np.uint8)
    labels[1:3, 2, 3] = 1
    mask = read_mask(labels)
    assert np.array_equal(mask.labels, labels)
    assert not mask.sides


def test_scan_and_mask_show_their_decisions():
    scan = oriented_scan("SPL")
    assert "\n" not in repr(scan)
    assert "orientation: SPL" in str(scan)
    mask = Mask(np.ones(HU.shape, np.uint8), scan)
    for html in (scan._repr_html_(), mask._repr_html_()):
        assert "data:image/png" in html
        assert "SPL" in html


def test_a_scan_whose_voxels_cannot_be_read_shows_the_error():
    def fail(start, stop):
        raise ScanError("the file is cut off", where=None, hint="copy it again")

    html = replace(oriented_scan("SPL"), read=fail)._repr_html_()
    assert "the file is cut off" in html


def test_none_of_the_libraries_is_imported_by_reading():
    code = (
        "import pleura, sys, numpy as np; pleura.from_array(np.zeros((20, 20)), units='hu')\n"
        "assert not {'SimpleITK', 'highdicom', 'pydicom'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_nibabel_image_has_the_unit_and_dtype_of_the_scan():
    image = oriented_scan("SPL").to_nibabel()
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.int16


def test_a_scan_is_printed_with_its_decisions():
    scan = from_array(HU, (2.5, 0.7, 0.8), units="hu")
    note = Decision("series", "the first", "it has most slices")
    lines = str(replace(scan, decisions=(*scan.decisions, note))).splitlines()
    assert lines[-1] == "  series: the first (it has most slices)"
    assert any(line.startswith("  warning: orientation: ") for line in lines)


def test_flipping_exchanges_left_and_right_only():
    scan = from_array(HU, (2.5, 0.7, 0.8), units="hu")
    flipped = flip_left_right(scan)
    assert flipped.geometry.orientation == "SPR"
    assert np.array_equal(flipped.hu(), scan.hu())
    first, last = (0, 0, 0), (0, 0, HU.shape[2] - 1)
    for one, other in ((first, last), (last, first)):
        position = flipped.geometry.index_to_world(one)
        assert position == pytest.approx(scan.geometry.index_to_world(other))
    (decision,) = (one for one in flipped.decisions if one.topic == "orientation")
    assert str(decision) == "orientation: columns to the patient's right (as requested: flipped)"
    with pytest.raises(ScanError, match="the file defines its orientation"):
        flip_left_right(oriented_scan("SPL"))
