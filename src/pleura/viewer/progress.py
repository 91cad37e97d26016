"""What runs at the moment: batches and trainings, by what they leave in their folders."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import yaml

from pleura.cohort.progress import PROGRESS_PATTERN
from pleura.files.records import read_record

_CURVES = ("loss", "validation_loss")
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    RecursionError,
    csv.Error,
    yaml.YAMLError,
)


def is_run(folder: Path) -> bool:
    """Tell a training's folder."""
    return (folder / "run.json").is_file()


def progress_of(folder: Path) -> dict[str, Any] | None:
    """Return how far the batch or the training of a folder is; None where there is neither.

    ``completed`` of ``total`` scans or epochs, ``failed`` scans, ``finished``, and, for a training,
    its ``curves`` by name.
    """
    try:
        return _of_run(folder) if is_run(folder) else _of_batch(folder)
    except _UNREADABLE:  # written at this moment, or damaged
        return None


def _of_batch(folder: Path) -> dict[str, Any]:
    parts = [read_record(path) for path in sorted(folder.glob(PROGRESS_PATTERN))]
    told = {key: sum(int(part[key]) for part in parts) for key in ("completed", "failed", "total")}
    if not parts:
        raise FileNotFoundError(PROGRESS_PATTERN)
    return {"what": "scans", "finished": told["completed"] >= told["total"], **told}


def _of_run(folder: Path) -> dict[str, Any]:
    finished = bool(read_record(folder / "run.json")["finished"])
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
    rows: list[dict[str, str]] = []
    if (folder / "history.csv").is_file():
        with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    return {
        "what": "epochs",
        "completed": len(rows),
        "failed": 0,
        "total": recipe["training"]["epochs"],
        "finished": finished,
        "curves": {name: _finite([float(row[name]) for row in rows]) for name in _CURVES},
    }


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
