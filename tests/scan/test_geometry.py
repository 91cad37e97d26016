from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pleura.errors import ScanError
from pleura.scan.geometry import Geometry, affine_from_axes

SHAPE = (4, 6, 5)
NOT_3D = "\n  hint: pass a 3-D array"
HUGE = "infinite or impossibly large numbers"
CORRECT = "\n  hint: correct the header of the file"
CORRECT_AXES = "\n  hint: correct spacing and orientation in the header of the file"
SINGULAR = "the grid is singular: spacing "
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


def test_axial_grid_has_spacing_orientation_and_volume():
    grid = axial()
    assert grid.spacing == (3, 0.7, 0.8)
    assert grid.orientation == "SPL"
    assert grid.gantry_tilt == 0
    assert grid.voxel_volume == pytest.approx(3 * 0.7 * 0.8 / 1000)
    assert grid.index_to_world((2, 1, 3)) == pytest.approx((-90 + 3 * 0.8, -120 + 0.7, 31 + 2 * 3))
    assert str(grid) == "4 slices of 6x5; 0.70x0.80x3.00 mm; SPL"


@pytest.mark.parametrize(("order", "signs"), TURNS)
def test_to_canonical_keeps_voxel_positions(order, signs):
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
def test_to_canonical_of_oblique_grid_keeps_voxel_positions(orientation, axis, degrees):
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
def test_gantry_tilt_is_the_angle_to_the_slice_normal(degrees):
    lean = 5 * np.tan(np.radians(degrees))
    grid = Geometry(SHAPE, affine_from_axes((0, 0, 0), ((0, lean, 5), (0, 0.7, 0), (0.7, 0, 0))))
    assert grid.gantry_tilt == pytest.approx(abs(degrees), abs=1e-4)
    assert grid.voxel_volume == pytest.approx(5 * 0.7 * 0.7 / 1000)


def test_is_close_compares_corners_and_shapes():
    grid, moved = axial(), axial().affine.copy()
    moved[2, 3] += 0.005
    assert grid.is_close(Geometry(SHAPE, moved))
    moved[2, 3] += 0.01
    assert not grid.is_close(Geometry(SHAPE, moved))
    assert not grid.is_close(axial((4, 5, 6)))


@pytest.mark.parametrize(
    ("shape", "change", "message"),
    [
        ((0, 6, 5), {}, f"a grid of shape (0, 6, 5) has no voxels{NOT_3D}"),
        ((6, 5), {}, f"a grid of shape (6, 5) has no voxels{NOT_3D}"),
        (SHAPE, {(0, 2): 0.0}, f"{SINGULAR}3 x 0.7 x 0 mm, or axes in one plane{CORRECT_AXES}"),
        (
            SHAPE,
            {(0, 2): np.nan},
            f"the grid contains NaN, infinite or impossibly large numbers{CORRECT}",
        ),
        (
            SHAPE,
            {(0, 1): 0.8, (1, 1): 0.0},
            f"{SINGULAR}3 x 0.8 x 0.8 mm, or axes in one plane{CORRECT_AXES}",
        ),
        (
            SHAPE,
            {(3, 0): 1.0},
            f"the affine is not a 4x4 matrix with the last row 0 0 0 1{CORRECT}",
        ),
    ],
)
def test_geometry_rejects_invalid_shape_and_affine(shape, change, message):
    affine = axial().affine.copy()
    for place, value in change.items():
        affine[place] = value
    with pytest.raises(ScanError) as error:
        Geometry(shape, affine)
    assert str(error.value) == message


def test_affine_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        axial().affine[0, 0] = 2


def test_describe_difference_names_distance_and_grids():
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


def tilted(degrees):
    """Build an axial grid whose slice axis leans backwards, as with a tilted gantry."""
    lean = 5 * np.tan(np.radians(degrees))
    return Geometry(SHAPE, affine_from_axes((1, 2, 3), ((0, lean, 5), (0, 0.7, 0), (0.7, 0, 0))))


def moved_up(grid, distance):
    affine = grid.affine.copy()
    affine[2, 3] += distance
    return Geometry(grid.shape, affine)


def test_orthogonalized_rotates_both_sheared_axes_by_half_the_tilt():
    grid = tilted(20)
    result = grid.orthogonalized()
    half = np.radians(10)
    expected = [[0, np.sin(half), np.cos(half)], [0, np.cos(half), -np.sin(half)], [1, 0, 0]]
    np.testing.assert_allclose(result.directions.T, expected, atol=1e-12)
    assert result.spacing == pytest.approx(grid.spacing)
    assert result.affine[:, 3].tolist() == [1, 2, 3, 1]
    assert result.affine[3].tolist() == [0, 0, 0, 1]
    assert result.shape == grid.shape


def test_is_sheared_tolerates_a_tenth_of_a_millimetre_at_the_corners():
    assert not axial().is_sheared
    assert not tilted(0.1).is_sheared
    assert tilted(1).is_sheared


def test_skew_and_orthogonal_spacing_of_a_tilted_grid():
    grid = tilted(20)
    assert grid.skew == pytest.approx(20)
    assert grid.spacing[0] == pytest.approx(5 / np.cos(np.radians(20)))
    assert grid.orthogonal_spacing == pytest.approx((5, 0.7, 0.7))
    assert axial().skew == 0


def test_matches_tolerates_half_a_millimetre():
    grid = axial()
    assert grid.matches(moved_up(grid, 0.5))
    assert not grid.matches(moved_up(grid, 0.6))


@pytest.mark.parametrize("unknown", ["mask", "scan"])
def test_matches_compares_only_shapes_if_an_orientation_is_unknown(unknown):
    grid, other = axial(), moved_up(axial(), 12)
    if unknown == "mask":
        grid = replace(grid, orientation_known=False)
    else:
        other = replace(other, orientation_known=False)
    assert grid.matches(other)
    assert not grid.matches(replace(other, shape=(4, 5, 6)))


def test_describe_difference_includes_the_first_corner():
    """Both grids have the same last slice."""
    other = moved_up(axial(spacing=(6, 0.7, 0.8)), -9)
    assert axial().describe_difference(other).startswith("their corners are up to 9 mm apart")


def test_apply_to_keeps_what_is_unknown():
    grid = replace(axial(), spacing_known=False, orientation_known=False)
    result = grid.to_canonical().apply_to(grid)
    assert not result.spacing_known
    assert not result.orientation_known
    known = axial().to_canonical().apply_to(axial())
    assert known.spacing_known
    assert known.orientation_known


def test_str_omits_unknown_spacing():
    assert str(replace(axial(), spacing_known=False)) == "4 slices of 6x5"
    assert repr(axial((1, 6, 5))) == "Geometry(1 slice of 6x5; 0.70x0.80x3.00 mm; SPL)"


def test_one_voxel_of_fifty_micrometres_is_a_grid():
    affine = np.diag([0.05, 0.05, 0.05, 1])
    assert Geometry((1, 1, 1), affine).spacing == pytest.approx((0.05, 0.05, 0.05))


def test_integer_affine_is_stored_in_double_precision():
    assert Geometry(SHAPE, np.diag([3, 2, 1, 1])).affine.dtype == np.float64
