"""Range of results of the tutorial: recipe `quick` on the shipped sample, over seeds.

    python benchmarks/first_unet.py [--seeds 220 1 2 3 4] [--threads N]

Trains and evaluates as docs/tutorials/first-unet.md does, with several seeds. Prints a Markdown
table, and writes the IoU of every test slice to benchmarks/results/first_unet.json.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from statistics import fmean, median

import pleura

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "tests" / "data" / "sample"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[220, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, help="CPU threads; one per core by default")
    options = parser.parse_args()
    warnings.simplefilter("ignore", pleura.DataWarning)  # of near-duplicate slices
    threads = [] if options.threads is None else [f"training.threads={options.threads}"]
    columns = ("seed", "mean IoU", "median", "worst", "worst slice", "slices with IoU 0")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    results = {}
    for seed in options.seeds:
        ious = results[seed] = ious_of(seed, threads)
        worst = min(ious, key=lambda name: ious[name])
        values = sorted(ious.values())
        row = f"{fmean(values):.3f} | {median(values):.3f} | {values[0]:.3f} | {worst}"
        print(f"| {seed} | {row} | {values.count(0)} |", flush=True)
    target = HERE / "results" / "first_unet.json"
    target.write_text(json.dumps(results, indent=1) + "\n")


def ious_of(seed: int, settings: list[str]) -> dict[str, float]:
    """Train with a seed and return the IoU of each test slice on its own grid."""
    recipe = pleura.load_recipe(
        "quick",
        [
            f"training.seed={seed}",
            "split.method=file",
            f"split.file={SAMPLE / 'split.csv'}",
            *settings,
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        run = pleura.train(SAMPLE / "images", SAMPLE / "masks", folder, recipe)
        found = pleura.evaluate(run, SAMPLE / "images", SAMPLE / "masks")
    return {score.case: round(score.metrics["iou"], 4) for score in found.defined()}


if __name__ == "__main__":
    main()
