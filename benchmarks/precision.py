"""A run in float32, bfloat16 and int8: milliseconds a slice, and what Dice it costs.

    python benchmarks/precision.py DATA RUN

Both files are what `pleura export` makes of the run, with and without `--int8 DATA`. Dice is that
of the network alone, without cleaning, on the validation slices of kmader, the scans of lctsc and
the images of covid: against the references, and against float32's masks. Prints a Markdown
table, writes benchmarks/results/precision.json.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import overlap
from numpy.typing import NDArray

from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.splits import SplitRecipe, split_names
from pleura.engine.engine import Engine
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.training.export import ExportOptions, export

HERE = Path(__file__).resolve().parent
FACTOR = 0.8165
Slices = NDArray[np.int16]
Case = tuple[str, Slices, NDArray[np.bool_]]


def kmader(data: Path, part: str) -> Iterator[Case]:
    pairs = find_pairs(data / "kmader" / "2d_images", data / "kmader" / "2d_masks")
    split = split_names(
        [p.name for p in pairs], SplitRecipe(training_fraction=0.6, validation_fraction=0.2)
    )
    for pair in pairs:
        if pair.name in getattr(split, part):
            image, mask = read_pair(pair)
            yield "kmader", np.rint(image / FACTOR).astype(np.int16)[None], mask[None] > 0


def lctsc(data: Path) -> Iterator[Case]:
    for folder in sorted((data / "lctsc").iterdir()):
        scan, lungs = read(folder / "ct.nii.gz"), read(folder / "lungs.nii.gz", units="hu")
        order = scan.geometry.to_canonical()
        yield "lctsc", order.apply(scan.hu()), order.apply(lungs.hu()) > 0


def covid(data: Path) -> Iterator[Case]:
    for path in sorted((data / "covid" / "images").iterdir()):
        mask = read_image_file(data / "covid" / "masks" / path.name)
        yield "covid", read(path).hu(), mask[None] > 0


def milliseconds(engine: Engine, repetitions: int = 30) -> float:
    """Of a slice of 512x512 in batches of eight: the best of many."""
    hu = np.random.default_rng(0).integers(-1000, 400, (8, 512, 512), np.int16)
    seconds = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        engine.probability(hu)
        seconds.append(time.perf_counter() - begin)
    return min(seconds) / 8 * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    cases = [*kmader(options.data, "validation"), *lctsc(options.data), *covid(options.data)]
    results: dict[str, Any] = {}
    exact: list[NDArray[np.bool_]] = []
    folder = Path(tempfile.mkdtemp())
    full, eight = folder / "full.onnx", folder / "int8.onnx"
    export(options.run, full)
    export(options.run, eight, ExportOptions(options.data))
    print("| precision | ms a slice | kmader | lctsc | covid | loss of Dice, most |")
    print("|---|---|---|---|---|---|")
    for name, model, precision in (
        ("float32", full, "fp32"),
        ("bfloat16", full, "bf16"),
        ("int8 and float32", eight, "fp32"),
        ("int8 and bfloat16", eight, "bf16"),
    ):
        engine = Engine(model, options.threads, precision)
        masks = [
            np.concatenate([engine.probability(hu[i : i + 8]) for i in range(0, len(hu), 8)])
            >= engine.threshold_level
            for _, hu, _ in cases
        ]
        exact = exact or masks
        scores: dict[str, list[float]] = {}
        losses: dict[str, list[float]] = {}
        for (kind, _, reference), mask, best in zip(cases, masks, exact, strict=True):
            scores.setdefault(kind, []).append(overlap(reference, mask)["dice"])
            losses.setdefault(kind, []).append(overlap(reference, best)["dice"] - scores[kind][-1])
        means = {kind: float(np.mean(values)) for kind, values in scores.items()}
        loss = max(float(np.mean(values)) for values in losses.values())
        ms = milliseconds(engine)
        results[name] = {"ms": ms, "dice": means, "loss": loss}
        cells = " | ".join(f"{value:.4f}" for value in means.values())
        print(f"| {name} | {ms:.2f} | {cells} | {loss:.4f} |", flush=True)
    target = HERE / "results" / "precision.json"
    target.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
