"""Measure the gain from fine-tuning a degraded model on 1 to 20 corrected scans.

    python benchmarks/corrections.py COVID RUNS

COVID is the folder of `images`, `masks` and `patients.csv`. Its slices, in HU as pleura reads them,
are stacked to scans of seven slices; the scans of three patients are the test set. The default
model is first fine-tuned on wrong masks of the other patients, without dense tissue and without the
front third of the left lung. For each number of scans, that model segments the scans, the true
masks are saved as corrections (for every third scan, the sides of the segmented mask are swapped
first), and `pleura train --from DEGRADED --corrected` fine-tunes the model. Prints a Markdown table
of the Dice of both lungs on the test set and on the sample scan, and writes
benchmarks/results/corrections.json.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import SegmentationOptions
from pleura.corrections.comparison import SAMPLE
from pleura.evaluation.metrics import dice
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter

HERE = Path(__file__).resolve().parent
SIZES = (1, 2, 5, 10, 20)
SLICES = 7
DENSE = -500
AFFINE = np.diag([-1.0, -1.0, 5.0, 1.0])
Volume = NDArray[np.int16]
Mask = NDArray[np.uint8]


def scans(covid: Path) -> dict[str, list[tuple[Volume, Mask]]]:
    """Patients, each with scans (slices, rows, columns) in HU, and masks."""
    with (covid / "patients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    name, patient = list(rows[0])[:2]
    slices = defaultdict(list)
    for row in rows:
        image = covid / "images" / row[name]
        mask = read_image_file(covid / "masks" / row[name]) > 0
        slices[row[patient]].append((read(image).hu()[0], mask.astype(np.uint8)))
    return {
        key: [
            (np.stack([hu for hu, _ in part]), np.stack([mask for _, mask in part]))
            for part in (found[i : i + SLICES] for i in range(0, len(found), SLICES))
        ]
        for key, found in slices.items()
    }


def degrade(hu: Volume, mask: Mask) -> Mask:
    """Remove dense tissue, and the front third of the image's right half."""
    wrong = mask.copy()
    wrong[hu > DENSE] = 0
    for slice_mask in wrong:
        rows = np.flatnonzero(slice_mask.any(axis=1))
        if len(rows):
            slice_mask[: rows[0] + len(rows) // 3, slice_mask.shape[1] // 2 :] = 0
    return wrong


def save(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), AFFINE), path)


def pleura(*arguments: object) -> None:
    command = [sys.executable, "-m", "pleura", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def degrade_model(pool: list[tuple[Volume, Mask]], runs: Path) -> Path:
    data = runs / "degraded-data"
    for i, (hu, mask) in enumerate(pool):
        for j, (image, lung) in enumerate(zip(hu, degrade(hu, mask), strict=True)):
            write_image_file(data / "images" / f"{i:02d}_{j}.tif", image)
            write_image_file(data / "masks" / f"{i:02d}_{j}.tif", lung * np.uint8(255))
    run = runs / "degraded"
    arguments = (data / "images", data / "masks", "-o", run, "--overwrite", "-q")
    pleura("train", *arguments, "--from", "default", "--set", "training.epochs=10")
    pleura("export", run, "-o", runs / "degraded.onnx")
    return runs / "degraded.onnx"


def scores_of(model: Path | str, test: list[tuple[Volume, Mask]]) -> dict[str, float]:
    affine = np.diag([5.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]]  # (slice, row, column) to LPS
    with Segmenter(model) as segmenter:
        found = [
            dice(mask > 0, segmenter(from_array(hu, affine=affine, units="hu")).labels > 0)
            for hu, mask in test
        ]
        sample = segmenter(read(SAMPLE / "ct.nii.gz")).labels > 0
    truth = read(SAMPLE / "lungs.nii.gz", units="hu").hu() > 0
    return {
        "test": float(np.mean(found)),
        "worst": float(np.min(found)),
        "sample": dice(truth, sample),
    }


def correct(pool: list[tuple[Volume, Mask]], n: int, model: Path, folder: Path) -> Path:
    """Segment ``n`` scans, and save the true masks as corrections."""
    shutil.rmtree(folder, ignore_errors=True)
    order = np.random.default_rng(0).permutation(len(pool))[:n]
    for i in order:
        save(folder / "scans" / f"scan-{i:02d}.nii.gz", pool[i][0])
    segment_cohort(folder / "scans", folder / "out", SegmentationOptions(model, units="hu"))
    for i in order:
        mask = folder / "out" / f"scan-{i:02d}_lungs.nii.gz"
        true = pool[i][1].copy()
        middle = true.shape[2] // 2
        true[:, :, middle:] *= 2  # the patient's left is on the image's right
        if i % 3 == 0:  # the model's mask with its sides swapped
            before = nib.load(mask)
            labels = np.asarray(before.dataobj)
            swapped = np.choose(labels, [0, 2, 1]).astype(np.uint8)
            nib.save(nib.Nifti1Image(swapped, before.affine), mask)
        save(mask.with_name(f"scan-{i:02d}_lungs.corrected.nii.gz"), true)
    return folder / "out"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("covid", type=Path)
    parser.add_argument("runs", type=Path)
    options = parser.parse_args()
    by_patient = scans(options.covid)
    patients = sorted(by_patient)
    pool = [scan for key in patients[:-3] for scan in by_patient[key]]
    test = [scan for key in patients[-3:] for scan in by_patient[key]]
    model = degrade_model(pool, options.runs)
    found = {"default": scores_of("default", test), "0": scores_of(model, test)}
    for n in SIZES:
        out = correct(pool, n, model, options.runs / f"corrected-{n}")
        run = options.runs / f"fine-tuned-{n}"
        arguments = ("--corrected", out, "-o", run, "--overwrite", "-q")
        pleura("train", "--from", model, *arguments)
        found[str(n)] = scores_of(run / "model.onnx", test)
        (HERE / "results" / "corrections.json").write_text(json.dumps(found, indent=1) + "\n")
    print("| corrected scans | test, mean Dice | worst scan | sample scan |")
    print("|---|---|---|---|")
    for name, scores in found.items():
        print(f"| {name} | " + " | ".join(f"{s:.4f}" for s in scores.values()) + " |")


if __name__ == "__main__":
    main()
