"""Search over recipe keys: trials, resumption, the table, and the best recipe."""

import csv
import math
import os
import signal

import pytest
from commands import pleura as command
from commands import refused

import pleura
from pleura.errors import DataError, RecipeError, RunError
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.search_space import trial_recipes, trial_values

pytestmark = pytest.mark.usefixtures("no_figures_in_module")

GRID = {"training.batch_size": [4, 8], "loss.dice": [0, 1]}
OPTIONS = pleura.SearchOptions(GRID, progress=False)


@pytest.fixture(scope="module")
def recipe(tiny):
    return override_recipe(tiny, ["training.epochs=2", "network.channels=[4, 8, 8]"])


@pytest.fixture(scope="module")
def finished(sample, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return pleura.search_recipes(sample.images, sample.masks, folder, recipe, OPTIONS)


def callbacks_of(on_trial=None, **training):
    return pleura.SearchCallbacks(on_trial, pleura.TrainingCallbacks(**training))


def rows_of(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights_of(folder):
    return [path.read_bytes() for path in sorted(folder.glob("trial-*/weights.pt"))]


def test_each_trial_is_a_run_with_its_values(finished, recipe):
    assert finished.finished
    values = [trial.values for trial in finished.trials]
    assert values == [
        {"training.batch_size": size, "loss.dice": dice} for size in (4, 8) for dice in (0, 1)
    ]
    for trial in finished.trials:
        trained = pleura.open_run(finished.folder / f"trial-{trial.number}")
        assert trained.finished
        assert trained.recipe.training.batch_size == trial.values["training.batch_size"]
        assert trained.recipe.loss.dice == trial.values["loss.dice"]
        assert trained.recipe.network == recipe.network
    assert len(set(weights_of(finished.folder))) == 4


def test_scores_are_those_of_the_validation_images_only(finished, sample, tmp_path):
    trial, row = finished.trials[1], rows_of(finished.folder)[1]
    evaluation = pleura.evaluate(
        trial.run, sample.images, sample.masks, subset="validation", output=tmp_path
    )
    means = evaluation.summary()
    assert trial.dice == {"lungs": pytest.approx(means["dice"].mean)}
    assert trial.iou == {"lungs": pytest.approx(means["iou"].mean)}
    assert trial.cross_entropy == pytest.approx(evaluation.loss)
    for name in ("dice", "iou"):
        assert float(row[f"validation_{name}"]) == pytest.approx(means[name].mean, abs=1e-6)
    assert float(row["validation_cross_entropy"]) == pytest.approx(evaluation.loss, abs=1e-6)
    assert (row["trial"], row["loss.dice"], row["epochs"]) == ("2", "1", "2")
    assert float(row["seconds"]) > 0
    assert not list(finished.folder.glob("trial-*/evaluation-test"))


def test_the_best_recipe_is_written_and_trains_the_same_network(finished, sample, tmp_path):
    best = finished.best
    assert best.score == max(trial.score for trial in finished.trials)
    written = load_recipe(finished.folder / "best.yaml")
    assert written == best.run.recipe.model_copy(update={"split": written.split})
    names = [path.name for path in sample.images.iterdir()]
    run = pleura.train(sample.images, sample.masks, tmp_path / "run", written)
    assert run.split(names) == best.run.split(names)
    assert run.weights.read_bytes() == best.run.weights.read_bytes()


def test_a_repeated_call_trains_and_evaluates_nothing(finished, sample, recipe, monkeypatch):
    def fail(*_, **__):
        raise AssertionError

    before = (finished.folder / "trials.csv").read_bytes()
    monkeypatch.setattr("pleura.training.search.evaluate", fail)
    shown = []
    again = pleura.search_recipes(
        sample.images,
        sample.masks,
        finished.folder,
        recipe,
        OPTIONS,
        callbacks=callbacks_of(on_trial=shown.append, on_start=fail),
    )
    assert again.trials == finished.trials == tuple(shown)
    assert (finished.folder / "trials.csv").read_bytes() == before


def test_an_interrupted_search_is_continued(finished, sample, recipe, tmp_path):
    started = []

    def interrupt_in_second_trial(report):
        if len(started) == 2 and report.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    callbacks = callbacks_of(on_start=started.append, on_step=interrupt_in_second_trial)
    arguments = sample.images, sample.masks, tmp_path, recipe, OPTIONS
    stopped = pleura.search_recipes(*arguments, callbacks=callbacks)
    assert not stopped.finished
    assert [row["trial"] for row in rows_of(tmp_path)] == ["1"]
    first = (tmp_path / "trial-1" / "weights.pt").stat().st_mtime_ns

    started.clear()
    callbacks = callbacks_of(on_start=started.append)
    result = pleura.search_recipes(*arguments, callbacks=callbacks)
    assert [run.folder.name for run in started] == ["trial-2", "trial-3", "trial-4"]
    assert (tmp_path / "trial-1" / "weights.pt").stat().st_mtime_ns == first
    assert weights_of(tmp_path) == weights_of(finished.folder)
    assert [t.score for t in result.trials] == [t.score for t in finished.trials]


def test_a_training_that_diverges_is_a_trial_without_scores(sample, recipe, tmp_path):
    options = pleura.SearchOptions({"schedule.learning_rate": [1e30, 0.01]}, progress=False)
    arguments = sample.images, sample.masks, tmp_path, recipe, options
    for _ in range(2):
        started = []
        callbacks = callbacks_of(on_start=started.append)
        result = pleura.search_recipes(*arguments, callbacks=callbacks)
        assert [trial.diverged for trial in result.trials] == [True, False]
        assert result.best.number == 2
        rows = rows_of(tmp_path)
        assert [(row["state"], bool(row["validation_dice"])) for row in rows] == [
            ("diverged", False),
            ("finished", True),
        ]
    assert not started  # the second call trains nothing
    assert "diverged" in result._repr_html_()


def test_several_classes_are_scored_by_class(sample, recipe, tmp_path):
    from pleura.formats.image_files import read_image_file, write_image_file

    (tmp_path / "masks").mkdir()
    for path in sample.masks.iterdir():
        mask = (read_image_file(path) > 0).astype("uint8")
        mask[:, mask.shape[1] // 2 :] *= 2
        write_image_file(tmp_path / "masks" / path.name, mask)
    classes = override_recipe(recipe, ["data.labels={1: right, 2: left}", "augmentation=null"])
    options = pleura.SearchOptions({"loss.dice": [1]}, progress=False)
    result = pleura.search_recipes(
        sample.images, tmp_path / "masks", tmp_path / "out", classes, options
    )
    (trial,) = result.trials
    assert trial.dice.keys() == {"right", "left"}
    assert trial.score == pytest.approx(sum(trial.dice.values()) / 2)
    (row,) = rows_of(tmp_path / "out")
    assert float(row["validation_dice_left"]) == pytest.approx(trial.dice["left"], abs=1e-6)
    assert result.table()[0][2:5] == ["Dice", "Dice right", "Dice left"]


def test_random_trials_are_reproducible_and_extend():
    options = {
        "grid": {"training.batch_size": [4, 8]},
        "ranges": {"schedule.learning_rate": (1e-4, 1e-2), "network.depth": (2, 64)},
        "linear_ranges": {"network.dropout": (0, 0.5)},
    }
    few = trial_values(pleura.SearchOptions(**options, trials=20))
    many = trial_values(pleura.SearchOptions(**options, trials=400))
    assert many[:20] == few
    assert trial_values(pleura.SearchOptions(**options, trials=20, seed=1)) != few
    rates = [values["schedule.learning_rate"] for values in many]
    assert 1e-4 <= min(rates) < max(rates) <= 1e-2
    assert sum(rate < 1e-3 for rate in rates) / 400 == pytest.approx(0.5, abs=0.1)
    dropouts = [values["network.dropout"] for values in many]
    assert sum(value < 0.25 for value in dropouts) / 400 == pytest.approx(0.5, abs=0.1)
    depths = [values["network.depth"] for values in many]
    assert all(isinstance(depth, int) and 2 <= depth <= 64 for depth in depths)
    median = sorted(depths)[200]
    assert median == pytest.approx(math.sqrt(2 * 64), rel=0.3)
    assert {values["training.batch_size"] for values in many} == {4, 8}


def test_more_random_trials_extend_a_search(sample, recipe, tmp_path):
    started = []
    callbacks = callbacks_of(on_start=started.append)
    for trials in (1, 2):
        options = pleura.SearchOptions(
            ranges={"schedule.learning_rate": (1e-3, 1e-2)}, trials=trials, progress=False
        )
        result = pleura.search_recipes(
            sample.images, sample.masks, tmp_path, recipe, options, callbacks=callbacks
        )
        assert len(result.trials) == trials
    assert [run.folder.name for run in started] == ["trial-1", "trial-2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no values to search"),
        ({"grid": {"loss.dice": []}}, "no values to search"),
        ({"grid": {"split.seed": [1, 2]}}, "changes the validation images"),
        ({"grid": {"evaluation.tune_threshold": [True]}}, "changes the validation images"),
        ({"grid": {"data": [{}]}}, "changes the validation images"),
        ({"grid": {"loss.dice": [1]}, "ranges": {"loss.dice": (1, 2)}, "trials": 1}, "several"),
        ({"ranges": {"loss.dice": (1, 2)}}, "requires random trials"),
        ({"ranges": {"loss.dice": (0, 2)}, "trials": 1}, "not possible on a logarithmic scale"),
        ({"linear_ranges": {"loss.dice": (2, 1)}, "trials": 1}, "from 2 to 1 is not possible"),
        ({"linear_ranges": {"loss.dice": (0, 1)}, "trials": 3}, "only 2 combinations"),
    ],
)
def test_impossible_searches_are_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        trial_values(pleura.SearchOptions(**options))


@pytest.mark.parametrize(
    ("values", "message", "where"),
    [
        ({"loss.dise": 1}, "unknown key 'loss.dise'; did you mean", "trial 2 of 2: loss.dise=1"),
        ({"training.batch_size": 0}, "must be at least 1, not 0", "trial 2 of 2: .*size=0"),
        ({"loss.cross_entropy": 0}, "are both 0", "trial 2 of 2: loss.cross_entropy=0"),
    ],
)
def test_a_refused_value_is_named_with_its_trial(recipe, values, message, where):
    with pytest.raises(RecipeError, match=rf"{message}[\s\S]*where: {where}"):
        trial_recipes(recipe, [{"training.batch_size": 4}, values])


def test_a_refused_value_stops_before_the_first_training(sample, recipe, tmp_path):
    options = pleura.SearchOptions({"training.batch_size": [4, -1]})
    with pytest.raises(RecipeError, match="trial 2 of 2"):
        pleura.search_recipes(sample.images, sample.masks, tmp_path / "out", recipe, options)
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_search_is_refused(finished, sample, recipe, tmp_path):
    def search(folder, **changes):
        options = pleura.SearchOptions(**{"grid": GRID, **changes})
        pleura.search_recipes(sample.images, sample.masks, folder, recipe, options)

    with pytest.raises(RunError, match="with another value: keys or values to search"):
        search(finished.folder, grid={"loss.dice": [0, 1]})
    with pytest.raises(RunError, match="with another value: keys or values to search"):
        search(finished.folder, trials=4)
    with pytest.raises(DataError):
        pleura.search_recipes(tmp_path, sample.masks, finished.folder, recipe, OPTIONS)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunError, match="other files than those of a search"):
        search(tmp_path)


