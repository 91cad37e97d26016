"""The history of a run: one row per epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pleura.errors import RunError, first_line
from pleura.files.atomic import write_text

HISTORY = (
    "epoch",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
)


Epoch = Mapping[str, float]


def read_history(folder: Path) -> list[dict[str, float]]:
    """Read ``history.csv`` of a run folder.

    Returns
    -------
    list of dict
        One per epoch, with the columns of `HISTORY`, and with several classes their Dice; empty if
        there is no file.

    Raises
    ------
    RunError
        The file is damaged.
    """
    path = folder / "history.csv"
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise RunError(
            f"the history of the run cannot be read ({first_line(error)})",
            where=path,
            hint="restore the folder from a copy, or train again",
        ) from error


def write_history(folder: Path, history: Sequence[Epoch]) -> None:
    """Write ``history.csv`` of a run folder."""
    text = io.StringIO()
    columns = [*HISTORY, *(key for key in (history[0] if history else ()) if key not in HISTORY)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(folder / "history.csv", text.getvalue())


def best_epoch(history: Sequence[Epoch]) -> int:
    """Return the index of the first epoch with the lowest validation loss."""
    return min(range(len(history)), key=lambda i: history[i]["validation_loss"])
