"""The folds of a cross-validation."""

from pathlib import Path

import pytest

from pleura.dataset.folds import assign_folds
from pleura.dataset.pairs import Pair
from pleura.dataset.splits import SplitRecipe
from pleura.errors import DataError

WHERE = Path("images")
BY_NAME = SplitRecipe(patient_pattern="^(.)_")
SIZES = {"a": 7, "b": 1, "c": 4, "d": 3, "e": 2, "f": 2}


def pairs_of(sizes, group=False):
    names = [f"{patient}_{i}.png" for patient, n in sizes.items() for i in range(n)]
    return [Pair(name, Path(name), Path(name), group=name[0] if group else None) for name in names]


def by_patient(folds):
    found = {}
    for name, fold in folds.fold_of.items():
        found.setdefault(name[0], set()).add(fold)
    return found


@pytest.mark.parametrize("in_header", [True, False])
def test_a_patient_is_in_one_fold_only(in_header):
    recipe = SplitRecipe() if in_header else SplitRecipe(patient_pattern="^(.)_")
    folds = assign_folds(pairs_of(SIZES, group=in_header), 3, recipe, WHERE)
    assert by_patient(folds).keys() == SIZES.keys()
    assert all(len(found) == 1 for found in by_patient(folds).values())
    counts = [list(folds.fold_of.values()).count(fold) for fold in range(3)]
    assert sorted(counts) == [6, 6, 7]
    for fold in range(3):
        split = folds.split(fold)
        patients = [{name[0] for name in names} for names in vars(split).values()]
        assert not patients[0] & patients[1]
        assert not patients[0] & patients[2]
        assert not patients[1] & patients[2]
        assert sum(map(len, vars(split).values())) == sum(SIZES.values())


def test_the_validation_subset_has_a_tenth_of_the_images_from_one_fold():
    folds = assign_folds(pairs_of(dict.fromkeys("abcdefghij", 10)), 5, BY_NAME, WHERE)
    for fold in range(5):
        split = folds.split(fold)
        assert {folds.fold_of[name] for name in split.validation} == {(fold + 1) % 5}
        assert len({name[0] for name in split.validation}) == 1
        assert len({name[0] for name in split.training}) == 7


def test_each_image_is_in_one_test_subset():
    pairs = pairs_of(SIZES)
    folds = assign_folds(pairs, 5, SplitRecipe(), WHERE)
    tested = [name for fold in range(5) for name in folds.split(fold).test]
    assert sorted(tested) == sorted(pair.name for pair in pairs)


def test_excluded_images_are_in_no_fold():
    recipe = SplitRecipe(exclude=("a_0.png",), patient_pattern="^(.)_")
    folds = assign_folds(pairs_of(SIZES), 3, recipe, WHERE)
    assert "a_0.png" not in folds.fold_of
    assert len(folds.fold_of) == sum(SIZES.values()) - 1


@pytest.mark.parametrize(("count", "recipe"), [(7, "^(.)_"), (2, "^(.)_"), (20, None)])
def test_too_few_patients_are_refused(count, recipe):
    noun = "image" if recipe is None else "patient"
    with pytest.raises(DataError, match=rf"with {count} folds is not possible with \d+ {noun}s"):
        assign_folds(pairs_of(SIZES), count, SplitRecipe(patient_pattern=recipe), WHERE)


def test_the_slices_of_a_header_s_patient_are_one_patient():
    pairs = [Pair(f"{i}.dcm", Path(f"{i}.dcm"), Path("m"), group="Doe") for i in range(9)]
    with pytest.raises(DataError, match="is not possible with 1 patient"):
        assign_folds(pairs, 3, SplitRecipe(), WHERE)


def test_the_table_of_folds_has_no_patient_of_a_header(tmp_path):
    pairs = [Pair(f"{i}.dcm#000", Path(f"{i}.dcm"), Path("m"), 0, group="Doe") for i in range(2)]
    pairs += [Pair(f"{i}.png", Path(f"{i}.png"), Path("m")) for i in range(2, 5)]
    assign_folds(pairs, 3, SplitRecipe(), WHERE).write(tmp_path / "folds.csv")
    rows = (tmp_path / "folds.csv").read_text().splitlines()
    assert rows[:3] == ["name,patient,fold", "0.dcm#000,0.dcm,1", "1.dcm#000,0.dcm,1"]
