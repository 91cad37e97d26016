"""Recipe `exercise` trained and evaluated with pleura, with the options and figures of its peer.

    python benchmarks/pleura_exercise.py IMAGES MASKS --scaling max --seed 220 --json out.json

The peer is keras_exercise.py; the JSON of both has the same keys.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

import pleura
from pleura.network.build import build_network
from pleura.training.callbacks import StepReport, TrainingCallbacks
from pleura.training.history import Epoch

HISTORY = {
    "accuracy": "accuracy",
    "loss": "loss",
    "val_accuracy": "validation_accuracy",
    "val_loss": "validation_loss",
    "learning_rate": "learning_rate",
}
"""Keras's name of each column, and pleura's."""


class Clock:
    """Seconds from one step's end to the next one's in an epoch, and of each validation.

    The first epoch is warm-up and left out.
    """

    def __init__(self) -> None:
        self.begin = self.step = 0.0
        self.steps: list[float] = []
        self.validations: list[float] = []

    def on_read(self, done: int, total: int) -> None:
        self.begin = time.perf_counter()  # training begins when the last pair is read

    def on_step(self, report: StepReport) -> None:
        now = time.perf_counter()
        if report.epoch > 1 and report.step > 1:
            self.steps.append(now - self.step)
        self.step = now

    def on_epoch(self, row: Epoch) -> None:
        if row["epoch"] > 1:
            self.validations.append(time.perf_counter() - self.step)
        print(", ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--scaling", choices=["max", "minmax"], default="max")
    parser.add_argument("--seed", type=int, default=220)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, help="as many as there are cores if unset")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    overrides = [
        f"preprocessing.scaling={options.scaling}",
        f"training.seed={options.seed}",
        f"training.epochs={options.epochs}",
        f"training.threads={options.threads or 'null'}",
        "training.device=cpu",  # as the peer's TensorFlow
        *options.set,
    ]
    recipe = pleura.load_recipe("exercise", overrides)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        callbacks = TrainingCallbacks(clock.on_read, clock.on_step, clock.on_epoch)
        run = pleura.train(
            options.images, options.masks, Path(folder, "run"), recipe, callbacks=callbacks
        )
        train_seconds = time.perf_counter() - clock.begin
        if not run.finished:
            sys.exit("stopped before the last epoch")
        found = pleura.evaluate(run, options.images, options.masks)
        history = run.history()
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "peer": "pleura",
        "versions": run.record["versions"],
        "threads": torch.get_num_threads(),
        "precision": run.record["precision"],
        "scaling": options.scaling,
        "seed": options.seed,
        "epochs": options.epochs,
        "parameters": sum(p.numel() for p in build_network(recipe.network).parameters()),
        "validation_accuracy": history[-1]["validation_accuracy"],
        "test_loss": found.loss,
        "test_accuracy": found.accuracy,
        "test_iou_0.1": found.overlaps["network"][0.1].summary()["iou"].mean,
        "test_iou_0.5": found.overlaps["network"][0.5].summary()["iou"].mean,
        "train_seconds": train_seconds,
        "steps_per_second": 1 / median(clock.steps) if clock.steps else None,
        "validation_seconds": median(clock.validations) if clock.validations else None,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_memory_mb": used.ru_maxrss / 1024,
        "history": {theirs: [row[ours] for row in history] for theirs, ours in HISTORY.items()},
    }
    print(json.dumps({k: v for k, v in result.items() if k != "history"}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
