"""Lungs and lesions of COVID-19 by patient, from the folder of a cross-validation.

    pleura cross-validate DATA/covid/images DATA/covid --recipe benchmarks/lesions.yaml \
        --from greyscale --group DATA/covid/patients.csv -o FOLDS
    python benchmarks/lesions.py DATA FOLDS --worst worst.png

Dice over all pixels of a patient, as published for whole scans, with bootstrap intervals over
patients. Lungs include their lesions. Draws the slices with the lowest Dice of lesions.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from pleura.evaluation.metrics import dice
from pleura.evaluation.statistics import bootstrap_interval
from pleura.figures.plots import save_figure
from pleura.formats.image_files import read_image_file

Flags = NDArray[np.bool_]
LABELS = ("lungs", "lesions")
MIN_AREA = 100
"""Pixels of lesion, in reference or prediction, from which a slice is drawn."""


def masks_of(data: Path, folds: Path, name: str) -> dict[str, tuple[Flags, Flags]]:
    """Return reference and prediction of lungs and lesions."""
    found = read_image_file(folds / "masks" / name)
    lungs, lesions = (
        read_image_file(data / "covid" / kind / name) for kind in ("masks", "lesions")
    )
    return {"lungs": (lungs > 0, found > 0), "lesions": (lesions > 0, found == 2)}


def patient_table(
    cases: dict[str, dict[str, tuple[Flags, Flags]]], patients: dict[str, str]
) -> str:
    """Return a Markdown table with the Dice of each patient, and the mean and its interval."""
    lines = ["| patient | slices | lungs | lesions |", "|---|---|---|---|"]
    found: dict[str, list[float]] = {label: [] for label in LABELS}
    for patient in sorted(set(patients.values())):
        own = [case for name, case in cases.items() if patients[name] == patient]
        for label in LABELS:
            pairs = [case[label] for case in own]
            one, two = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
            found[label].append(dice(one, two))
        values = " | ".join(f"{found[label][-1]:.4f}" for label in LABELS)
        lines.append(f"| {patient} | {len(own)} | {values} |")
    groups = sorted(set(patients.values()))
    cells = []
    for label in LABELS:
        low, high = bootstrap_interval(found[label], groups)
        cells.append(f"{np.mean(found[label]):.4f} ({low:.4f} to {high:.4f})")
    return "\n".join([*lines, f"| mean (95 % interval) | {len(cases)} | {' | '.join(cells)} |"])


def draw_worst(
    data: Path, cases: dict[str, dict[str, tuple[Flags, Flags]]], count: int, path: Path
) -> None:
    scores = {
        name: dice(*case["lesions"])
        for name, case in cases.items()
        if max(map(np.count_nonzero, case["lesions"])) >= MIN_AREA
    }
    worst = sorted(scores, key=lambda name: scores[name])[:count]
    rows = -(-len(worst) // 5)
    figure, axes = plt.subplots(rows, 5, figsize=(15, 3.2 * rows), layout="compressed")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, worst, strict=False):
        axis.imshow(read_image_file(data / "covid" / "images" / name), cmap="gray")
        for label, colours in (("lungs", ("tab:blue", "tab:cyan")), ("lesions", ("red", "yellow"))):
            for mask, colour in zip(cases[name][label], colours, strict=True):
                if mask.any():
                    axis.contour(mask, [0.5], colors=colour, linewidths=0.8)
        axis.set_title(f"{name}  lesions {scores[name]:.2f}", fontsize=9)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("folds", type=Path, help="output folder of the cross-validation")
    parser.add_argument("--worst", type=Path, metavar="PNG", help="draw the worst slices")
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    with (options.data / "covid" / "patients.csv").open(newline="") as file:
        patients = {row["name"]: row["patient"] for row in csv.DictReader(file)}
    cases = {name: masks_of(options.data, options.folds, name) for name in patients}
    print(patient_table(cases, patients))
    if options.worst is not None:
        draw_worst(options.data, cases, options.count, options.worst)


if __name__ == "__main__":
    main()
