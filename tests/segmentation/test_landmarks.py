import itertools

import numpy as np
import pytest

from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.segmentation.flags import find_flags
from pleura.segmentation.landmarks import Landmarks, find_landmarks
from pleura.segmentation.segmenter import Segmenter

LEFT_RIGHT = "the liver lies on the left"
FRONT_BACK = "the spine lies in front of the lungs"
HEAD_FOOT = "the trachea and the apex of the lungs point to the feet"
QUARTER = "the lungs lie one behind the other"
SIGNS = list(itertools.product((1, -1), repeat=3))


@pytest.fixture(scope="module")
def chest(sample):
    """The volume that ships with pleura, from neck to abdomen, and its lungs: canonical axial."""
    arrays = []
    for name in ("ct", "lungs"):
        scan = read(sample.folder / "volume" / f"{name}.nii.gz", units="hu")
        arrays.append(np.ascontiguousarray(scan.geometry.to_canonical().apply(scan.hu())))
    return arrays[0], arrays[1] > 0


def contradictions(hu, lung):
    return find_landmarks(np.ascontiguousarray(hu), np.ascontiguousarray(lung)).contradictions()


@pytest.mark.parametrize("signs", SIGNS)
def test_reversed_axes_are_named(chest, signs):
    turned = (array[tuple(slice(None, None, s) for s in signs)] for array in chest)
    clauses = (HEAD_FOOT, FRONT_BACK, LEFT_RIGHT)
    wrong = {clause for sign, clause in zip(signs, clauses, strict=True) if sign < 0}
    assert set(contradictions(*turned)) == wrong


@pytest.mark.parametrize("signs", SIGNS)
def test_rows_in_place_of_columns_are_found(chest, signs):
    turned = (a.transpose(0, 2, 1)[tuple(slice(None, None, s) for s in signs)] for a in chest)
    assert contradictions(*turned) == (QUARTER,)


@pytest.mark.parametrize("axes", [(1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_coronal_and_sagittal_slices_are_found(chest, axes):
    assert contradictions(*(array.transpose(axes) for array in chest))


def test_table_in_front_of_a_prone_patient_is_no_contradiction(chest):
    hu, lung = chest
    prone = hu.copy()
    prone[:, 105:] = -1000
    prone[:, :10, 20:-20] = 300
    assert contradictions(prone, lung) == ()
    assert contradictions(prone[:, ::-1, ::-1], lung[:, ::-1, ::-1]) == (FRONT_BACK, LEFT_RIGHT)


@pytest.mark.parametrize("part", [slice(35), slice(30, None), slice(25, 40), slice(30, 33)])
def test_a_part_of_a_chest_is_no_contradiction(chest, part):
    hu, lung = chest
    assert contradictions(hu[part], lung[part]) == ()


def test_one_landmark_is_not_enough_but_for_bone_of_many_slices():
    assert Landmarks(bone=-0.5).contradictions() == (FRONT_BACK,)
    assert Landmarks(bone=-0.3).contradictions() == ()
    assert Landmarks(bone=-0.5, heart=0).contradictions() == ()
    assert Landmarks(bone=-0.5, recess=0).contradictions() == ()
    assert Landmarks(apex=-1).contradictions() == ()


@pytest.mark.parametrize("half", [slice(None, 64), slice(64, None)])
def test_one_lung_missing_is_no_contradiction(chest, half):
    hu, lung = chest
    one = lung.copy()
    one[..., half] = False
    assert contradictions(hu, one) == ()
    fluid = np.where(lung & ~one, 20, hu).astype(np.int16)
    assert contradictions(fluid, one) == ()


def test_single_slices_need_spine_and_heart(chest):
    hu, lung = chest
    found = [contradictions(hu[i : i + 1], lung[i : i + 1]) for i in range(len(hu))]
    assert not any(found)
    turned = [contradictions(hu[i : i + 1, ::-1], lung[i : i + 1, ::-1]) for i in range(len(hu))]
    assert FRONT_BACK in set().union(*turned)


@pytest.mark.parametrize("count", [0, 1, 200, 9000])
def test_any_mask_is_measured(count):
    rng = np.random.default_rng(0)
    lung = np.zeros((20, 40, 50), bool)
    lung.ravel()[rng.choice(lung.size, count, replace=False)] = True
    assert find_landmarks(np.zeros(lung.shape, np.int16), lung).contradictions() == ()


def test_one_landmark_that_agrees_outweighs_those_that_do_not():
    assert Landmarks(apex=-1, airway=-1, mediastinum=-1).contradictions()
    assert Landmarks(apex=-1, airway=-1, mediastinum=1).contradictions() == ()


def test_flag_says_what_the_orientation_rests_on():
    labels = np.zeros((4, 64, 64), np.uint8)
    labels[1:3, 20:40, 10:25], labels[1:3, 20:40, 40:55] = 1, 2
    texts = []
    for affine in (None, np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]):
        scan = from_array(np.zeros(labels.shape, np.int16), affine=affine, units="hu")
        flags = find_flags(labels, scan, scan.geometry, 0, (FRONT_BACK, LEFT_RIGHT), sides=True)
        texts.append({flag.name: flag.message for flag in flags}["orientation"])
    assumed, stated = texts
    assert "--flip" in assumed
    assert "header" in stated
    for text in texts:
        assert f"{FRONT_BACK} and {LEFT_RIGHT}" in text
        assert "situs inversus" in text
        assert "hint:" in text


def test_turned_scan_is_flagged_and_its_labels_are_kept(sample):
    scan = read(sample.folder / "volume" / "ct.nii.gz")
    turned = np.ascontiguousarray(scan.values()[:, ::-1, ::-1])
    with Segmenter() as segmenter:
        result = segmenter.segment(
            from_array(turned, affine=scan.geometry.affine, units="hu"), warn=False
        )
    flag = result.to_dict()["flags"]["orientation"]
    assert FRONT_BACK in flag
    assert LEFT_RIGHT in flag
    columns = [np.nonzero(result.labels == side)[2].mean() for side in (1, 2)]
    assert columns[0] < columns[1]
