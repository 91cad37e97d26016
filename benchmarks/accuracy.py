"""Measure the accuracy of a model on the public sets of the recipe `default`.

    python benchmarks/accuracy.py MODEL.onnx DATA --sets kmader-validation lctsc covid

    python benchmarks/accuracy.py default DATA --sets card --runs RUNS     # table of the model card

The whole segmentation is evaluated: units, network, postprocessing, sides. Each image is a case,
and so is each lung of a whole scan. `left-out` reads the results of
`benchmarks/leave_one_out.py DATA RUNS`. Prints a Markdown table with bootstrap intervals over
patients, and writes each case to benchmarks/results/accuracy/NAME.json.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import pleura
from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.simulation import simulate_effect
from pleura.dataset.splits import SplitRecipe, split_names
from pleura.errors import PleuraError
from pleura.evaluation.metrics import dice, iou
from pleura.evaluation.statistics import bootstrap_interval
from pleura.evaluation.surface import distance_metrics
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.segmentation.segmenter import Segmenter

HERE = Path(__file__).resolve().parent
FACTOR = 0.8165  # of kmader's stored values to HU
WRONG_REFERENCES = ("ID_0254_Z_0075.tif",)

CARD = ("kmader-test", "perturbed-test", "left-out", "covid", "precision")

Case = dict[str, Any]
Flags = NDArray[np.bool_]


def overlap(reference: Flags, found: Flags) -> Case:
    """Return IoU and Dice; 1 if both are empty, which is counted separately."""
    empty = not reference.any() and not found.any()
    scores = (1.0, 1.0) if empty else (iou(reference, found), dice(reference, found))
    return {"iou": scores[0], "dice": scores[1], "empty": empty}


def kmader(part: str, data: Path, segmenter: Segmenter) -> Iterator[Case]:
    pairs = find_pairs(data / "kmader" / "2d_images", data / "kmader" / "2d_masks")
    split = split_names(
        [p.name for p in pairs], SplitRecipe(training_fraction=0.6, validation_fraction=0.2)
    )
    chosen = set(getattr(split, part))
    for pair in (p for p in pairs if p.name in chosen):
        image, mask = read_pair(pair)
        scan = pleura.from_array(np.rint(image / FACTOR).astype(np.int16), units="hu")
        found = segmenter.segment(scan, keep_probability=True)
        yield {
            "case": pair.name,
            **overlap(mask > 0, found.labels[0] > 0),
            "small": small_grid(mask, found.probability, segmenter.threshold_level),
        }


def small_grid(mask: NDArray[np.uint8], probability: Any, threshold: int) -> float:
    """Return the IoU on the grid of the exercise, 128x128, sampled like its masks."""
    options = {"dsize": (128, 128), "interpolation": cv2.INTER_NEAREST}
    reference = cv2.resize(mask, **options) > 0
    found = cv2.resize(probability[0], **options) >= threshold
    return overlap(reference, found)["iou"]


FAULTS = (
    "kernel",
    "noise",
    "motion",
    "metal",
    "field_of_view",
    "window",
    "clahe",
    "calibration",
    "external_objects",
    "gas",
)


def perturbed(part: str, data: Path, segmenter: Segmenter) -> Iterator[Case]:
    """Yield the loss of Dice that each simulated effect causes on each slice."""
    pairs = find_pairs(data / "kmader" / "2d_images", data / "kmader" / "2d_masks")
    split = split_names(
        [p.name for p in pairs], SplitRecipe(training_fraction=0.6, validation_fraction=0.2)
    )
    chosen = set(getattr(split, part)) - set(WRONG_REFERENCES)
    for i, pair in enumerate(p for p in pairs if p.name in chosen):
        image, mask = read_pair(pair)
        hu = np.clip(np.rint(image / FACTOR), -1024, 30000).astype(np.float32)
        plain = found_dice(hu, mask, segmenter)
        for j, fault in enumerate((*FAULTS, "upside down", "8-bit lung window")):
            rng = np.random.default_rng((i, j))
            units, reference = "hu", mask
            if fault == "upside down":
                changed, reference = hu[::-1], mask[::-1]
            elif fault == "8-bit lung window":
                changed = np.clip((hu + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
                units = "auto"
            else:
                changed, kept = simulate_effect(fault, hu, mask.astype(np.float32), rng)
                reference = kept > 0.5
            dice = found_dice(changed, reference, segmenter, units)
            yield {"case": f"{pair.name} {fault}", "fault": fault, "drop": plain - dice}


def found_dice(image: Any, mask: Any, segmenter: Segmenter, units: Any = "hu") -> float:
    try:
        scan = pleura.from_array(np.ascontiguousarray(image), units=units)
        return float(overlap(mask > 0, segmenter(scan).labels[0] > 0)["dice"])
    except PleuraError as error:
        print(error, file=sys.stderr)
        return 0.0


def lctsc(patients: list[str], data: Path, segmenter: Segmenter) -> Iterator[Case]:
    for patient in patients:
        folder = data / "lctsc" / f"LCTSC-Test-S1-{patient}"
        scan = read(folder / "ct.nii.gz")
        reference = read(folder / "lungs.nii.gz", units="hu").hu()
        labels = segmenter(scan).labels
        spacing = scan.geometry.spacing
        per_slice = spacing[1] * spacing[2] * np.array([(x > 0).sum() for x in labels])
        without = ~(reference > 0).any((1, 2))
        false = float((per_slice[without] > 50).mean())
        case = {"patient": patient, "false_slices": false}
        yield {"case": f"{patient} both", **case, **overlap(reference > 0, labels > 0)}
        for side, label in (("right", 1), ("left", 2)):
            one, two = reference == label, labels == label
            score = overlap(one, two)
            yield {
                "case": f"{patient} {side}",
                **case,
                **score,
                "hd95": distance_metrics(one, two, spacing)["hd95"],
            }


def covid(data: Path, segmenter: Segmenter) -> Iterator[Case]:
    for path in sorted((data / "covid" / "images").iterdir()):
        mask = read_image_file(data / "covid" / "masks" / path.name) > 0
        labels = segmenter(read(path)).labels[0] > 0
        yield {"case": path.name, "patient": patient_of(data, path), **overlap(mask, labels)}


def patient_of(data: Path, path: Path) -> str:
    rows = (data / "covid" / "patients.csv").read_text().splitlines()[1:]
    return next(row.split(",")[1] for row in rows if row.split(",")[0] in (path.name, path.stem))


@dataclass(frozen=True)
class ResultRow:
    """A row of the table: a mean over the cases that have the value and are kept."""

    name: str
    value_of: Callable[[Case], float]
    keep: Callable[[Case], bool] = lambda _: True

    def _values(self, cases: list[Case]) -> list[float]:
        return [self.value_of(c) if self.keep(c) else float("nan") for c in cases]

    def value(self, cases: list[Case]) -> float:
        return float(np.nanmean(self._values(cases)))

    def interval(self, cases: list[Case]) -> tuple[float, float]:
        """Return the 95 % bootstrap interval over patients."""
        patients = [case.get("patient", case["case"].split(" ")[0]) for case in cases]
        found = bootstrap_interval(self._values(cases), patients, n_resamples=1000)
        return found or (float("nan"), float("nan"))


def right_reference(case: Case) -> bool:
    return case["case"] not in WRONG_REFERENCES


def one_lung(case: Case) -> bool:
    return "hd95" in case


def not_empty(case: Case) -> bool:
    return not case["empty"]


_WHOLE_SCANS = (
    ResultRow("Dice of each lung", itemgetter("dice"), one_lung),
    ResultRow("HD95 of each lung, mm", itemgetter("hd95"), one_lung),
    ResultRow("share of slices without lung that get more than 50 mm2", itemgetter("false_slices")),
)
LINES: dict[str, tuple[ResultRow, ...]] = {
    "kmader": (
        ResultRow("IoU, native, right references", itemgetter("iou"), right_reference),
        ResultRow("Dice, native, right references", itemgetter("dice"), right_reference),
        ResultRow("IoU, native, all", itemgetter("iou")),
        ResultRow("IoU, 128x128, right references", itemgetter("small"), right_reference),
    ),
    "perturbed": (ResultRow("drop in Dice", itemgetter("drop")),),
    "lctsc": _WHOLE_SCANS,
    "left": _WHOLE_SCANS,
    "precision": (ResultRow("drop in Dice against float32", itemgetter("drop")),),
    "covid": (
        ResultRow("Dice", itemgetter("dice"), not_empty),
        ResultRow("share of slices under 0.9", lambda case: float(case["dice"] < 0.9)),
    ),
}


def in_float32(data: Path, segmenter: Segmenter, exact: Segmenter) -> Iterator[Case]:
    """Yield the loss of Dice of the validation slices and covid in the faster precision."""
    for judge in (lambda s: kmader("validation", data, s), lambda s: covid(data, s)):
        for fast, full in zip(judge(segmenter), judge(exact), strict=True):
            yield {**fast, "drop": full["dice"] - fast["dice"]}


def run(
    name: str,
    data: Path,
    segmenter: Segmenter,
    patients: list[str],
    runs: Path | None = None,
) -> list[Case]:
    kind, _, part = name.partition("-")
    if kind == "left":
        return [c for p in patients for c in json.loads((runs / f"without-{p}.json").read_text())]
    if kind == "precision":
        with Segmenter(runs / "float32.onnx", precision="fp32") as exact:
            return list(in_float32(data, segmenter, exact))
    if kind in ("kmader", "perturbed"):
        judge = kmader if kind == "kmader" else perturbed
        return list(judge(part, data, segmenter))
    return list(covid(data, segmenter) if kind == "covid" else lctsc(patients, data, segmenter))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--sets",
        nargs="+",
        default=["kmader-validation", "lctsc", "covid"],
        help="kmader-validation, kmader-test, perturbed-validation, perturbed-test, lctsc, covid, "
        "left-out, precision; card: the sets of the model card",
    )
    parser.add_argument(
        "--runs", type=Path, help="what leave_one_out.py left, and float32.onnx, the model in full"
    )
    parser.add_argument("--patients", nargs="+", default=["101", "201", "202"], help="of lctsc")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--name", help="of the result; the model file's if unset")
    options = parser.parse_args()
    results: dict[str, list[Case]] = {}
    sets = CARD if options.sets == ["card"] else options.sets
    if options.runs is None and {"left-out", "precision"} & set(sets):
        parser.error("left-out and precision need --runs")
    print("| set | measure | mean (95 % interval) | worst |\n|---|---|---|---|")
    with Segmenter(options.model, precision=options.precision) as segmenter:
        for name in sets:
            cases = results[name] = run(
                name, options.data, segmenter, options.patients, options.runs
            )
            for line in LINES[name.partition("-")[0]]:
                low, high = line.interval(cases)
                value = f"{line.value(cases):.4f} ({low:.4f} to {high:.4f})"
                print(f"| {name} | {line.name} | {value} | |")
            worst = sorted(cases, key=lambda c: c["dice"] if "dice" in c else -c["drop"])[:5]
            listed = [f"{c['case']} {c['dice'] if 'dice' in c else c['drop']:.3f}" for c in worst]
            print(f"| {name} | worst | | {'; '.join(listed)} |", flush=True)
    target = HERE / "results" / "accuracy" / f"{options.name or options.model.stem}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(target.read_text()) if target.exists() else {}
    target.write_text(json.dumps({**earlier, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
