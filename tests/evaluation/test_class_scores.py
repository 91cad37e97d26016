"""Masks with several classes, compared with references."""

import json

import numpy as np
import pytest

import pleura
from pleura.cli import cli
from pleura.errors import DataError
from pleura.formats.image_files import write_image_file

CLASSES = {"lung": 1, "lesion": 7}


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("first", "second", "reference"):
        (tmp_path / name).mkdir()
    for i in range(6):
        labels = np.zeros((40, 40), np.uint8)
        labels[5:30, 5:30] = 1
        if i:
            labels[10 : 14 + i, 10:20] = 7
        write_image_file(tmp_path / "reference" / f"{i}.png", labels)
        for shift, name in ((1, "first"), (3, "second")):
            moved = np.roll(labels, shift + int(rng.integers(2)), axis=1)
            write_image_file(tmp_path / name / f"{i}.png", moved)
    return tmp_path


def read(path):
    return pleura.read(path, units="hu").values()[0]


def test_each_class_is_scored(folders):
    result = pleura.compare(folders / "first", folders / "reference", classes=CLASSES)
    assert result.regions == ["all labels", "lung", "lesion"]
    assert result.outcome_counts("lesion")["true_negative"] == 1
    first, second = (read(folders / name / "4.png") for name in ("first", "reference"))
    for name, value in CLASSES.items():
        (score,) = (s for s in result.scores if (s.case, s.region) == ("4", name))
        assert score.metrics["dice"] == pytest.approx(pleura.dice(second == value, first == value))
    assert "lesion: 5 with lesion in both masks, 1 without lesion in either" in result._repr_html_()
    with pytest.raises(DataError, match="the value 7, which"):
        pleura.compare(folders / "first", folders / "reference", classes={"lung": 1})


def test_the_command_prints_each_class_and_its_difference(folders):
    from click.testing import CliRunner

    found = CliRunner().invoke(
        cli,
        [
            "compare",
            str(folders / "first"),
            str(folders / "reference"),
            "--classes",
            "lung=1,lesion=7",
            "--against",
            str(folders / "second"),
            "--report",
            str(folders / "report.html"),
            "--images",
            str(folders / "reference"),
            "--json",
            str(folders / "a.json"),
        ],
    )
    assert found.exit_code == 0, found.output
    assert "lesion: 5 with lesion in both masks" in found.output
    assert "lesion, dice, --against minus PREDICTED: -0." in found.output
    content = json.loads((folders / "a.json").read_text())
    assert set(content["class_differences"]) == set(CLASSES)
    page = (folders / "report.html").read_text(encoding="utf-8")
    assert "Metrics of lesion" in page
    assert "Dice, lesion" in page
    assert "lung (orange), lesion (sky blue)" in page


def test_training_curves_show_the_dice_of_each_class():
    from pleura.figures.curves import curves_figure

    keys = ("loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate")
    row = dict.fromkeys(keys, 0.5)
    history = [{"epoch": i, **row, "validation_dice_lesion": i / 4} for i in (1.0, 2.0)]
    lines = {line.get_label(): line for axis in curves_figure(history).axes for line in axis.lines}
    assert list(lines["lesion"].get_ydata()) == [0.25, 0.5]
    assert len(curves_figure([{"epoch": 1.0, **row}]).axes) == 3
