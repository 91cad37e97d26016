"""What masks that pleura draws do to the measures of the exercise's data set.

    python benchmarks/measures.py KMADER

Measures of the test part's slices (without those whose reference is wrong), in HU, from our masks
less those from the references, and beside them the set's own columns, which are of stored values.
Prints a Markdown table, writes benchmarks/results/measures.json and docs/pictures/agreement.png.
"""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import FACTOR, WRONG_REFERENCES
from matplotlib.figure import Figure

from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.splits import SplitRecipe, split_names
from pleura.evaluation.statistics import Agreement, agreement
from pleura.figures.palette import TRAINING, VALIDATION
from pleura.formats.images import from_array
from pleura.masks.mask import Mask
from pleura.measurement.measure import measure
from pleura.segmentation.segmenter import Segmenter

HERE = Path(__file__).resolve().parent
COLUMNS = {  # of lung_stats.csv, with the unit of their differences
    "lung_area_px": "px",
    "lung_volume_fraction": "",
    "lung_mean_hu": "HU",
    "lung_pd95_hu": "HU",
    "lung_pd05_hu": "HU",
}


def columns_of(values: Any, inside: Any) -> dict[str, float]:
    scan = from_array(np.clip(values, -1024, 32767).astype(np.int16), units="hu")
    found = measure(scan, Mask(inside[None].astype(np.uint8), scan, sides=False)).slices[0]
    return {
        "lung_area_px": found.area_px,
        "lung_volume_fraction": found.share_of_slice,
        "lung_mean_hu": found.mean,
        "lung_pd95_hu": found.percentiles["Perc95"],
        "lung_pd05_hu": found.percentiles["Perc05"],
    }


def draw(kinds: dict[str, dict[str, list[tuple[float, float]]]], target: Path) -> None:
    figure = Figure(figsize=(15, 3.4), layout="constrained")
    for axes, (name, unit) in zip(figure.subplots(1, len(COLUMNS)), COLUMNS.items(), strict=True):
        first, second = np.array(kinds["HU"][name]).T
        found = agreement(first, second)
        axes.plot((first + second) / 2, second - first, ".", color=TRAINING)
        for value, style in (
            (found.bias, "-"),
            (found.lower_limit, "--"),
            (found.upper_limit, "--"),
        ):
            axes.axhline(value, color=VALIDATION, linestyle=style, linewidth=1)
        axes.set(title=name, xlabel=f"mean of both, {unit}".rstrip(", "))
        axes.locator_params(axis="x", nbins=4)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("pleura minus reference")
    figure.savefig(target, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kmader", type=Path)
    parser.add_argument("--subset", default="test", choices=["test", "validation"])
    options = parser.parse_args()
    with (options.kmader / "lung_stats.csv").open(newline="") as file:
        table = {row["img_id"]: row for row in csv.DictReader(file)}
    pairs = find_pairs(options.kmader / "2d_images", options.kmader / "2d_masks")
    split = split_names(
        [p.name for p in pairs], SplitRecipe(training_fraction=0.6, validation_fraction=0.2)
    )
    chosen = set(getattr(split, options.subset)) - set(WRONG_REFERENCES)
    kinds: dict[str, dict[str, list[tuple[float, float]]]] = {
        kind: {name: [] for name in COLUMNS} for kind in ("stored", "HU")
    }
    with Segmenter(None) as segmenter:
        for pair in (p for p in pairs if p.name in chosen):
            stored, reference = read_pair(pair)
            hu = np.clip(np.rint(stored / FACTOR), -1024, 32767).astype(np.int16)
            ours = segmenter(from_array(hu, units="hu")).labels[0] > 0
            both = columns_of(stored, ours), columns_of(hu, ours)
            for name in COLUMNS:
                theirs = columns_of(hu, reference > 0)
                kinds["stored"][name].append((float(table[pair.name][name]), both[0][name]))
                kinds["HU"][name].append((theirs[name], both[1][name]))
    results: dict[str, dict[str, Agreement]] = {
        kind: {name: agreement(*zip(*pairs, strict=True)) for name, pairs in columns.items()}
        for kind, columns in kinds.items()
    }
    print("| column | values | mean absolute error | bias | limits of agreement |")
    print("|---|---|---|---|---|")
    for name, unit in COLUMNS.items():
        for kind in kinds:
            one = results[kind][name]
            error = f"{one.mean_absolute_difference:.4g} {unit}".strip()
            limits = f"{one.lower_limit:+.4g} to {one.upper_limit:+.4g}"
            print(f"| {name} | {kind} | {error} | {one.bias:+.4g} | {limits} |")
    content = {kind: {k: asdict(v) for k, v in row.items()} for kind, row in results.items()}
    (HERE / "results" / "measures.json").write_text(json.dumps(content, indent=1) + "\n")
    draw(kinds, HERE.parent / "docs" / "pictures" / "agreement.png")


if __name__ == "__main__":
    main()
