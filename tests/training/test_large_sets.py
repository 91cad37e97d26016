"""Sets of images that are too large for memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pleura.files import arrays
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.recipe_loading import build_recipe
from pleura.training.tensor_files import load_tensors
from pleura.training.train import train

VARIANTS = {
    "plain": {},
    "weighted": {"loss": {"border_weights": True}},
    "simulated": {
        "simulation": {},
        "preprocessing": {"scaling": "window", "image_interpolation": "area"},
        "augmentation": {"flip": True},
    },
    "labels": {"data": {"labels": {1: "lung"}}, "preprocessing": {"mask_interpolation": "area"}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_from_temporary_files_has_the_same_weights(
    variant, sample, tiny, tmp_path, monkeypatch
):
    values = tiny.model_dump(mode="json")
    for section, changes in VARIANTS[variant].items():
        values[section] = {**(values[section] or {}), **changes}
    recipe = build_recipe(values, "test")
    masks = sample.masks
    if variant == "labels":
        masks = tmp_path / "masks"
        masks.mkdir()
        for path in sample.masks.iterdir():
            write_image_file(masks / path.name, np.minimum(read_image_file(path), 1))
    in_memory = train(sample.images, masks, tmp_path / "memory", recipe)
    files, reserve = [], arrays._reserve
    monkeypatch.setattr(arrays, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(arrays, "_reserve", lambda *args: files.append(args) or reserve(*args))
    in_files = train(sample.images, masks, tmp_path / "files", recipe)
    assert len(files) == (4 if variant == "simulated" else 2)
    first, second = (load_tensors(run.weights)["network"] for run in (in_memory, in_files))
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [run.history() for run in (in_memory, in_files)]
    assert [r["validation_loss"] for r in rows[0]] == [r["validation_loss"] for r in rows[1]]
    assert in_memory.record["data_fingerprint"] == in_files.record["data_fingerprint"]


CODE = """
import re, sys, threading, time
from pathlib import Path
from pleura.cli import cli
from pleura.files import arrays

def watch():
    while True:
        status = Path("/proc/self/status").read_text()
        peak.append(int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]) / 1024)
        time.sleep(0.02)

peak = []
arrays.MAX_IN_MEMORY = int(sys.argv[1])
threading.Thread(target=watch, daemon=True).start()
cli.main(sys.argv[2:], standalone_mode=False)
print(max(peak))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc of Linux")
def test_memory_does_not_grow_with_the_images(sample, tmp_path):
    """Of the preprocessed images and masks, 393 MB, almost all is saved."""
    names = sorted(path.stem for path in sample.images.glob("*.tif"))
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(3000):
        rng, name = np.random.default_rng(i), names[i % len(names)]
        image = read_image_file(sample.images / f"{name}.tif")
        image = image + rng.integers(-8, 9, image.shape, np.int16)
        mask = read_image_file(sample.masks / f"{name}.tif")
        shift = tuple(rng.integers(-60, 61, 2).tolist())
        for folder, picture in (("images", image), ("masks", mask)):
            moved = np.roll(picture[::2, :: rng.choice([-2, 2])], shift, (0, 1))
            write_image_file(tmp_path / folder / f"{name}_{i:04d}.tif", moved)
    settings = ["network.channels=[4, 8]", "training.epochs=1", "training.threads=1"]
    settings += ["split.training_fraction=0.1", "split.validation_fraction=0.1"]
    arguments = ["train", tmp_path / "images", tmp_path / "masks", "-o", tmp_path / "run"]
    arguments += ["--recipe", "quick", "--overwrite", "-q"]
    arguments += [text for one in settings for text in ("--set", one)]
    peaks = []
    for limit in (1 << 30, 16 << 20):
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(limit), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(float(done.stdout.split()[-1]))
    assert peaks[1] < 500
    assert peaks[0] - peaks[1] > 350
