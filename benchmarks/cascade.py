"""Compare a cascade with a single network on the lesions of COVID-19, in folds by patient.

    python benchmarks/cascade.py DATA/covid OUTPUT
    python benchmarks/cascade.py DATA/covid OUTPUT --variants single cascade crop --epochs 30

Each variant is a cross-validation of the recipe `quick` with the same folds, grid and epochs; only
`data.lungs` differs. OUTPUT keeps the trainings, and the same command continues them. Dice is that
of the lesions of a patient, over all slices together, on the grid of the images: a lesion outside
the lungs that the cascade finds is missed. Prints Markdown tables and writes
benchmarks/results/cascade.json.
"""

import argparse
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pleura
from pleura.dataset.pairs import find_pairs
from pleura.formats.image_files import read_image_file
from pleura.segmentation.segmenter import Segmenter
from pleura.training.cross_validation import CrossValidationOptions, cross_validate
from pleura.training.export import export
from pleura.training.lungs import open_lungs
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe

HERE = Path(__file__).resolve().parent
VARIANTS = {
    "single": "null",
    "cascade": "{crop: true, mask: true, margin: 5}",
    "crop": "{crop: true, mask: false, margin: 5}",
    "mask": "{crop: false, mask: true, margin: 5}",
}
FOLDS = 5
Slices = list[NDArray[np.bool_]]


def recipe_of(data: Path, variant: str, options: argparse.Namespace) -> Recipe:
    """Return the recipe of a variant; only `data.lungs` depends on it."""
    settings = {
        "data.labels": "{255: lesion}",
        "data.lungs": VARIANTS[variant],
        "preprocessing.window": "[0, 255]",
        "preprocessing.size": f"[{options.size}, {options.size}]",
        "split.patient_file": str(data / "patients.csv"),
        "training.epochs": options.epochs,
        "evaluation.tune_threshold": "true",
    }
    return load_recipe("quick", [f"{key}={value}" for key, value in settings.items()])


def dice_by_patient(data: Path, masks: Path) -> dict[str, float]:
    """Return the Dice of the lesions of each patient, over all slices together."""
    patients = dict(
        line.split(",") for line in (data / "patients.csv").read_text().splitlines()[1:]
    )
    counts: dict[str, NDArray[np.float64]] = {}
    for name, patient in patients.items():
        found, reference = (read_image_file(one / name) > 0 for one in (masks, data / "lesions"))
        row = (found & reference).sum(), found.sum() + reference.sum()
        counts[patient] = counts.get(patient, np.zeros(2)) + row
    return {patient: float(2 * both / total) for patient, (both, total) in sorted(counts.items())}


def outside_fraction(data: Path, recipe: Recipe) -> float:
    """Return the fraction of lesions outside the region that the network gets."""
    pairs = find_pairs(data / "images", data / "lesions")
    lungs = open_lungs(recipe, pairs)
    outside = total = 0
    for pair in pairs if lungs is not None else ():
        lesion = read_image_file(pair.mask) > 0
        region = lungs.region(pair, lesion.shape)
        inside = 0 if region is None else region.cut_mask(lesion.astype(np.uint8)).sum()
        total, outside = total + lesion.sum(), outside + lesion.sum() - inside
    return float(outside / total) if total else 0.0


def cpu_milliseconds(model: Path, images: list[Path]) -> float:
    """Return the CPU time per image with one thread, the least of three runs, after a first."""
    scans = [pleura.read(path) for path in images]
    times = []
    with Segmenter(model, threads=1) as segmenter:
        for _ in range(4):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            for scan in scans:
                segmenter.segment(scan, warn=False)
            times.append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
    return 1000 * min(times[1:]) / len(images)


def measure(data: Path, output: Path, variant: str, options: argparse.Namespace) -> dict[str, Any]:
    recipe = recipe_of(data, variant, options)
    folder = output / variant
    result = cross_validate(
        data / "images",
        data / "lesions",
        folder,
        recipe,
        CrossValidationOptions(FOLDS, progress=False),
    )
    model = output / f"{variant}.onnx"
    export(folder / "fold-1", model)
    images = [data / "images" / name for name in sorted(dice_names(data))][::10]
    seconds = [sum(row["seconds"] for row in run.history()) for run in result.runs]
    return {
        "dice": dice_by_patient(data, folder / "masks"),
        "outside": outside_fraction(data, recipe),
        "training_seconds_per_fold": seconds,
        "cpu_milliseconds_per_image": cpu_milliseconds(model, images),
        "model_bytes": model.stat().st_size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["single", "cascade"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--size", type=int, default=160)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    results = {
        name: measure(options.data, options.output, name, options) for name in options.variants
    }
    path = HERE / "results" / "cascade.json"
    path.write_text(
        json.dumps({"epochs": options.epochs, "size": options.size, **results}, indent=1)
    )
    print(report(results))


def report(results: dict[str, Any]) -> str:
    """Return Markdown tables of the results."""
    patients = list(next(iter(results.values()))["dice"])
    lines = ["| patient | " + " | ".join(results) + " |", "|---" * (1 + len(results)) + "|"]
    for patient in patients:
        values = (f"{one['dice'][patient]:.3f}" for one in results.values())
        lines.append(f"| {patient} | " + " | ".join(values) + " |")
    lines.append("")
    first = next(iter(results.values()))["dice"]
    for name, one in results.items():
        values = np.array([one["dice"][patient] for patient in patients])
        difference = values - np.array([first[patient] for patient in patients])
        lines.append(
            f"{name}: mean {values.mean():.3f} {interval(values)}, difference "
            f"{difference.mean():+.3f} {interval(difference)}; lesion outside "
            f"{one['outside']:.2%}; training {np.mean(one['training_seconds_per_fold']):.0f} s "
            f"per fold; CPU {one['cpu_milliseconds_per_image']:.1f} ms per image; "
            f"{one['model_bytes'] / 1e6:.1f} MB"
        )
    return "\n".join(lines)


def interval(values: NDArray[np.float64]) -> str:
    """Return the percentile interval (95 %) of the mean over patients, from a bootstrap."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (10_000, len(values))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"({low:.3f} to {high:.3f})"


def dice_names(data: Path) -> list[str]:
    """Return the names of all images."""
    return [line.split(",")[0] for line in (data / "patients.csv").read_text().splitlines()[1:]]


if __name__ == "__main__":
    main()
