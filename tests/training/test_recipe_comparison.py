"""Paired comparison of two recipes."""

import csv
import json

import numpy as np
import pytest
from commands import pleura as command
from commands import refused

import pleura
from pleura.errors import RunError
from pleura.evaluation.scores import Score
from pleura.evaluation.statistics import paired_difference

SETTINGS = {
    "format": 1,
    "folds": 3,
    "data": "d",
    "patients": "p",
    "recipe": {"data": {"labels": {}}},
}
DICE = {"a": [0.90, 0.80], "b": [0.70], "c": [0.60, 0.50, 0.40], "d": [0.95]}
CHANGE = {"a": [0.02, 0.04], "b": [0.01], "c": [0.05, 0.06, 0.10], "d": [-0.01]}


def flat(table):
    return [value for values in table.values() for value in values]


def write(folder, dice, **changes):
    """Write a cross-validation with the Dice of the cases of each patient; None: no lung."""
    folder.mkdir()
    scores = []
    for patient, values in dice.items():
        for i, value in enumerate(values):
            metrics = {} if value is None else {"dice": value, "iou": value / 2, "hd95": 10 * value}
            outcome = "true_negative" if value is None else "true_positive"
            scores.append(Score(f"{patient}{i}", patient, None, "lungs", outcome, metrics))
    comparison = pleura.Comparison(tuple(scores), "f")
    (folder / "cross-validation.json").write_text(json.dumps({**SETTINGS, **changes}))
    (folder / "folds.csv").write_text("name,patient,fold\n")
    (folder / "evaluation.json").write_text(json.dumps(comparison.to_dict()))
    return folder


def changed():
    return {
        patient: [a + b for a, b in zip(DICE[patient], CHANGE[patient], strict=True)]
        for patient in DICE
    }


@pytest.fixture
def folders(tmp_path):
    return write(tmp_path / "one", DICE), write(tmp_path / "two", changed())


def test_differences_are_paired_over_patients(folders):
    result = pleura.compare_recipes(*folders)
    values = [flat(table) for table in (DICE, changed())]
    patients = [patient for patient in DICE for _ in DICE[patient]]
    expected = paired_difference(*values, patients)
    assert result.differences()["dice"] == expected
    assert expected.mean == pytest.approx(np.mean(flat(CHANGE)))
    by_patient = {patient: pytest.approx(np.mean(values)) for patient, values in CHANGE.items()}
    assert result.patient_differences("dice") == by_patient
    assert result.regions == ["lungs"]
    dice, _, hd95 = result.rows("lungs")
    assert dice[-2:] == ["3", "1"]  # patients with a better and a worse Dice
    assert hd95[-2:] == ["1", "3"]  # a higher distance is worse
    assert hd95[0] == "HD95, px"
    assert float(dice[2]) - float(dice[1]) == pytest.approx(float(dice[3]), abs=1e-4)


def test_the_order_of_the_folders_is_the_sign(folders):
    one, other = (pleura.compare_recipes(*pair) for pair in (folders, folders[::-1]))
    assert one.differences()["dice"].mean == -other.differences()["dice"].mean
    assert one.differences()["dice"].p_value == other.differences()["dice"].p_value
    assert [row[-2:] for row in one.rows("lungs")] == [row[:-3:-1] for row in other.rows("lungs")]


def test_a_false_positive_counts_against_a_true_negative(tmp_path):
    folders = write(tmp_path / "one", {"a": [None], "b": [0.5]}), tmp_path / "two"
    write(folders[1], {"a": [0.0], "b": [0.5]})
    result = pleura.compare_recipes(*folders)
    assert result.patient_differences("dice") == {"a": -1.0, "b": 0.0}


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"data": "x"}, "images or masks"),
        ({"patients": "x"}, "patients or excluded images"),
        ({"folds": 5}, "numbers of folds"),
        ({"recipe": {"data": {"labels": {"1": "lung"}}}}, "labels"),
    ],
)
def test_different_data_are_refused(folders, tmp_path, changes, title):
    other = write(tmp_path / "other", DICE, **changes)
    with pytest.raises(RunError, match=f"different {title}"):
        pleura.compare_recipes(folders[0], other)


def test_different_folds_are_refused(folders):
    (folders[1] / "folds.csv").write_text("name,patient,fold\nx,y,1\n")
    with pytest.raises(RunError, match="different folds"):
        pleura.compare_recipes(*folders)


def test_other_folders_and_unfinished_ones_are_refused(folders, tmp_path):
    (folders[1] / "evaluation.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        pleura.compare_recipes(*folders)
    with pytest.raises(RunError, match="contains no cross-validation"):
        pleura.compare_recipes(tmp_path, folders[0])
    with pytest.raises(RunError, match="no such folder of a cross-validation"):
        pleura.compare_recipes(tmp_path / "missing", folders[0])


def test_the_command_prints_and_writes_the_differences(folders, tmp_path):
    table, result = tmp_path / "cases.csv", tmp_path / "result.json"
    done = command("compare-recipes", *folders, "--csv", table, "--json", result)
    lines = done.stdout.splitlines()
    assert lines[0] == "lungs: 7 cases of 4 patients"
    assert lines[2].split()[0] == "Dice"
    rows = [
        row for row in csv.DictReader(table.read_text().splitlines()) if row["metric"] == "dice"
    ]
    assert [float(row["difference"]) for row in rows] == pytest.approx(flat(CHANGE))
    content = json.loads(result.read_text())
    assert content["patients"]["lungs"]["dice"]["b"] == pytest.approx(0.01)
    refused("compare-recipes", tmp_path, folders[0], says="contains no cross-validation")
