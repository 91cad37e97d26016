"""How good is recipe `exercise-plus`? The exercise's data and split, over seeds.

    python benchmarks/plus.py IMAGES MASKS
    python benchmarks/plus.py --table

One JSON a seed in benchmarks/results/plus; a seed that is there is not repeated. Prints a Markdown
table of mean IoU at each run's own threshold, which it chose on validation images.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pleura
from pleura.training.callbacks import TrainingCallbacks

RESULTS = Path(__file__).parent / "results" / "plus"
SEEDS = (220, 1, 2, 3, 4)
WRONG = "ID_0254"
"""A test slice whose reference marks the air around the patient."""

COLUMNS = {
    "threshold": "threshold",
    "validation": "validation IoU, 512x512",
    "test_128": "test IoU, 128x128",
    "test": "test IoU, 512x512",
    "test_rest": f"the same without {WRONG}",
    "worst_rest": "worst slice of those",
}


def run(images: Path, masks: Path, seed: int) -> dict[str, Any]:
    recipe = pleura.load_recipe("exercise-plus", [f"training.seed={seed}", "training.device=cpu"])
    begin = time.perf_counter()

    def on_read(_: int, __: int) -> None:
        nonlocal begin
        begin = time.perf_counter()  # training begins when the last pair is read

    with tempfile.TemporaryDirectory() as folder:
        trained = pleura.train(
            images, masks, Path(folder, "run"), recipe, callbacks=TrainingCallbacks(on_read)
        )
        seconds = time.perf_counter() - begin
        at = trained.threshold
        validation = pleura.evaluate(trained, images, masks, subset="validation")
        test = pleura.evaluate(trained, images, masks)
    cases = {score.case: score.metrics["iou"] for score in test.defined()}
    rest = [iou for name, iou in cases.items() if not name.startswith(WRONG)]
    return {
        "seed": seed,
        "versions": trained.record["versions"],
        "precision": trained.record["precision"],
        "train_seconds": seconds,
        "threshold": at,
        "validation": validation.summary()["iou"].mean,
        "test_128": test.overlaps["128x128"][at].summary()["iou"].mean,
        "test": test.summary()["iou"].mean,
        "test_rest": fmean(rest),
        "worst_rest": min(rest),
        "cases": cases,
    }


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        f"| seed | {' | '.join(COLUMNS.values())} | training, s |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for result in results:
        cells = " | ".join(f"{result[column]:.4g}" for column in COLUMNS)
        lines.append(f"| {result['seed']} | {cells} | {result['train_seconds']:.0f} |")
    for name, over in (("mean", fmean), ("worst", min)):
        cells = " | ".join(f"{over(r[c] for r in results):.4g}" for c in list(COLUMNS)[1:])
        lines.append(f"| {name} | | {cells} | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("masks", type=Path, nargs="?")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    if not options.table and options.masks is None:
        parser.error("give IMAGES and MASKS, or --table")
    RESULTS.mkdir(parents=True, exist_ok=True)
    files = [RESULTS / f"{seed}.json" for seed in SEEDS]
    for seed, file in zip(SEEDS, files, strict=True):
        if not options.table and not file.exists():
            result = run(options.images, options.masks, seed)
            file.write_text(json.dumps(result, indent=2) + "\n")
    print(table([json.loads(file.read_text()) for file in files if file.exists()]))


if __name__ == "__main__":
    main()
