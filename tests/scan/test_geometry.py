from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pleura.errors import ScanError
from pleura.scan.geometry import Geometry, affine_from_axes

SHAPE = (4, 6, 5)
TURNS = [(p, f) for p in permutations(range(3)) for f in product((1, -1), repeat=3)]


def axial(shape=SHAPE, spacing=(3, 0.7, 0.8)):
    """Build a common axial grid: slices to the head, rows to the back, columns to the left."""
    z, y, x = spacing
    return Geometry(shape, affine_from_axes((-90, -120, 31), ((0, 0, z), (0, y, 0), (x, 0, 0))))


def turned(order, signs, rotation=None):
    directions = np.eye(3)[list(order)] * signs  # a row an axis, in x, y, z
    if rotation is not None:
        directions = directions @ rotation.as_matrix().T
    steps = tuple(row * size for row, size in zip(directions, (2.5, 0.8, 0.7), strict=True))
    return Geometry(SHAPE, affine_from_axes((5, -6, 7), steps))


def test_common_axial_grid_says_where_its_axes_lead():
    grid = axial()
    assert grid.spacing == (3, 0.7, 0.8)
    assert grid.orientation == "SPL"
    assert grid.gantry_tilt == 0
    assert grid.voxel_volume == pytest.approx(3 * 0.7 * 0.8 / 1000)
    assert grid.index_to_world((2, 1, 3)) == pytest.approx((-90 + 3 * 0.8, -120 + 0.7, 31 + 2 * 3))
    assert str(grid) == "4 slices of 6x5; 0.70x0.80x3.00 mm; SPL"


@pytest.mark.parametrize(("order", "signs"), TURNS)
def test_every_orientation_becomes_axial_and_no_voxel_moves(order, signs):
    grid = turned(order, signs)
    change = grid.to_canonical()
    canonical = change.apply_to(grid)
    assert canonical.orientation == "SPL"
    assert np.all(np.diag(canonical.directions[::-1]) == 1)
    index = np.stack(np.indices(SHAPE), -1)
    places = change.apply(grid.index_to_world(index)[..., 0])
    again = canonical.index_to_world(np.stack(np.indices(canonical.shape), -1))[..., 0]
    np.testing.assert_allclose(places, again, atol=1e-9)
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    assert np.array_equal(change.undo(change.apply(array)), array)


@settings(max_examples=60, deadline=None)
@given(
    orientation=st.sampled_from(TURNS),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    degrees=st.floats(-30, 30),
)
def test_oblique_grids_keep_their_voxels_where_they_are(orientation, axis, degrees):
    rotation = Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis))
    grid = turned(*orientation, rotation)
    change = grid.to_canonical()
    canonical = change.apply_to(grid)
    for world in range(3):
        places = change.apply(grid.index_to_world(np.stack(np.indices(SHAPE), -1))[..., world])
        again = canonical.index_to_world(np.stack(np.indices(canonical.shape), -1))[..., world]
        np.testing.assert_allclose(places, again, atol=1e-9)
    assert canonical.orientation == "SPL"
    assert grid.gantry_tilt == pytest.approx(0, abs=1e-4)
    assert grid.spacing == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize("degrees", [-22, -14, 0, 18.5])
def test_tilt_is_told_from_the_axes(degrees):
    lean = 5 * np.tan(np.radians(degrees))
    grid = Geometry(SHAPE, affine_from_axes((0, 0, 0), ((0, lean, 5), (0, 0.7, 0), (0.7, 0, 0))))
    assert grid.gantry_tilt == pytest.approx(abs(degrees), abs=1e-4)
    assert grid.voxel_volume == pytest.approx(5 * 0.7 * 0.7 / 1000)


def test_grids_are_close_or_not():
    grid, moved = axial(), axial().affine.copy()
    moved[2, 3] += 0.005
    assert grid.is_close(Geometry(SHAPE, moved))
    moved[2, 3] += 0.01
    assert not grid.is_close(Geometry(SHAPE, moved))
    assert not grid.is_close(axial((4, 5, 6)))


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        ((0, 6, 5), {}, "no voxel"),
        (SHAPE, {(0, 2): 0.0}, "singular: spacing 3 x 0.7 x 0 mm, or axes in one plane"),
        (SHAPE, {(0, 2): np.nan}, "NaN"),
        (SHAPE, {(0, 1): 0.8, (1, 1): 0.0}, "axes in one plane"),
        (SHAPE, {(3, 0): 1.0}, "last row"),
    ],
)
def test_impossible_grids_are_refused(shape, change, message):
    affine = axial().affine.copy()
    for place, value in change.items():
        affine[place] = value
    with pytest.raises(ScanError, match=message):
        Geometry(shape, affine)


def test_affine_of_a_grid_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        axial().affine[0, 0] = 2


def test_difference_of_two_grids_is_described():
    grid = axial()
    moved = grid.affine.copy()
    moved[2, 3] += 12.5
    grids = "(4 slices of 6x5; 0.70x0.80x3.00 mm; SPL)"
    apart = f"their corners are up to 12.5 mm apart {grids}"
    assert grid.describe_difference(Geometry(SHAPE, moved)) == apart
    other = "4 slices of 6x5; 0.70x0.80x3.00 mm; SPL, and 2 slices of 6x5; 0.70x0.80x3.00 mm; SPL"
    assert grid.describe_difference(axial((2, 6, 5))) == other
    scaled = f"{grid}, and {axial(spacing=(6, 0.7, 0.8))}"
    described = grid.describe_difference(axial(spacing=(6, 0.7, 0.8)))
    assert described == f"their corners are up to 9 mm apart ({scaled})"
