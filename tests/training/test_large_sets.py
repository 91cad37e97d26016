"""Sets of images that are too large for memory."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from pleura.dataset import pair_reader
from pleura.dataset.overlap import resolve_duplicates
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing, preprocess_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.dataset.subsets import Split
from pleura.errors import DataError
from pleura.files import arrays
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.evaluation import evaluate
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
    assert len(files) == (5 if variant == "simulated" else 3)
    first, second = (load_tensors(run.weights)["network"] for run in (in_memory, in_files))
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [run.history() for run in (in_memory, in_files)]
    assert [r["validation_loss"] for r in rows[0]] == [r["validation_loss"] for r in rows[1]]
    assert in_memory.record["data_fingerprint"] == in_files.record["data_fingerprint"]


@pytest.fixture
def volumes(sample, tmp_path, monkeypatch):
    """Two equal volumes of three slices with masks, and a list of the volumes that are decoded."""
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    values = np.asarray(image.dataobj)[..., 10:13].astype(np.int16)
    for folder, array in (("images", values), ("masks", (values < -600).astype(np.uint8))):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(array, image.affine), tmp_path / folder / "a.nii.gz")
        shutil.copy(tmp_path / folder / "a.nii.gz", tmp_path / folder / "b.nii.gz")
    decoded, read_volume = [], pair_reader.read_volume
    monkeypatch.setattr(
        pair_reader, "read_volume", lambda path: decoded.append(path.name) or read_volume(path)
    )
    return tmp_path, decoded


def test_an_evaluation_decodes_each_volume_once(volumes, tiny_run, tmp_path, monkeypatch):
    folder, decoded = volumes
    names = [f"{name}.nii.gz#{i:03d}" for i in range(3) for name in "ab"]
    monkeypatch.setattr("pleura.training.evaluation._names", lambda *_: list(names))
    monkeypatch.setattr("pleura.training.evaluation._write_figure", lambda *_: None)
    result = evaluate(tiny_run, folder / "images", folder / "masks", output=tmp_path / "out")
    assert decoded == ["a.nii.gz", "b.nii.gz"]
    assert sorted({score.case for score in result.scores}) == sorted(names)


def test_copies_are_compared_without_decoding_volumes_again(volumes):
    folder, decoded = volumes
    pairs = find_pairs(folder / "images", folder / "masks")
    prepared = preprocess_pairs(pairs, Preprocessing(scaling="minmax", size=(16, 16)))
    names = [pair.name for pair in pairs]
    split = Split(tuple(names[:3]), tuple(names[3:]), ())
    decoded.clear()
    with pytest.raises(DataError, match="3 pairs of images in two subsets with the same pixels"):
        resolve_duplicates(pairs, prepared, split, SplitRecipe())
    assert decoded == ["a.nii.gz", "b.nii.gz"]


CODE = """
import re, sys, threading, time
from pathlib import Path
from pleura.cli import cli
from pleura.dataset import pair_reader
from pleura.dataset.overlap import resolve_duplicates
from pleura.dataset.pairs import find_pairs
from pleura.dataset.preprocessing import Preprocessing, preprocess_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.dataset.subsets import Split
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
