import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

import pleura
from pleura.engine.model_file import SHIPPED_MODELS
from pleura.errors import ModelError, RecipeError, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.network.build import build_network
from pleura.training.initial_weights import _last_layer, fine_tuning_recipe, load_initial_weights
from pleura.training.options import TrainingOptions
from pleura.training.recipe_loading import build_recipe, override_recipe
from pleura.training.tensor_files import load_tensors
from pleura.training.train import resume, train

IMAGES = torch.from_numpy(np.random.default_rng(0).random((2, 1, 64, 64), np.float32))


def logits(network):
    network.eval()
    with torch.inference_mode():
        return network(IMAGES)


def test_weights_of_a_run_are_taken_as_they_are(small_run):
    network = build_network(small_run.recipe.network)
    load_initial_weights(network, small_run.folder)
    expected = load_tensors(small_run.weights)["network"]
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_a_model_file_gives_the_function_of_its_run(small_run, model):
    first, second = (build_network(small_run.recipe.network) for _ in range(2))
    load_initial_weights(first, small_run.folder)
    load_initial_weights(second, model)
    assert logits(first).std() > 1
    assert (logits(first) - logits(second)).abs().max() < 0.02  # weights in half precision


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_the_models_that_ship_can_be_gone_on_from(name):
    recipe = fine_tuning_recipe(name)
    network = build_network(recipe.network)
    load_initial_weights(network, name)
    assert torch.isfinite(logits(network)).all()
    assert recipe.data.sources == ()
    assert recipe.training.freeze_batch_norm


def test_fine_tuning_continues_from_the_initial_weights(sample, small_run, model, tmp_path):
    values = fine_tuning_recipe(model).model_dump(mode="json")
    values["training"]["epochs"] = 2
    values["split"] = {"method": "file", "file": str(sample.split)}
    recipe = build_recipe(values, "test")
    went_on = train(
        sample.images,
        sample.masks,
        tmp_path / "on",
        recipe,
        options=TrainingOptions(initial_weights=model),
    )
    before, after = small_run.history()[-1], went_on.history()[-1]
    assert after["validation_loss"] < before["validation_loss"] + 0.01
    assert went_on.history()[0]["validation_accuracy"] > 0.95
    fresh = train(sample.images, sample.masks, tmp_path / "fresh", recipe)
    assert fresh.history()[-1]["validation_loss"] > 2 * after["validation_loss"]


