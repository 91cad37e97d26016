"""The settings of several trainings in one folder, which may not change between two calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pleura.dataset.pairs import Pair
from pleura.errors import RunError
from pleura.files.hashing import hash_files
from pleura.files.records import read_record, write_json
from pleura.training.initial_weights import hash_weights
from pleura.training.recipe import Recipe
from pleura.typing import StrPath

CROSS_VALIDATION = "cross-validation.json"
"""The record in the folder of a cross-validation."""

_TITLES = {
    "format": "format",
    "folds": "number of folds",
    "data": "images or masks",
    "patients": "patients or excluded images",
    "training_patients": "number of training patients, or seed",
    "recipe": "recipe",
    "initial_weights": "initial weights",
    "space": "keys or values to search, or seed",
    "seed": "seed",
}
"""Keys of the settings, with their names in errors."""


def hash_pairs(pairs: Sequence[Pair]) -> str:
    """Return the SHA-256 of names and contents of the images and masks."""
    files = (path for pair in pairs for path in (pair.image, *pair.masks))
    return hash_files(dict.fromkeys(files), names=True)


def hash_initial_weights(weights: StrPath | None) -> str | None:
    """Return a hash of the initial weights, if there are any."""
    return None if weights is None else hash_weights(weights)


def write_settings(record: Path, settings: Mapping[str, Any], noun: str) -> None:
    """Write the settings, unless trainings have started in the folder with other settings.

    Parameters
    ----------
    record:
        JSON file to write, in the folder of the trainings.
    settings:
        Values by key of `_TITLES`.
    noun:
        What the folder contains, such as ``cross-validation``.

    Raises
    ------
    RunError
        The folder contains other files, or trainings with other settings.
    """
    folder = record.parent
    settings = json.loads(json.dumps(settings))
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        stored = read_record(record) if folder.is_dir() else {}
        if not stored:
            raise RunError(
                f"the folder contains other files than those of a {noun}",
                where=folder,
                hint="choose a new folder",
            )
        if any(is_started(path.parent) for path in folder.rglob("run.json")):
            _require_same(stored, settings, folder, noun)
    write_json(record, settings)


def is_started(run: Path) -> bool:
    """Return whether a run can be resumed: its record is empty until then."""
    record = run / "run.json"
    return record.is_file() and record.stat().st_size > 0


def _require_same(
    stored: Mapping[str, Any], settings: Mapping[str, Any], folder: Path, noun: str
) -> None:
    for key, title in _TITLES.items():
        before, now = stored.get(key), settings.get(key)
        if key == "recipe":
            before, now = _with_defaults(before), _with_defaults(now)
        if before != now:
            raise RunError(
                f"the folder contains a {noun} with another value: {title}",
                where=folder,
                hint="repeat the command that started it to continue it, or choose a new folder",
            )


def _with_defaults(recipe: object) -> object:
    """Return a recipe with the keys that did not exist when it was written."""
    try:
        return Recipe.model_validate(recipe).model_dump(mode="json")
    except ValidationError:  # it has a value that is no longer allowed
        return recipe
