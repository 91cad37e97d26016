"""Right and left lung as two classes, compared with one class whose sides the geometry gives.

    python benchmarks/sides.py DATA RUNS --seeds 220 1 2

Each patient of LCTSC is segmented by networks that were trained on the other two: the network of
recipe `default` from random weights, without simulation. Every second slice is for training. DATA
is as for recipe `default`. Prints a Markdown table of the mean over patients for each seed.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from pleura.evaluation.metrics import dice
from pleura.evaluation.surface import distance_metrics
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter
from pleura.training.export import export
from pleura.training.options import TrainingOptions
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import load_recipe
from pleura.training.train import train

PATIENTS = ("LCTSC-Test-S1-101", "LCTSC-Test-S1-201", "LCTSC-Test-S1-202")
LABELS = {"one class": "{}", "two classes": "{1: right lung, 2: left lung}"}
VALIDATION_STEP = 12

Row = dict[str, float]


def link_volumes(data: Path, folder: Path, patients: list[str]) -> Path:
    """Link the volumes of patients into folders of images and masks; return the split file."""
    lines = ["name,subset"]
    for kind, name in (("images", "ct.nii.gz"), ("masks", "lungs.nii.gz")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for patient in patients:
            link = folder / kind / f"{patient}.nii.gz"
            link.unlink(missing_ok=True)
            link.symlink_to((data / "lctsc" / patient / name).resolve())
    for patient in patients:
        slices = read(data / "lctsc" / patient / "ct.nii.gz").geometry.shape[0]
        for i in range(slices):
            odd = "validation" if i % VALIDATION_STEP == 1 else "test"
            lines.append(f"{patient}.nii.gz#{i:03d},{odd if i % 2 else 'training'}")
    split = folder / "split.csv"
    split.write_text("\n".join(lines) + "\n")
    return split


def recipe_of(labels: str, split: Path, seed: int, changes: list[str]) -> Recipe:
    return load_recipe(
        "default",
        [
            "data.sources=[]",
            f"data.labels={labels}",
            "simulation=null",
            "schedule.restarts=[]",
            "training.batch_size=8",
            "training.epochs=30",
            "training.ema_decay=0.99",
            "split.method=file",
            f"split.file={split}",
            f"training.seed={seed}",
            *changes,
        ],
    )


def scores(data: Path, patient: str, segmenter: Segmenter) -> Row:
    """Return Dice and HD95 of each side, the fraction of swapped voxels, and seconds."""
    scan = read(data / "lctsc" / patient / "ct.nii.gz")
    reference = read(data / "lctsc" / patient / "lungs.nii.gz", units="hu").hu()
    begin = time.process_time()
    labels = segmenter(scan).labels
    row = {"seconds": time.process_time() - begin}
    spacing = scan.geometry.spacing
    for side, value in (("right", 1), ("left", 2)):
        one, two = reference == value, labels == value
        row[f"dice_{side}"] = dice(one, two)
        row[f"hd95_{side}"] = distance_metrics(one, two, spacing)["hd95"]
    both = (reference > 0) & (labels > 0)
    row["swapped"] = float((reference != labels)[both].mean())
    without = ~(reference > 0).any((1, 2))
    row["false_slices"] = float((labels > 0).any((1, 2))[without].mean())
    return row


def runs(data: Path, folder: Path, seed: int, changes: list[str]) -> Iterator[tuple[str, Row]]:
    for patient in PATIENTS:
        volumes = folder / patient
        split = link_volumes(data, volumes, [name for name in PATIENTS if name != patient])
        for kind, labels in LABELS.items():
            run = folder / f"{patient}-{seed}-{kind.replace(' ', '-')}"
            model = run.with_suffix(".onnx")
            begin = time.process_time()
            if not model.exists():
                recipe = recipe_of(labels, split, seed, changes)
                options = TrainingOptions(overwrite=True)
                train(volumes / "images", volumes / "masks", run, recipe, options=options)
                export(run, model)
            row = scores(data, patient, Segmenter(model))
            yield kind, row | {"training": time.process_time() - begin - row["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[220])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    print(
        "| seed | kind | Dice right | left | HD95, mm right | left | swapped | false slices |",
        end="",
    )
    print(" segmentation, CPU s | training, CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for seed in options.seeds:
        found: dict[str, list[Row]] = {kind: [] for kind in LABELS}
        for kind, row in runs(options.data, options.runs, seed, options.set):
            found[kind].append(row)
        for kind, rows in found.items():
            cells = [
                f"{mean(row[key] for row in rows):{form}}"
                for key, form in (
                    ("dice_right", ".4f"),
                    ("dice_left", ".4f"),
                    ("hd95_right", ".1f"),
                    ("hd95_left", ".1f"),
                    ("swapped", ".2%"),
                    ("false_slices", ".1%"),
                    ("seconds", ".1f"),
                    ("training", ".0f"),
                )
            ]
            print(f"| {seed} | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