def test_training_killed_in_its_first_epoch_restarts_from_its_initial_weights(
    sample, small_run, tmp_path
):
    values = small_run.recipe.model_dump(mode="json")
    values["training"]["epochs"] = 1
    values["split"] = {"method": "file", "file": str(sample.split)}
    path = tmp_path / "recipe.yaml"
    path.write_text(build_recipe(values, "test").to_yaml())
    where, folder = (str(sample.images), str(sample.masks)), tmp_path / "killed"
    code = (
        "import os, signal; from pleura.training.callbacks import TrainingCallbacks\n"
        "from pleura.training.options import TrainingOptions\n"
        "from pleura.training.train import train\n"
        "kill = lambda report: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"train(*{where!r}, {str(folder)!r}, {str(path)!r},"
        f" options=TrainingOptions({str(small_run.folder)!r}),"
        " callbacks=TrainingCallbacks(on_step=kill))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    uncut = train(
        *where, tmp_path / "uncut", path, options=TrainingOptions(initial_weights=small_run.folder)
    )
    found = [load_tensors(run.weights)["network"] for run in (resume(*where, folder), uncut)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_weights_of_another_network_are_refused(small_run, model):
    other = small_run.recipe.network.model_copy(update={"channels": (4, 8, 16)})
    for source in (small_run.folder, model):
        with pytest.raises(RecipeError, match="do not fit"):
            load_initial_weights(build_network(other), source)


def test_what_is_no_start_is_said(tmp_path):
    with pytest.raises(ModelError, match="no such run folder or model file"):
        fine_tuning_recipe(tmp_path / "gone.onnx")
    with pytest.raises(RunError, match="not a run folder"):
        fine_tuning_recipe(tmp_path)
    with pytest.raises(ModelError, match="no such run folder or model file"):
        pleura.train("a", "b", tmp_path / "c", options=TrainingOptions(initial_weights="nowhere"))


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize("outputs", [3, 5])
def test_labels_divide_the_probability_of_one_class(small_run, model, from_file, outputs):
    source = model if from_file else small_run.folder
    one, several = (build_network(small_run.recipe.network, n) for n in (1, outputs))
    load_initial_weights(one, source)
    load_initial_weights(several, source)
    lung = torch.sigmoid(logits(one))
    labels = torch.softmax(logits(several), 1)[:, 1:]
    assert (lung / (outputs - 1) - labels).abs().max() < 1e-5


def test_other_classes_get_a_random_last_layer(small_run):
    recipe = small_run.recipe.network
    source, network = build_network(recipe, 3), build_network(recipe, 4)
    own = network.head.weight.clone()
    head, text = _last_layer(network, source.state_dict(), ["a", "b"], ["c", "d", "e"])
    assert head["head.weight"].equal(own)
    assert "except the last layer" in text
    same = _last_layer(network, build_network(recipe, 4).state_dict(), list("abc"), list("abc"))
    assert same == ({}, "all weights")


def test_classes_of_the_same_name_keep_their_weights(small_run):
    recipe = small_run.recipe.network
    source, network = build_network(recipe, 3), build_network(recipe, 3)
    random = network.head.bias.clone()
    tensors, weights = source.state_dict(), source.head.weight
    head, text = _last_layer(network, tensors, ["lung", "lesion"], ["effusion", "lung"])
    assert head["head.weight"][[0, 2]].equal(weights[[0, 1]])
    assert head["head.bias"][1] == random[1]
    assert text == "all weights (last layer: background, lung; random: effusion)"


def test_weights_of_a_model_file_require_frozen_statistics(sample, model, tmp_path):
    recipe = fine_tuning_recipe(model)
    training = recipe.training.model_copy(update={"freeze_batch_norm": False})
    options = TrainingOptions(initial_weights=model)
    with pytest.raises(RecipeError, match="fixed statistics of batch normalisation"):
        train(
            sample.images,
            sample.masks,
            tmp_path / "run",
            recipe.model_copy(update={"training": training}),
            options=options,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_dense_lung_in_greyscale_images_starts_from_the_model_of_the_package(
    sample, grey_images, tmp_path
):
    (tmp_path / "masks").mkdir()
    for path in sorted(sample.masks.iterdir()):
        lung = read_image_file(path) > 0
        dense = lung & (read_image_file(sample.images / path.name) > -600)
        labels = (np.where(dense, 2, 1) * lung).astype(np.uint8)
        write_image_file(tmp_path / "masks" / f"{path.stem}.png", labels)
    changes = [
        "data.labels={1: lung, 2: dense}",
        "simulation=null",
        "preprocessing.window=[0, 255]",
        "preprocessing.size=[128, 128]",
        "training.epochs=4",
        "training.ema_decay=0.5",
        "schedule.learning_rate=0.002",
        "split.method=file",
        f"split.file={grey_split(sample, grey_images, tmp_path)}",
    ]
    recipe = override_recipe(fine_tuning_recipe("greyscale"), changes)
    options = TrainingOptions(initial_weights="greyscale")
    run = train(grey_images, tmp_path / "masks", tmp_path / "run", recipe, options=options)
    assert "equal part of the probability of lung" in run.record["initial_weights"]
    assert run.history()[-1]["validation_dice_lung"] > 0.85


def grey_split(sample, images, folder):
    """Return the split of the sample with the names of the greyscale images."""
    suffix = next(images.iterdir()).suffix
    (folder / "split.csv").write_text(sample.split.read_text().replace(".tif", suffix))
    return folder / "split.csv"
