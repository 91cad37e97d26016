"""Several classes in 8 bits, in bfloat16, and in two processes, on the sample."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import preprocess_pairs
from pleura.engine.classes import choose_classes
from pleura.engine.engine import Engine
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.compute import ComputeDevice
from pleura.training.export import ExportOptions, export
from pleura.training.loss import class_weights, recipe_loss
from pleura.training.recipe_loading import build_recipe, load_recipe
from pleura.training.run import open_run
from pleura.training.state import trained_network
from pleura.training.tensor_files import load_tensors
from pleura.training.train import train

LABELS = {1: "right lung", 2: "left lung"}


@pytest.fixture(scope="module")
def masks(sample, made_once):
    def write(folder):
        folder.mkdir()
        for path in sorted(sample.masks.iterdir()):
            lung = read_image_file(path) > 0
            is_left = np.arange(lung.shape[1]) >= lung.shape[1] // 2
            labels = (np.where(is_left, 2, 1) * lung).astype(np.uint8)
            write_image_file(folder / f"{path.stem}.png", labels)

    return made_once("sides", write)


@pytest.fixture(scope="module")
def run(sample, masks, small_settings, made_once):
    labels = f"data.labels={LABELS}"
    recipe = load_recipe("quick", [*small_settings, labels, "loss.class_weights={left lung: 2}"])
    return open_run(made_once("run-sides", lambda f: train(sample.images, masks, f, recipe)))


def test_an_8_bit_model_has_the_same_classes(run, sample, tmp_path):
    paths = tmp_path / "full.onnx", tmp_path / "small.onnx"
    export(run, paths[0])
    export(run, paths[1], ExportOptions(sample.images))
    assert paths[1].stat().st_size < paths[0].stat().st_size
    engines = [Engine(path, 1) for path in paths]
    assert engines[0].metadata.classes == engines[1].metadata.classes
    assert [label.name for label in engines[1].metadata.classes] == list(LABELS.values())
    differ = total = 0
    for path in sorted(sample.images.iterdir())[::3]:
        hu = read_image_file(path)[None].astype(np.int16)
        maps = [engine.probability(hu)[0] / np.float32(255) for engine in engines]
        full, small = (choose_classes(one, run.classes) for one in maps)
        differ, total = differ + int((full != small).sum()), total + int((full > 0).sum())
    assert 0 < differ < 0.03 * total


def test_the_loss_in_bfloat16_is_that_in_float32(run, sample, masks):
    recipe = run.recipe
    pairs = find_pairs(sample.images, masks)[::4]
    prepared = preprocess_pairs(pairs, recipe.preprocessing, labels=recipe.data.classes)
    weights = class_weights(recipe.loss, list(LABELS.values()))
    losses, gradients = [], []
    for precision in ("fp32", "bf16"):
        changes = {"device": "cpu", "precision": precision}
        compute = ComputeDevice(recipe.training.model_copy(update=changes))
        network = compute.place(trained_network(run)).eval()
        with compute.mixed_precision():
            logits = network(compute.tensor(prepared.images, network))
        loss = recipe_loss(logits.float(), compute.targets(prepared.masks), recipe.loss, weights)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] != losses[0]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes over loopback")
def test_two_processes_train_the_classes_that_one_trains(sample, masks, tiny, tmp_path):
    values = tiny.model_dump(mode="json")
    values["data"]["labels"] = LABELS
    values["network"]["dropout"] = 0.0
    values["loss"] |= {"cross_entropy": 1.0, "dice": 1.0, "class_weights": {"left lung": 2.0}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(build_recipe(values, "test").to_yaml())
    one = train(sample.images, masks, tmp_path / "one", recipe)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "pleura", "train", sample.images, masks, "-q"]
    command += ["--recipe", recipe, "-o", tmp_path / "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=500,
    )
    two = open_run(tmp_path / "two")
    assert two.finished, done.stderr
    for first, second in zip(one.history(), two.history(), strict=True):
        for key in ("loss", "validation_loss", "validation_dice_left lung"):
            assert first[key] == pytest.approx(second[key], rel=1e-3)
    first, second = (load_tensors(run.weights)["network"] for run in (one, two))
    assert all(torch.allclose(first[k], second[k], rtol=0, atol=1e-4) for k in first)