def test_the_command_prints_the_trials(finished, sample, recipe, tmp_path):
    path = tmp_path / f"{recipe.name}.yaml"
    path.write_text(recipe.to_yaml())
    arguments = ["search", sample.images, sample.masks, "-o", finished.folder, "-r", path]
    grid = ["--grid", "training.batch_size=4,8", "--grid", "loss.dice=0,1"]
    lines = command(*arguments, *grid).stdout.splitlines()
    assert lines[0].split()[:4] == ["trial", "training.batch_size", "loss.dice", "Dice"]
    best = finished.best
    assert lines[best.number].startswith(f"{best.number}*")
    assert lines[5:] == [
        f"trials  {finished.folder / 'trials.csv'}",
        f"best    {finished.folder / 'best.yaml'}",
        f"run     {best.run.folder}",
        f"next    pleura evaluate {best.run.folder} {sample.images} {sample.masks}",
    ]
    refused(*arguments, "--grid", "training.batch_size=4,none", says=["trial 2 of 2", "not 'none'"])
    for wrong in (["--grid", "loss.dice"], ["--range", "loss.dice=1"], [*grid[:2], *grid[:2]]):
        assert "hint:" in command(*arguments, *wrong, code=2).stderr


def test_the_command_shows_progress_and_an_interruption(sample, recipe, tmp_path, monkeypatch):
    path = tmp_path / "small.yaml"
    path.write_text(recipe.to_yaml())
    arguments = ["search", sample.images, sample.masks, "-o", tmp_path / "out", "-r", path]
    arguments += ["--grid", "loss.dice=0,1"]
    from pleura.training.search import evaluate

    def evaluate_and_interrupt(run, *data, **options):
        evaluate(run, *data, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr("pleura.training.search.evaluate", evaluate_and_interrupt)
    assert "trial-1 of 2: 32 training, 8 validation" in command(*arguments, code=130).stderr
    monkeypatch.setattr("pleura.training.search.evaluate", evaluate)
    shown = command(*arguments).stderr
    assert "trial-1" not in shown.replace("(trial-1)", "")
    assert "trial-2 of 2: validation Dice" in shown
