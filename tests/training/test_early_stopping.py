"""Early stopping, and the weights of the best epoch as the result."""

import pytest
import torch

from pleura.errors import RecipeError
from pleura.training.callbacks import TrainingCallbacks
from pleura.training.recipe_loading import load_recipe
from pleura.training.tensor_files import load_tensors
from pleura.training.train import resume, train

SMALL = (
    "training.threads=1",
    "training.ema_decay=0",
    "preprocessing.size=[32,32]",
    "network.channels=[4,8]",
    "schedule.name=exponential",  # with a constant rate in the first 20 epochs
)
UNSTEADY = ("training.final_weights=best", "schedule.learning_rate=0.1", "training.seed=3")


def trained(sample, folder, *changes, callbacks=TrainingCallbacks()):
    recipe = load_recipe("quick", (*SMALL, *changes))
    return train(sample.images, sample.masks, folder, recipe, callbacks=callbacks)


def weights(run):
    return load_tensors(run.weights)["network"]


def assert_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def losses(run):
    return [row["validation_loss"] for row in run.history()]


@pytest.fixture(scope="module")
def best(sample, tmp_path_factory):
    run = trained(sample, tmp_path_factory.mktemp("best") / "run", "training.epochs=5", *UNSTEADY)
    assert 0 < losses(run).index(min(losses(run))) < 4
    return run


def test_training_stops_when_the_validation_loss_falls_no_longer(sample, tmp_path):
    changes = "training.epochs=9", "training.patience=2", "schedule.learning_rate=1e-30"
    run = trained(sample, tmp_path / "run", *changes)
    assert run.finished
    assert len(run.history()) == 3
    assert resume(sample.images, sample.masks, run.folder).history() == run.history()


def test_weights_are_those_of_the_best_epoch(sample, tmp_path, best):
    epochs = losses(best).index(min(losses(best))) + 1
    changes = f"training.epochs={epochs}", *UNSTEADY[1:]
    shorter = trained(sample, tmp_path / "run", *changes)
    assert_equal(weights(best), weights(shorter))


def test_best_weights_survive_an_interruption(sample, tmp_path, best):
    last = losses(best).index(min(losses(best))) + 2

    def interrupt(report):
        if report.epoch == last:
            raise KeyboardInterrupt

    changes = "training.epochs=5", *UNSTEADY
    with pytest.raises(KeyboardInterrupt):
        trained(sample, tmp_path / "run", *changes, callbacks=TrainingCallbacks(on_step=interrupt))
    resumed = resume(sample.images, sample.masks, tmp_path / "run")
    assert_equal(weights(best), weights(resumed))


def test_best_weights_exclude_the_mean_of_cycles():
    with pytest.raises(RecipeError, match="final_weights=best excludes"):
        load_recipe("default", ["training.final_weights=best"])
