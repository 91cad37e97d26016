"""Progress of a running cohort or training, read from the files in its folder."""

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


def is_run_folder(folder: Path) -> bool:
    """Return whether a folder is the run folder of a training."""
    return (folder / "run.json").is_file()


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return the progress of the cohort or training in a folder; None if it has neither.

    The keys are ``unit`` (``scans`` or ``epochs``), the numbers ``completed``, ``failed`` and
    ``total``, ``finished``, and for a training ``curves``, lists of losses by name.
    """
    try:
        return _run_progress(folder) if is_run_folder(folder) else _cohort_progress(folder)
    except _UNREADABLE:  # being written, or damaged
        return None


def _cohort_progress(folder: Path) -> dict[str, Any]:
    shards = [read_record(path) for path in sorted(folder.glob(PROGRESS_PATTERN))]
    if not shards:
        raise FileNotFoundError(PROGRESS_PATTERN)
    completed, failed, total = (
        sum(int(shard[key]) for shard in shards) for key in ("completed", "failed", "total")
    )
    return {
        "unit": "scans",
        "completed": completed,
        "failed": failed,
        "total": total,
        "finished": completed >= total,
    }


def _run_progress(folder: Path) -> dict[str, Any]:
    finished = bool(read_record(folder / "run.json")["finished"])
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))
    rows: list[dict[str, str]] = []
    if (folder / "history.csv").is_file():
        with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    return {
        "unit": "epochs",
        "completed": len(rows),
        "failed": 0,
        "total": recipe["training"]["epochs"],
        "finished": finished,
        "curves": {name: _finite([float(row[name]) for row in rows]) for name in _CURVES},
    }


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
