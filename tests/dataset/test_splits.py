import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pleura.dataset.splits import SplitRecipe, split_names
from pleura.dataset.subsets import Split, read_split, read_training_hashes
from pleura.errors import DataError

NAMES = [f"ID_{i:04}.tif" for i in range(267)]


def parts(split: Split):
    return [split.training, split.validation, split.test]


def test_the_exercise_splits_267_names_in_sorted_order():
    split = split_names(NAMES[::-1], SplitRecipe())
    assert [len(part) for part in parts(split)] == [160, 53, 54]
    assert [*split.training, *split.validation, *split.test] == NAMES


def test_shuffle_follows_its_seed():
    shuffled = [split_names(NAMES, SplitRecipe(method="shuffled", seed=s)) for s in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2]
    assert [len(part) for part in parts(shuffled[0])] == [160, 53, 54]
    assert sorted(sum(parts(shuffled[0]), ())) == NAMES


@settings(deadline=None)  # a busy machine
@given(
    sizes=st.lists(st.integers(1, 30), min_size=8, max_size=30),
    seed=st.integers(0, 99),
)
def test_grouped_split_never_cuts_a_patient(sizes, seed):
    names = [f"P{p:02}_{i:03}.png" for p, n in enumerate(sizes) for i in range(n)]
    split = split_names(
        names, SplitRecipe(method="grouped", patient_pattern=r"^(P\d+)_", seed=seed)
    )
    patients = [{name.split("_")[0] for name in part} for part in parts(split)]
    assert sum(len(p) for p in patients) == len(sizes)
    assert sorted(sum(parts(split), ())) == sorted(names)


def test_grouped_split_takes_patients_from_a_table(tmp_path):
    table = tmp_path / "patients.csv"
    rows = [f"{name},{i // 30}" for i, name in enumerate(NAMES)]
    table.write_text("name,patient\n" + "\n".join(rows))
    split = split_names(NAMES, SplitRecipe(method="grouped", patient_file=table))
    groups = [{NAMES.index(name) // 30 for name in part} for part in parts(split)]
    assert sum(len(group) for group in groups) == 9
    assert len(split.training) == pytest.approx(160, abs=30)


def test_patient_unknown_to_the_pattern_is_named():
    with pytest.raises(DataError, match=r"x\.tif"):
        split_names([*NAMES, "x.tif"], SplitRecipe(method="grouped", patient_pattern=r"ID_(\d)"))


def test_written_split_reads_back(tmp_path):
    split = split_names(NAMES, SplitRecipe(method="shuffled"))
    split.write(tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", NAMES) == split
    again = split_names(NAMES, SplitRecipe(method="file", file=tmp_path / "split.csv"))
    assert again == split


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,subset\na,training\nb,validation\nz,test\n", "unknown.*: z"),
        ("name,subset\na,training\nb,validation\nc,tset\n", "'tset' is not a subset"),
        ("name,subset\na,training\na,validation\nc,test\n", "'a' has two rows"),
        ("name,subset\na,training\nb,validation\n", "the test subset of the split is empty"),
        ("image,part\na,train\n", "no column 'name'"),
        ("", "no column 'name'"),
    ],
)
def test_split_file_that_does_not_fit_is_refused(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.csv", ["a", "b", "c"])


def test_missing_split_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"split\.csv"):
        read_split(tmp_path / "split.csv", ["a"])


def test_split_file_of_an_earlier_version_is_read(tmp_path):
    text = "name,part,pixels\na,train,f0\nb,validation,f1\nc,test,f2\n"
    (tmp_path / "split.csv").write_text(text)
    assert read_split(tmp_path / "split.csv", ["a", "b", "c"]) == Split(("a",), ("b",), ("c",))
    assert read_training_hashes(tmp_path / "split.csv") == {"f0"}


def test_split_with_an_empty_subset_is_refused():
    with pytest.raises(DataError, match="the validation subset of the split is empty"):
        split_names(["a", "b", "c"], SplitRecipe())


@pytest.mark.parametrize(
    "values",
    [
        {"training_fraction": 0.7, "validation_fraction": 0.3},
        {"method": "grouped"},
        {"method": "file"},
        {"method": "grouped", "patient_pattern": "("},
    ],
)
def test_impossible_split_recipe_is_refused(values):
    with pytest.raises(ValidationError):
        SplitRecipe(**values)
