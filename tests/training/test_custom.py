import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pleura
from pleura.cli import cli
from pleura.dataset.training_set import PreprocessedSet
from pleura.engine.engine import Engine
from pleura.engine.model_file import read_metadata
from pleura.errors import DataError, RecipeError, RunError
from pleura.training.custom import CustomComponents, component_names
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.recipe_loading import override_recipe
from pleura.training.state import trained_network
from pleura.training.tensor_files import load_tensors, save_tensors

pytestmark = pytest.mark.usefixtures("no_figures")


class SmallNetwork(nn.Module):
    def __init__(self, channels=4, outputs=1):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(channels, outputs, 1),
        )

    def forward(self, images):
        return self.layers(images)


def dice_loss(logits, targets):
    probability = logits.sigmoid()
    overlap = (probability * targets).sum()
    return 1 - (2 * overlap + 1) / (probability.sum() + targets.sum() + 1)


def add_noise(image, mask, rng):
    return image + rng.normal(0, 0.05, image.shape).astype(np.float32), mask


def halved_in_each_epoch(epoch):
    return 0.01 * 0.5**epoch


def rate_of_first_epoch(epoch):
    return [0.001][epoch]


COMPONENTS = CustomComponents(
    network=SmallNetwork(),
    loss=dice_loss,
    augmentation=add_noise,
    schedule=halved_in_each_epoch,
)


@pytest.fixture(scope="module")
def custom_recipe(tiny):
    return override_recipe(tiny, ["training.epochs=2", "evaluation.tune_threshold=true"])


@pytest.fixture(scope="module")
def custom_run(sample, custom_recipe, tmp_path_factory):
    output = tmp_path_factory.mktemp("custom") / "run"
    return pleura.train(sample.images, sample.masks, output, custom_recipe, **COMPONENTS)


def weights(run):
    return load_tensors(run.weights)["network"]


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_custom_components_train_and_are_recorded_by_name(custom_run):
    assert custom_run.finished
    assert custom_run.record["custom"] == {
        "network": f"{__name__}.SmallNetwork",
        "loss": f"{__name__}.dice_loss",
        "augmentation": f"{__name__}.add_noise",
        "schedule": f"{__name__}.halved_in_each_epoch",
    }
    history = custom_run.history()
    assert [row["learning_rate"] for row in history] == [0.01, 0.005]
    assert history[1]["loss"] < history[0]["loss"]
    assert 0 < history[0]["validation_loss"] < 1
    initial = SmallNetwork().state_dict()
    assert same(COMPONENTS["network"].state_dict(), initial)  # the training has copied it
    assert not same(weights(custom_run), initial)
    SmallNetwork().load_state_dict(weights(custom_run))  # the names are those of the network


def test_run_whose_weights_have_the_prefix_of_earlier_versions_predicts(custom_run, tmp_path):
    shutil.copytree(custom_run.folder, tmp_path / "run")
    run = pleura.open_run(tmp_path / "run", network=SmallNetwork())
    prefixed = {f"module.{name}": tensor for name, tensor in weights(custom_run).items()}
    save_tensors(run.weights, {"network": prefixed})
    assert same(trained_network(run).state_dict(), trained_network(custom_run).state_dict())


@pytest.mark.parametrize("steps", [2, 5])
def test_interrupted_training_is_resumed_to_the_same_weights(
    sample, custom_recipe, custom_run, tmp_path, steps
):
    seen = 0

    def interrupt(_):
        nonlocal seen
        seen += 1
        if seen == steps:
            os.kill(os.getpid(), signal.SIGINT)

    callbacks = pleura.TrainingCallbacks(on_step=interrupt)
    data = sample.images, sample.masks, tmp_path / "run"
    run = pleura.train(*data, custom_recipe, callbacks=callbacks, **COMPONENTS)
    assert not run.finished
    for kind in COMPONENTS:
        rest = {name: value for name, value in COMPONENTS.items() if name != kind}
        with pytest.raises(RunError, match=f"custom {kind} {component_names(COMPONENTS)[kind]}"):
            pleura.resume(*data, **rest)
    with pytest.raises(RunError, match=r"dice_loss, not .*Loss"):
        pleura.resume(*data, **{**COMPONENTS, "loss": nn.BCEWithLogitsLoss()})
    resumed = pleura.resume(*data, **COMPONENTS)
    assert resumed.finished
    assert same(weights(resumed), weights(custom_run))


def test_run_with_custom_network_is_evaluated_and_predicts(sample, custom_run, tmp_path):
    opened = pleura.open_run(custom_run.folder, network=SmallNetwork())
    assert pleura.evaluate(opened, sample.images, sample.masks, subset="validation").scores
    image = min(sample.images.iterdir())
    prediction = pleura.predict(opened, image, tmp_path / "masks")[0]
    assert prediction.error is None
    assert (tmp_path / "masks" / prediction.mask).exists()


@pytest.fixture(scope="module")
def custom_model(custom_run):
    opened = pleura.open_run(custom_run.folder, network=SmallNetwork())
    path = custom_run.folder.with_name("model.onnx")
    pleura.export(opened, path)
    return path


