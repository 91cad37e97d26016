import os
import signal

import numpy as np
import pytest
import torch

from pleura.errors import RecipeError
from pleura.training.compute import Compute
from pleura.training.loop import Watch, resume, train
from pleura.training.recipe import build_recipe, load_recipe
from pleura.training.run import load_tensors, open_run
from pleura.training.teaching import Teachers


@pytest.fixture(scope="module")
def recipe(tiny):
    others = [{"training.seed": 1}, {"network.filters": [4, 4, 8], "network.dropout": 0}]
    values = tiny.model_dump(mode="json")
    values["teaching"] = {"others": others, "epochs": 2, "learning_rate": 0.002, "weight": 0.5}
    return build_recipe(values, "test")


@pytest.fixture(scope="module")
def taught(sample, recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "run"
    return train(sample.images, sample.masks, folder, recipe)


def weights(run):
    return load_tensors(run.weights)["network"]


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_teachers_are_trained_first_and_are_runs_of_their_own(taught, recipe, sample, tmp_path):
    found = [open_run(taught.folder / "teachers" / str(number)) for number in (1, 2, 3)]
    assert all(teacher.finished for teacher in found)
    assert [teacher.recipe.training.seed for teacher in found] == [220, 1, 220]
    assert [teacher.recipe.network.filters[1] for teacher in found] == [8, 8, 4]
    alone = train(sample.images, sample.masks, tmp_path / "alone", recipe.teachers()[0])
    assert same(weights(found[0]), weights(alone))


def test_the_last_training_goes_on_from_the_first_and_is_taught(taught, recipe, sample, tmp_path):
    assert taught.finished
    assert [row["epoch"] for row in taught.history()] == [1, 2]
    assert taught.history()[0]["learning_rate"] == 0.002
    untaught = recipe.last_training().model_copy(update={"teaching": None})
    first = taught.folder / "teachers" / "1"
    other = train(sample.images, sample.masks, tmp_path / "other", untaught, start=first)
    before = open_run(first).history()[-1]["validation_loss"]
    for run in (taught, other):
        assert run.history()[0]["validation_loss"] < 1.02 * before
    assert not same(weights(other), weights(taught))


def test_a_target_is_the_mask_and_what_one_teacher_says_in_turn(taught, recipe):
    runs = [open_run(taught.folder / "teachers" / str(number)) for number in (1, 3)]
    compute = Compute(recipe.training)
    images = np.random.default_rng(0).random((2, 32, 32), np.float32)
    masks = (images > 0.5).astype(np.float32)
    half = Teachers(runs, 0.5, compute)
    alone = [Teachers([run], 1, compute).targets(images, masks, 7) for run in runs]
    assert np.abs(alone[0] - alone[1]).max() > 0.01
    for step in range(4):
        assert half.targets(images, masks, step) == pytest.approx((masks + alone[step % 2]) / 2)


@pytest.mark.parametrize("place", [(2, 2, 1), (4, 1, 2)])
def test_a_training_cut_off_anywhere_goes_on_to_the_same_weights(
    sample, recipe, taught, tmp_path, place
):
    at = [0]

    def on_training(number, of):
        assert of == 4
        at[0] = number

    def interrupt(report):
        if (at[0], report.epoch, report.step) == place:
            os.kill(os.getpid(), signal.SIGINT)

    watch = Watch(on_step=interrupt, on_training=on_training)
    cut = train(sample.images, sample.masks, tmp_path / "cut", recipe, watch=watch)
    assert not cut.finished
    assert at[0] == place[0]
    gone_on = resume(sample.images, sample.masks, tmp_path / "cut")
    assert gone_on.finished
    assert same(weights(gone_on), weights(taught))


def test_a_run_with_teachers_can_be_replaced(sample, recipe, tmp_path):
    short = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 1})})
    folder = tmp_path / "run"
    train(sample.images, sample.masks, folder, short)
    alone = short.model_copy(update={"teaching": None})
    train(sample.images, sample.masks, folder, alone, overwrite=True)
    assert not (folder / "teachers").exists()


def test_teachers_and_weights_to_start_from_exclude_each_other(sample, recipe, taught, tmp_path):
    with pytest.raises(RecipeError, match="begin from chance"):
        train(sample.images, sample.masks, tmp_path / "run", recipe, start=taught.folder)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ("[{training.sed: 1}]", "did you mean 'training.seed'"),
        ("[{preparation.size: [64, 64]}]", "sees the same images"),
        ("[{split.train: 0.5}]", "sees the same images"),
        ("[{teaching: {}}]", "sees the same images"),
        ("[{name.first: 1}]", "holds no keys"),
    ],
)
def test_what_no_teacher_can_be_is_refused_at_once(others, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("exercise", [f"teaching={{others: {others}}}"])
