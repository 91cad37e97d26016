from dataclasses import replace

import numpy as np
import pytest

from pleura.formats.images import from_array
from pleura.scan.geometry import affine_from_axes
from pleura.scan.scan import Decision
from pleura.segmentation.flags import find_flags

SHAPE = (40, 128, 160)
CHEST = affine_from_axes((0, 0, 0), ((0, 0, 6.0), (0, 2.4, 0), (2.4, 0, 0)))


@pytest.fixture
def labels():
    """Two boxes of lung, close to 4 litres each."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:36, 30:100, 20:70] = 1
    labels[4:36, 30:100, 90:140] = 2
    return labels


def flags(labels, low_confidence=0.05, sides=True, affine=CHEST, units="hu"):
    scan = from_array(np.zeros(labels.shape, np.int16), affine=affine, units=units)
    found = find_flags(labels, scan, scan.geometry, low_confidence, sides=sides)
    return {flag.name: flag.message for flag in found}


def test_a_usual_mask_has_no_flag(labels):
    assert flags(labels) == {}


def test_nothing_found_is_the_only_thing_to_say(labels):
    assert flags(0 * labels) == {"no_lung": "no lung was found"}


def test_implausible_volume_is_told_in_ml(labels):
    small = labels.copy()
    small[7:] = 0
    assert flags(small)["volume"].startswith(
        f"the volume of both lungs is {3 * 70 * 100 * 6 * 2.4 * 2.4 / 1000:.0f} ml"
    )
    assert "volume" in flags(labels, affine=CHEST @ np.diag([1.4, 1.4, 1.4, 1]))
    assert "volume" not in flags(small, affine=None)


@pytest.mark.parametrize(("side", "name"), [(1, "right"), (2, "left")])
def test_missing_side_is_named(labels, side, name):
    labels[labels == side] = 0
    assert flags(labels)["asymmetric"].startswith(f"the {name} lung is missing")
    assert "asymmetric" not in flags(np.minimum(labels, 1), sides=False)


def test_lung_at_the_ends_and_at_the_border_is_cut_off(labels):
    labels[0, 50:60, 30:40] = 1
    assert flags(labels)["truncated"] == "the lung reaches the lowest slice"
    labels[-1, 50:60, 30:40] = 1
    labels[20, 50, 0] = 1
    found = flags(labels)
    assert found["truncated"] == "the lung reaches the lowest and the highest slice"
    assert "border" in found


def test_uncertain_border_is_flagged(labels):
    assert "low_confidence" in flags(labels, low_confidence=0.6)


def test_low_confidence_of_a_tiny_lung_is_reported_in_voxels():
    labels = np.zeros(SHAPE, np.uint8)
    labels[20, 50, 50:54] = 1
    message = flags(labels, low_confidence=39.5, sides=False)["low_confidence"]
    assert message == "158 voxels have a probability of 0.2 to 0.8; the mask has 4 voxels"


@pytest.mark.parametrize(
    ("columns", "low_confidence", "flagged"),
    [(40, 0.16, True), (40, 0.12, False), (4, 0.16, False)],
)
def test_a_large_lung_of_a_single_slice_may_be_less_uncertain(columns, low_confidence, flagged):
    """The border of a small lung is a larger share of it; 0.16 would pass in a volume."""
    labels = np.zeros((1, 128, 160), np.uint8)
    labels[0, 30:100, 20 : 20 + columns] = 1
    labels[0, 30:100, 90 : 90 + columns] = 2
    assert ("low_confidence" in flags(labels, low_confidence=low_confidence)) is flagged


@pytest.mark.parametrize(("low_confidence", "flagged"), [(0.16, False), (0.26, True)])
def test_limit_of_low_confidence_is_higher_for_greyscale_images(labels, low_confidence, flagged):
    """0.16 is flagged in an image of HU."""
    scan = from_array(np.arange(128 * 160, dtype=np.uint32).reshape(128, 160) % 251, units="grey")
    found = find_flags(labels[20:21], scan, scan.geometry, low_confidence, sides=True)
    assert ("low_confidence" in {flag.name for flag in found}) is flagged


def test_doubtful_units_are_flagged(labels):
    values = np.full(SHAPE, 5, np.uint8) * np.arange(160, dtype=np.uint8)
    scan = from_array(values, orientation="SPL", units="grey")
    doubt = Decision("units", "grey", "the values are probably HU", warning=True)
    scan = replace(scan, decisions=(doubt,))
    empty = find_flags(0 * labels, scan, scan.geometry, 0.0, sides=True)
    assert [f.name for f in empty] == ["units", "no_lung"]
    names = [f.name for f in find_flags(labels, scan, scan.geometry, 0.05, sides=True)]
    assert names == ["units"]