def test_metadata_of_an_exported_network_names_it(custom_run, custom_model):
    recipe = read_metadata(custom_model).recipe
    assert recipe["custom"] == custom_run.record["custom"]
    assert not {"network", "loss", "augmentation", "schedule"} & set(recipe)
    with pytest.raises(RecipeError, match="trained with custom components"):
        fine_tuning_recipe(custom_model)


def test_exported_network_segments(sample, custom_model, tmp_path):
    scan, mask = sample.folder / "volume" / "ct.nii.gz", tmp_path / "lungs.nii.gz"
    arguments = ["segment", str(scan), "-o", str(mask), "--model", str(custom_model)]
    assert not cli.main(arguments, standalone_mode=False)
    assert mask.exists()


def test_exported_network_gives_the_probability_of_the_run(custom_run, custom_model):
    hu = np.random.default_rng(0).integers(-1000, 400, (1, 64, 64)).astype(np.int16)
    expected = pleura.Predictor(custom_run).probability(hu[0].astype(np.float32))
    found = Engine(custom_model).probability(hu)[0]
    assert np.abs(found / 255 - expected).max() < 0.03


def test_run_without_its_network_is_refused_with_a_hint(sample, custom_run, tiny_run, tmp_path):
    folder = custom_run.folder
    for use in (
        lambda: pleura.evaluate(folder, sample.images, sample.masks),
        lambda: pleura.predict(folder, sample.images, tmp_path / "masks"),
        lambda: pleura.export(folder, tmp_path / "model.onnx"),
    ):
        with pytest.raises(RunError, match=r"SmallNetwork[^\0]*open_run\(folder, network"):
            use()
    with pytest.raises(RunError, match="weights do not fit"):
        pleura.Predictor(pleura.open_run(folder, network=SmallNetwork(channels=5)))
    with pytest.raises(RunError, match="no custom network"):
        pleura.open_run(tiny_run.folder, network=SmallNetwork())
    with pytest.raises(RunError, match="no custom loss"):
        pleura.resume(sample.images, sample.masks, tiny_run.folder, loss=dice_loss)
    assert replace(custom_run, network=None) == custom_run


class Broken(SmallNetwork):
    def forward(self, images):
        return self.layers(images[0])


FROZEN = SmallNetwork().requires_grad_(False)


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ({"network": SmallNetwork(outputs=2)}, r"\(2, 1, 32, 32\) to \(2, 2, 32, 32\)"),
        ({"network": Broken()}, "fails on images of shape"),
        ({"network": FROZEN}, "no parameters"),
        ({"loss": lambda logits, targets: logits - targets}, "not a scalar"),
        ({"loss": lambda logits, _: logits.detach().sum()}, "not a scalar"),
        ({"loss": lambda logits, _: logits.sum() / 0}, "is nan"),
        ({"loss": lambda logits, targets: F.mse_loss(logits, targets[0, 0, 0, :3])}, "loss fails"),
        ({"augmentation": lambda image, mask, _: (image[1:], mask)}, "augmentation changes"),
        ({"schedule": rate_of_first_epoch}, "schedule fails on epoch 1: list index"),
        ({"schedule": lambda _: None}, "schedule fails on epoch 0"),
        ({"schedule": lambda epoch: 0.1 - epoch}, r"schedule returns -0\.9 for epoch 1"),
        ({"schedule": lambda _: float("nan")}, "schedule returns nan for epoch 0"),
    ],
)
def test_component_that_cannot_be_used_is_refused_before_the_run_is_written(
    sample, tiny, tmp_path, components, message
):
    with pytest.raises((RunError, DataError), match=message):
        pleura.train(sample.images, sample.masks, tmp_path / "run", tiny, **components)
    assert not (tmp_path / "run").exists()


def test_custom_network_starts_from_a_run_but_not_from_a_model_file(
    sample, custom_run, model, tiny, tmp_path
):
    data = sample.images, sample.masks, tmp_path / "run"
    options = pleura.TrainingOptions(initial_weights=model)
    with pytest.raises(RunError, match="model file"):
        pleura.train(*data, tiny, options=options, network=SmallNetwork())
    options = pleura.TrainingOptions(initial_weights=custom_run.folder)
    recipe = override_recipe(tiny, ["training.epochs=1"])
    run = pleura.train(*data, recipe, options=options, network=SmallNetwork(), loss=dice_loss)
    assert run.history()[0]["loss"] < custom_run.history()[0]["loss"]


def test_steps_have_the_rate_of_the_custom_schedule(sample, custom_recipe, tmp_path):
    initial = SmallNetwork()
    data = sample.images, sample.masks, tmp_path / "run", custom_recipe
    run = pleura.train(*data, network=initial, schedule=lambda _: 0)
    parameters = dict(initial.named_parameters())
    trained = weights(run)
    assert all(torch.equal(trained[name], parameters[name]) for name in parameters)
    assert [row["learning_rate"] for row in run.history()] == [0, 0]


def test_custom_augmentation_is_a_function_of_the_random_number_generator():
    images = np.zeros((3, 4, 4), np.float32)
    training_set = PreprocessedSet(images, images, add_noise)
    first, second = (
        training_set.sample_batch(np.arange(3), np.random.default_rng(1))[0] for _ in range(2)
    )
    assert (first == second).all()
    assert first.dtype == np.float32
    assert not images.any()
