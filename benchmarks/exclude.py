"""What leaving out wrong references gives: recipe `quick` on kmader, with and without them.

    python benchmarks/exclude.py KMADER [--seeds 1 2]

The training part's wrong references, as `pleura check` names them, are left out or not; nothing
else changes. Evaluated on the test subset without the slice whose reference is wrong. Prints
a Markdown table, writes benchmarks/results/exclude.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from accuracy import WRONG_REFERENCES

from pleura.training.evaluation import evaluate
from pleura.training.recipe_loading import load_recipe
from pleura.training.train import train

HERE = Path(__file__).resolve().parent
WRONG = ("ID_0052_Z_0108.tif", "ID_0079_Z_0072.tif", "ID_0134_Z_0137.tif")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kmader", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    data = options.kmader / "2d_images", options.kmader / "2d_masks"
    results: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        for name, out in (("with them", ()), ("without them", WRONG)):
            settings = [f"training.seed={seed}", f"split.exclude={json.dumps(out)}"]
            with tempfile.TemporaryDirectory() as folder:
                run = train(*data, Path(folder) / "run", load_recipe("quick", settings))
                found = evaluate(run, *data)
            scores = [
                score.metrics for score in found.defined() if score.case not in WRONG_REFERENCES
            ]
            row = results.setdefault(name, {"iou": [], "worst": [], "hd95": []})
            ious = [one["iou"] for one in scores]
            row["iou"].append(float(np.mean(ious)))
            row["worst"].append(min(ious))
            row["hd95"].append(float(np.mean([one["hd95"] for one in scores])))
            print(seed, name, row, flush=True)
    print("| training | IoU by seed | worst slice | HD95, px |\n|---|---|---|---|")
    for name, row in results.items():
        cells = [", ".join(f"{v:.4g}" for v in row[key]) for key in ("iou", "worst", "hd95")]
        print(f"| {name} | {' | '.join(cells)} |")
    (HERE / "results" / "exclude.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
