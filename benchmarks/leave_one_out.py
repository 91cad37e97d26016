"""Recipe `default` trained without one patient of LCTSC at a time, and evaluated on that patient.

    python benchmarks/leave_one_out.py DATA RUNS [--set training.epochs=60] [--patients 202]

DATA has the layout of the recipe. The masks that ship with the recipe were predicted by a model
that was trained on all three patients. They are replaced by predictions of a first model, which is
trained without the patient and without those masks. Writes runs, model files and scores of each
patient below RUNS, and prints the table of benchmarks/accuracy.py over the three.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from accuracy import LINES, lctsc

from pleura.formats.image_files import write_image_file
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter
from pleura.training.export import export
from pleura.training.options import TrainingOptions
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import build_recipe, load_recipe
from pleura.training.train import train

PATIENTS = ("101", "201", "202")


def ships(masks: str | None) -> bool:
    return masks is not None and masks.startswith("pleura:")


def recipe_without(patient: str, changes: list[str], masks: Path | None = None) -> Recipe:
    """Recipe `default`, changed, without one patient of LCTSC.

    ``masks`` is the folder of those in place of the masks that ship; None leaves their slices out.
    """
    recipe = load_recipe("default", changes).model_dump(mode="json")
    data = recipe["data"]
    if masks is None:
        data["sources"] = [source for source in data["sources"] if not ships(source["masks"])]
    for source in data["sources"]:
        if source["images"].startswith("lctsc"):
            source["exclude"] = [f"LCTSC-Test-S1-{patient}"]
        if ships(source["masks"]):
            source["masks"] = f"{masks}/*.png"
    return build_recipe(recipe, "default")


def trained(data: Path, recipe: Recipe, model: Path) -> None:
    if not model.exists():
        folder = model.with_suffix("")
        train(data, None, folder, recipe, options=TrainingOptions(overwrite=True))
        export(folder, model)


def write_masks(data: Path, model: Path, folder: Path) -> None:
    """Segment the slices whose masks ship."""
    folder.mkdir(exist_ok=True)
    (source,) = (s for s in load_recipe("default").data.sources if ships(s.masks))
    with Segmenter(model) as segmenter:
        for name in source.only:
            labels = segmenter(read(data / source.images.replace("*", name))).labels
            write_image_file(folder / f"{name}.png", np.where(labels[0], 255, 0).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--patients", nargs="+", default=PATIENTS, choices=PATIENTS)
    options = parser.parse_args()
    cases = []
    for patient in options.patients:
        first_model = options.runs / f"first-without-{patient}.onnx"
        masks = options.runs.resolve() / f"masks-without-{patient}"
        model = options.runs / f"without-{patient}.onnx"
        trained(options.data, recipe_without(patient, options.set), first_model)
        write_masks(options.data, first_model, masks)
        trained(options.data, recipe_without(patient, options.set, masks), model)
        with Segmenter(model) as segmenter:
            found = list(lctsc([patient], options.data, segmenter))
        model.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
        cases += found
        print(json.dumps(found, indent=1), flush=True)
    print("| measure | mean (95 % interval) |\n|---|---|")
    for line in LINES["lctsc"]:
        low, high = line.interval(cases)
        print(f"| {line.name} | {line.value(cases):.4f} ({low:.4f} to {high:.4f}) |")


if __name__ == "__main__":
    main()
