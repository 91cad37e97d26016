"""Measure learning curves: training from the default model, and from random weights.

    python benchmarks/fine_tuning.py DATA [--slices 5 10 20 40 80 160]

The data set is `covid`: images in changed grey levels, with lesions inside the masks, which the
default model was not trained on. Slices of seven patients are for training, of three for the test.
Both trainings have the same network, steps and slices; from random weights at the full learning
rate of the recipe, from the model at a lower one. Prints a Markdown table of the mean Dice, and
writes benchmarks/results/fine_tuning.json.
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import overlap

from pleura.formats.image_files import read_image_file, write_image_file
from pleura.formats.read import read
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.options import TrainingOptions
from pleura.training.predictor import Predictor
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import build_recipe
from pleura.training.train import train

HERE = Path(__file__).resolve().parent
TEST = 3  # the last patients
STEPS = 200


def patients(data: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with (data / "covid" / "patients.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["patient"], []).append(row["name"])
    return found


def write_pairs(names: list[str], data: Path, folder: Path) -> None:
    """Write images in HU, as pleura reads these images, and their masks."""
    for name in names:
        stem = Path(name).stem
        write_image_file(
            folder / "images" / f"{stem}.tif", read(data / "covid" / "images" / name).hu()[0]
        )
        target = folder / "masks" / f"{stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "covid" / "masks" / name, target)


def recipe_for(n: int, start: bool, seed: int) -> Recipe:
    values: dict[str, Any] = fine_tuning_recipe("default").model_dump(mode="json")
    values["simulation"] = None  # the images are not CT in HU
    values["augmentation"] |= {"full_rotation_probability": 0.0, "zoom": [0.85, 1.2]}
    values["split"] = {"training_fraction": (n - 1.9) / n, "validation_fraction": 1.2 / n}
    batch = min(8, max(2, (n - 2) // 2))
    values["training"] |= {"batch_size": batch, "seed": seed}
    values["training"]["epochs"] = max(1, round(STEPS / max(1, (n - 2) // batch)))
    if not start:
        values["training"]["freeze_batch_norm"] = False
        values["schedule"]["learning_rate"] = 0.003
    return build_recipe(values, "fine tuning")


def mean_dice(run: Path, names: list[str], data: Path) -> float:
    from pleura.training.run import open_run

    predictor, scores = Predictor(open_run(run)), []
    for name in names:
        reference = read_image_file(data / "covid" / "masks" / name) > 0
        found = predictor.probability(read(data / "covid" / "images" / name).hu()[0]) >= 0.5
        scores.append(overlap(reference, found)["dice"])
    return float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--slices", type=int, nargs="+", default=[5, 10, 20, 40, 80, 160])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    options = parser.parse_args()
    found = patients(options.data)
    order = list(found)
    test = [name for patient in order[-TEST:] for name in found[patient]]
    pool = [name for patient in order[:-TEST] for name in found[patient]]
    results = []
    print(
        "| labelled slices | random weights, mean Dice | default model, mean Dice |\n|---|---|---|"
    )
    for n in options.slices:
        row: dict[str, Any] = {"slices": min(n, len(pool)), "random": [], "model": []}
        for seed in options.seeds:
            chosen = list(np.random.default_rng(seed).permutation(pool)[:n])
            for kind, start in (("random", None), ("model", "default")):
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name)
                    write_pairs(chosen, options.data, folder)
                    recipe = recipe_for(len(chosen), start is not None, seed)
                    train(
                        folder / "images",
                        folder / "masks",
                        folder / "run",
                        recipe,
                        options=TrainingOptions(initial_weights=start),
                    )
                    row[kind].append(mean_dice(folder / "run", test, options.data))
        results.append(row)
        cells = " | ".join(f"{np.mean(row[k]):.4f}" for k in ("random", "model"))
        print(f"| {row['slices']} | {cells} |", flush=True)
        print(row, file=sys.stderr)
    target = HERE / "results" / "fine_tuning.json"
    target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
