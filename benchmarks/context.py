"""Compare 2.5-D input (data.context) with 2-D input on the whole scans of LCTSC, patient left out.

    python benchmarks/context.py DATA RUNS --set network.channels=[8,16,32,64] training.epochs=16

Trains the recipe `quick` on two patients and evaluates the exported model on the third: Dice and
HD95 of both lungs at the threshold 0.5, and slices with false or missed lung. Variants alternate,
so that they run under the same conditions. Times are CPU seconds of this process. Writes one JSON
file per training below RUNS, continues with those that are missing, and prints a Markdown table
with the mean and the range over the seeds.
"""

import argparse
import json
import resource
import shutil
import time
import warnings
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from pleura.dataset.sources import collect_pairs
from pleura.dataset.subsets import Split
from pleura.errors import DataWarning
from pleura.evaluation.metrics import dice
from pleura.evaluation.surface import distance_metrics
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter
from pleura.training.export import export
from pleura.training.options import TrainingOptions
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import build_recipe, load_recipe
from pleura.training.train import train

PATIENTS = ("101", "201", "202")
VARIANTS = {
    "2-D": {"slices": 0},
    "3 slices, 3 mm": {"slices": 1, "distance": 3},
    "3 slices, 9 mm": {"slices": 1, "distance": 9},
}
FALSE_AREA = 50.0
"""Area in mm2 from which a slice shows lung."""

Result = dict[str, float]


def recipe_of(
    data: Path, patient: str, context: dict[str, float], changes: list[str], split: Path
) -> Recipe:
    """Return the recipe without a patient, and write its split.

    A split requires validation and test images. They are two slices of the patient, which `quick`
    uses for no choice.
    """
    values = load_recipe("quick", changes).model_dump(mode="json")
    values["data"] |= {
        "sources": [
            {
                "images": "lctsc/*/ct.nii.gz",
                "masks": "lctsc/*/lungs.nii.gz",
                "slice_step": 2,
            }
        ],
        "context": context,
    }
    pairs = collect_pairs(data, None, build_recipe(values, "quick").data.sources)
    others = [pair.name for pair in pairs if patient not in pair.name]
    own = [pair.name for pair in pairs if patient in pair.name]
    middle = len(own) // 2
    Split(tuple(others), (own[middle],), (own[middle + 1],)).write(split)
    values["split"] = {"method": "file", "file": str(split.absolute())}
    return build_recipe(values, "quick")


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def evaluate(model: Path, data: Path, patient: str) -> Result:
    """Segment the patient, and return scores and times."""
    folder = data / "lctsc" / f"LCTSC-Test-S1-{patient}"
    reference = read(folder / "lungs.nii.gz", units="hu").hu() > 0
    with Segmenter(model, threads=1) as segmenter:
        scan = read(folder / "ct.nii.gz")
        start = cpu_seconds()
        result = segmenter.segment(scan, warn=False)
        seconds = cpu_seconds() - start
    found, spacing = result.labels > 0, scan.geometry.spacing
    area = spacing[1] * spacing[2]
    shows, expected = found.sum((1, 2)) * area > FALSE_AREA, reference.any((1, 2))
    return {
        "dice": float(dice(reference, found)),
        "hd95": float(distance_metrics(reference, found, spacing)["hd95"]),
        "false_positive_slices": int((shows & ~expected).sum()),
        "false_negative_slices": int((~shows & expected).sum()),
        "slices": len(found),
        "segmentation_seconds": seconds,
    }


def measure(options: argparse.Namespace, variant: str, patient: str, seed: int) -> Result:
    """Train and evaluate once, unless that is done."""
    name = f"{variant.replace(' ', '').replace(',', '-')}-without-{patient}-seed-{seed}"
    path = options.runs / f"{name}.json"
    if path.exists():
        content: Result = json.loads(path.read_text())
        return content
    changes = [*options.set, f"training.seed={seed}", "training.threads=1"]
    split = options.runs / f"without-{patient}.csv"
    recipe = recipe_of(options.data, patient, VARIANTS[variant], changes, split)
    run, start, wall = options.runs / name, cpu_seconds(), time.perf_counter()
    train(options.data, None, run, recipe, options=TrainingOptions(overwrite=True))
    trained = {
        "training_seconds": cpu_seconds() - start,
        "training_wall_seconds": time.perf_counter() - wall,
    }
    export(run, run / "model.onnx")
    result = {**evaluate(run / "model.onnx", options.data, patient), **trained}
    path.write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(run)
    print(name, json.dumps(result), flush=True)
    return result


def print_table(results: dict[tuple[str, str, int], Result]) -> None:
    keys: dict[str, tuple[str, str]] = {
        "dice": ("Dice", ".4f"),
        "hd95": ("HD95 (mm)", ".2f"),
        "false_positive_slices": ("slices with false lung", ".1f"),
        "false_negative_slices": ("slices with missed lung", ".1f"),
        "segmentation_seconds": ("segmentation (CPU s)", ".2f"),
        "training_seconds": ("training (CPU s)", ".0f"),
    }
    titles = [title for title, _ in keys.values()]
    print("| patient | input | " + " | ".join(titles) + " |\n" + "|---" * (2 + len(keys)) + "|")
    for patient in (*PATIENTS, "all"):
        for variant in VARIANTS:
            rows = {
                seed: [
                    result
                    for (v, p, s), result in results.items()
                    if v == variant and s == seed and patient in (p, "all")
                ]
                for seed in sorted({seed for *_, seed in results})
            }
            if cells := [
                _cell(rows, key, form) for key, (_, form) in keys.items() if any(rows.values())
            ]:
                print(f"| {patient} | {variant} | " + " | ".join(cells) + " |")


def _cell(rows: dict[int, list[Result]], key: str, form: str) -> str:
    """Return the mean over seeds of the mean over patients, and the range over seeds."""
    values: list[Any] = [mean(r[key] for r in one) for one in rows.values() if one]
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return f"{np.mean(values):{form}}" + (f" ({low} to {high})" if low != high else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[220, 221, 222])
    options = parser.parse_args()
    warnings.simplefilter("ignore", DataWarning)  # of slices that the split does not list
    options.runs.mkdir(parents=True, exist_ok=True)
    results = {
        (variant, patient, seed): measure(options, variant, patient, seed)
        for seed in options.seeds
        for patient in PATIENTS
        for variant in options.variants
    }
    print_table(results)


if __name__ == "__main__":
    main()
