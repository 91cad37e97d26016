"""Recipe `default` trained without one patient of LCTSC at a time, and judged on that patient.

    python benchmarks/leave_one_out.py DATA RUNS [--set training.epochs=60]

DATA is laid out as the recipe has it. Leaves a run, a model file and scores of each patient below
RUNS, and prints the table of benchmarks/accuracy.py over the three.
"""

import argparse
import json
from pathlib import Path

from accuracy import LINES, interval, lctsc

from pleura.segmentation.segment import Segmenter
from pleura.training.export import export
from pleura.training.loop import train
from pleura.training.recipe import Recipe, build_recipe, load_recipe

PATIENTS = ("101", "201", "202")


def recipe_without(patient: str, changes: list[str]) -> Recipe:
    """Recipe `default`, changed, without one patient of LCTSC."""
    recipe = load_recipe("default", changes).model_dump(mode="json")
    (source,) = (s for s in recipe["data"] if s["images"].startswith("lctsc"))
    source["leave_out"] = [f"LCTSC-Test-S1-{patient}"]
    return build_recipe(recipe, "default")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    cases = []
    for patient in PATIENTS:
        folder = options.runs / f"without-{patient}"
        model, scores = folder.with_suffix(".onnx"), folder.with_suffix(".json")
        if not model.exists():
            recipe = recipe_without(patient, options.set)
            train(options.data, None, folder, recipe, overwrite=True)
            export(folder, model)
        with Segmenter(model) as segmenter:
            found = list(lctsc([patient], options.data, segmenter))
        scores.write_text(json.dumps(found, indent=1) + "\n")
        cases += found
        print(json.dumps(found, indent=1), flush=True)
    print("| measure | mean (95 % interval) |\n|---|---|")
    for line in LINES["lctsc"]:
        low, high = interval(cases, line.value)
        print(f"| {line.name} | {line.value(cases):.4f} ({low:.4f} to {high:.4f}) |")


if __name__ == "__main__":
    main()
