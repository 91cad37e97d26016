import numpy as np
import pytest

import pleura
from pleura.segmentation.continuity import find_discontinuity

FAULTS = {
    "rescale missing": lambda one: one + 1024,
    "intercept applied twice": lambda one: np.maximum(one - 1024, -1024),
    "sign lost": lambda one: np.where(one < 0, 32767, one),
    "blank": np.zeros_like,
    "inverted": lambda one: -one,
}


@pytest.fixture(scope="module")
def chest(sample):
    """A whole chest, int16 HU (65, 128, 128), steps of 6 mm."""
    scan = pleura.read(sample.folder / "volume" / "ct.nii.gz")
    return scan.geometry.to_canonical().apply(scan.hu()).astype(np.int16)


@pytest.mark.parametrize("every", [1, 2, 4, 6])
def test_chest_has_no_jump_at_any_step(chest, every):
    assert find_discontinuity(chest[::every], 6.0 * every) == ""
    assert find_discontinuity(chest[::every, 24:104, 24:104], 6.0 * every) == ""


@pytest.mark.parametrize("at", [0, 16, 32])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_slice_of_other_values_is_a_jump(chest, fault, at):
    hu = chest[::2].copy()
    hu[at] = fault(hu[at].astype(np.int32)).clip(-1024, 32767)
    blank_end = at in (0, 32) and np.ptp(hu[at]) == 0  # padding
    assert ("more than anatomy" in find_discontinuity(hu, 12.0)) != blank_end


def test_blank_slices_at_the_ends_are_padding(chest):
    assert (
        find_discontinuity(np.pad(chest, ((2, 3), (0, 0), (0, 0)), constant_values=-1024), 6.0)
        == ""
    )
    assert find_discontinuity(chest[:1], 6.0) == find_discontinuity(0 * chest, 6.0) == ""
