"""Learning curve over the number of training patients."""

import csv
import os
import signal

import pytest
from commands import pleura as command
from commands import refused
from drawn_lungs import SETTINGS, write_pairs

import pleura
from pleura.errors import DataError, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.recipe_loading import load_recipe, override_recipe

pytestmark = pytest.mark.usefixtures("no_figures_in_module")

OPTIONS = pleura.LearningCurveOptions([1, 2], folds=3, progress=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two slices of each of six patients."""
    return write_pairs(tmp_path_factory.mktemp("pairs"), 6, 2)


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("quick", SETTINGS)


@pytest.fixture(scope="module")
def finished(folders, recipe, tmp_path_factory):
    return pleura.learning_curve(*folders, tmp_path_factory.mktemp("curve"), recipe, OPTIONS)


def subsets(run):
    with (run / "split.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {"training": set(), "validation": set(), "test": set()}
    for row in rows:
        found[row["subset"]].add(row["name"][:2])
    return found


def test_training_subsets_are_nested_and_test_patients_the_same(finished):
    for fold in (1, 2, 3):
        few, more = (subsets(finished.folder / f"patients-{n}" / f"fold-{fold}") for n in (1, 2))
        assert (len(few["training"]), len(more["training"])) == (1, 2)
        assert few["training"] < more["training"]
        assert few["test"] == more["test"]
        assert few["validation"] == more["validation"]
        assert not more["training"] & (more["test"] | more["validation"])


def test_each_image_is_tested_once_per_number(finished, folders):
    names = sorted(path.name for path in folders[0].iterdir())
    assert finished.finished
    for number, scores in finished.scores.items():
        assert scores.cases == names
        assert scores.summary()["dice"].n_patients == 6
        masks = finished.folder / f"patients-{number}" / "masks"
        for score in scores.scores:
            mask, reference = (read_image_file(f / score.case) > 0 for f in (masks, folders[1]))
            assert score.metrics["dice"] == pytest.approx(pleura.dice(reference, mask))
    assert finished.images == {1: 2.0, 2: 4.0}
    with (finished.folder / "learning-curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    summary = finished.scores[2].summary()["dice"]
    assert [row["patients"] for row in rows] == ["1", "2"]
    assert float(rows[1]["dice_mean"]) == pytest.approx(summary.mean, abs=1e-6)
    assert float(rows[1]["dice_low"]) == pytest.approx(summary.confidence_interval[0], abs=1e-6)
    assert (finished.folder / "learning-curve.png").stat().st_size > 0
    assert "data:image/png" in finished._repr_html_()


def test_an_interrupted_learning_curve_is_continued(finished, folders, recipe, tmp_path):
    started = []

    def interrupt_in_fifth_training(_):
        if len(started) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    arguments = *folders, tmp_path, recipe, OPTIONS
    callbacks = pleura.TrainingCallbacks(
        on_start=started.append, on_step=interrupt_in_fifth_training
    )
    stopped = pleura.learning_curve(*arguments, callbacks=callbacks)
    assert not stopped.finished
    assert list(stopped.scores) == [1]
    started.clear()
    callbacks = pleura.TrainingCallbacks(on_start=started.append)
    result = pleura.learning_curve(*arguments, callbacks=callbacks)
    assert [str(run.folder.relative_to(tmp_path)) for run in started] == [
        os.path.join("patients-2", "fold-2"),  # noqa: PTH118
        os.path.join("patients-2", "fold-3"),  # noqa: PTH118
    ]
    assert result.to_csv() == finished.to_csv()


def test_other_subsets_are_refused_before_the_first_training(folders, recipe, tmp_path):
    def curve(recipe=recipe, masks=folders[1], **options):
        options = pleura.LearningCurveOptions(**{"patients": [1], "folds": 3, **options})
        pleura.learning_curve(folders[0], masks, tmp_path / "out", recipe, options)

    with pytest.raises(DataError, match="4 training patients requested, and one of 3 folds has 3"):
        curve(patients=[1, 4])
    for patients in ([], [1, 1]):
        with pytest.raises(DataError, match="missing, or one occurs twice"):
            curve(patients=patients)
    (tmp_path / "masks").mkdir()
    for path in folders[1].iterdir():
        mask = (read_image_file(path) > 0).astype("uint8")
        mask[16:] *= 2 if path.name[:2] in ("p0", "p1", "p2") else 1
        write_image_file(tmp_path / "masks" / path.name, mask)
    classes = override_recipe(recipe, ["data.labels={1: lung, 2: lesion}"])
    with pytest.raises(DataError, match=r"fold \d has no image with the label 2 \(lesion\)"):
        curve(classes, tmp_path / "masks", patients=[3, 1])
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_scores(finished, folders):
    arguments = ["learning-curve", *folders, "-o", finished.folder, "-r", "quick", "--folds", 3]
    for setting in SETTINGS[:-1]:
        arguments += ["--set", setting]
    arguments += ["--group", "^(p.)_", "--patients"]
    lines = command(*arguments, "1,2").stdout.splitlines()
    dice = finished.scores[1].summary()["dice"].mean
    assert lines[1].split()[:5] == ["1", "2.0", "lungs", "12", f"{dice:.4f}"]
    assert lines[3:] == [
        f"table   {finished.folder / 'learning-curve.csv'}",
        f"figure  {finished.folder / 'learning-curve.png'}",
    ]
    refused(*arguments, "1,2", "--seed", 1, says="with another value: seed")
    assert "hint:" in command(*arguments, "few", code=2).stderr


def test_two_numbers_of_patients_are_compared(finished):
    folders = (finished.folder / f"patients-{number}" for number in (1, 2))
    result = pleura.compare_recipes(*folders)
    means = [one.summary()["dice"].mean for one in finished.scores.values()]
    assert result.differences()["dice"].mean == pytest.approx(means[1] - means[0])


def test_the_folder_of_a_cross_validation_is_refused(finished, folders, recipe):
    with pytest.raises(RunError, match="other files than those of a learning curve"):
        pleura.learning_curve(*folders, finished.folder / "patients-1", recipe, OPTIONS)
