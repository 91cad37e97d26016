"""The run folder: what one training left, enough to resume, evaluate and repeat it."""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import torch

import pleura
from pleura.dataset.subsets import SUBSETS, Split, read_split, read_training_hashes
from pleura.errors import DataError, RecipeError, RunError, first_line
from pleura.files.atomic import remove_unfinished, unfinished, write_atomically, write_text
from pleura.files.records import write_json
from pleura.training.recipe import Recipe, build_recipe
from pleura.training.recipe_text import read_recipe_text

FORMAT = 1
"""Raised whenever an older pleura could misread a new run folder."""

FILES = (
    "recipe.yaml",
    "run.json",
    "split.csv",
    "history.csv",
    "curves.png",
    "pairs.png",
    "checkpoint.pt",
    "weights.pt",
    "tensorboard",
    "evaluation-*",
    "learning.json",
    "before-after.json",
    "before.onnx",
    "model.onnx",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
)

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


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder and what its record says.

    ``recipe.yaml``, ``run.json`` (record), ``split.csv``, ``history.csv``, ``curves.png``,
    ``pairs.png``, ``tensorboard/``, ``checkpoint.pt`` (to resume) and ``weights.pt`` (to predict).
    """

    folder: Path
    recipe: Recipe
    record: Mapping[str, Any]

    def __repr__(self) -> str:
        state = "finished" if self.record.get("finished") else "not finished"
        return f"Run({self.folder}; recipe {self.recipe.name}; {state})"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.pt"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        """Whether all epochs of the recipe were trained."""
        return bool(self.record["finished"])

    @property
    def threshold(self) -> float:
        """The probability from which on `predict` calls a pixel lung."""
        return float(self.record.get("threshold", self.recipe.evaluation.thresholds[0]))

    def split(self, names: Sequence[str]) -> Split:
        """Return the split of this run, held to the names of the images at hand."""
        return read_split(self.folder / "split.csv", names)

    def trained_on(self) -> set[str]:
        """Return hashes of the images whose masks this run, and what it started from, learned.

        Empty for a run of an earlier version.
        """
        own = read_training_hashes(self.folder / "split.csv")
        return (own | {str(one) for one in self.record.get("start_images", ())}) - {""}

    def history(self) -> list[dict[str, float]]:
        """Return one row per epoch, with the columns of ``HISTORY``.

        Raises
        ------
        RunError
            The file is damaged.
        """
        path = self.folder / "history.csv"
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

    def update(self, **changes: Any) -> Run:
        """Return the run with these entries of its record changed, and write the record."""
        record = {**self.record, **changes}
        write_json(self.folder / "run.json", record)
        return Run(self.folder, self.recipe, record)


def create_run(
    folder: Path,
    recipe: Recipe,
    split: Split,
    fingerprint: str,
    pixels: Mapping[str, str] | None = None,
) -> Run:
    """Take a new run folder, write recipe and split, and return the run.

    Its record is not written yet: `Run.update` is called once all is there that `resume` needs.
    ``pixels`` has a hash of each image by its name.

    Raises
    ------
    RunError
        Another training has started in this folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").open("x").close()  # whoever makes it owns the folder
    except FileExistsError as error:
        raise RunError(
            "another training has started in this folder", where=folder, hint="choose another one"
        ) from error
    record = {
        "format": FORMAT,
        "finished": False,
        "seed": recipe.training.seed,
        "data_fingerprint": fingerprint,
        "versions": versions(),
        "git": _git_describe(),
        "subsets": {subset: len(getattr(split, subset)) for subset in SUBSETS},
    }
    run = Run(folder, _without_paths(recipe), record)
    write_text(folder / "recipe.yaml", run.recipe.to_yaml())
    split.write(folder / "split.csv", pixels)
    return run


def _without_paths(recipe: Recipe) -> Recipe:
    """Name the run's own split file, and no folder of this machine: runs are passed on.

    A table of patients stays where it is; the split that it led to takes its place.
    """
    split = recipe.split
    if split.file is None and split.patient_file is None:
        return recipe
    changes: dict[str, Any] = {"patient_file": None}
    if split.method == "file" or split.patient_file is not None:
        changes |= {"method": "file", "file": Path("split.csv")}
    else:
        changes["file"] = None  # not used
    return recipe.model_copy(update={"split": split.model_copy(update=changes)})


def open_run(folder: str | Path) -> Run:
    """Open a run folder.

    Parameters
    ----------
    folder:
        The run folder.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        The folder is missing, is no run, or was written by a newer pleura.
    """
    folder = Path(folder)
    try:
        text = (folder / "run.json").read_text(encoding="utf-8")
        if not text:
            raise RunError(
                "the training was stopped before its first step",
                where=folder,
                hint="start it again with --overwrite",
            )
        record = json.loads(text)
        written = int(record["format"])
        if written <= FORMAT:
            _ = record["finished"], record["seed"], record["data_fingerprint"]
        recipe_file = folder / "recipe.yaml"
        _ = recipe_file.stat()
    except FileNotFoundError as error:
        raise RunError(
            "this folder is no run" if folder.is_dir() else "no such run folder",
            where=folder,
            hint="give the folder that `pleura train ... -o FOLDER` wrote",
        ) from error
    except (OSError, LookupError, TypeError, OverflowError, RecursionError, ValueError) as error:
        raise RunError(
            f"the run's record cannot be read ({error})",
            where=folder / "run.json",
            hint="restore the folder from a copy, or train again",
        ) from error
    if written > FORMAT:
        raise RunError(
            f"the run has format {written}; this pleura {pleura.__version__} reads up to {FORMAT}",
            where=folder,
            hint="update pleura: pip install --upgrade pleura",
        )
    return Run(folder, _recipe_of(recipe_file), record)


def _recipe_of(path: Path) -> Recipe:
    try:
        values = read_recipe_text(path, str(path))
        if isinstance(values, dict):
            return build_recipe(values, str(path))
        what = "it is not a table of keys"
    except RecipeError as error:
        what = error.message
    raise RunError(
        f"the run's recipe cannot be read: {what}",
        where=path,
        hint="restore the folder from a copy, or train again",
    )


def clear_run(folder: Path) -> None:
    """Remove a run, and only what pleura wrote of it, to train anew.

    Raises
    ------
    RunError
        The folder is a link or a file, or holds no run, or holds something else as well.
    """
    if not folder.exists():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise RunError("this is no folder", where=folder, hint="choose another one")
    inside = list(folder.iterdir())
    foreign = [path.name for path in inside if not _is_ours(path.name)]
    if foreign or (inside and not _is_record(folder / "run.json")):
        raise RunError(
            "the folder holds no run and is not overwritten"
            if not foreign
            else f"the folder holds files of others and is not overwritten: {foreign[0]}",
            where=folder,
            hint="choose another folder",
        )
    # The record is last: where this is killed, the rest is still known to be a run.
    for path in sorted(inside, key=lambda path: path.name == "run.json"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_ours(name: str) -> bool:
    whole = PurePath(unfinished(Path(name)) or name)
    return any(whole.match(pattern) for pattern in FILES)


def _is_record(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
        return not text or "format" in json.loads(text)  # empty: cut off at its very start
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def remove_unfinished_files(run: Run) -> None:
    """Remove temporary files of a training that was killed."""
    for name in {unfinished(path) for path in run.folder.iterdir()} - {None}:
        remove_unfinished(run.folder / str(name))


def write_history(run: Run, history: Sequence[Epoch]) -> None:
    """Write ``history.csv``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(run.folder / "history.csv", text.getvalue())


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: an older one survives a full disk.

    Raises
    ------
    RunError
        The disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    try:
        write_atomically(path, lambda file: file.write(buffer.getbuffer()))
    except DataError as error:
        raise RunError(
            f"the checkpoint cannot be saved: {error.message}",
            where=path,
            hint="free some space, then go on with --resume; the last good checkpoint is kept",
        ) from error


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are loaded, never code.

    Raises
    ------
    RunError
        The file is missing, truncated, or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        cut_off = path.with_name("checkpoint.pt").exists()
        raise RunError(
            "the run has no weights yet: its training was cut off",
            where=path,
            hint="finish it with pleura train ... --resume"
            if cut_off
            else "train again with --overwrite",
        ) from error
    # A damaged archive makes torch raise anything from RuntimeError to UnpicklingError.
    except Exception as error:
        raise RunError(
            "the weights cannot be read: the file is truncated or no checkpoint",
            where=path,
            hint="restore it from a copy, or train again",
        ) from error
    if not isinstance(content, dict):
        raise RunError("no checkpoint", where=path, hint="restore it from a copy, or train again")
    return content


def versions() -> dict[str, str]:
    """Return the versions that results hang on."""
    return {
        "pleura": pleura.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torch": torch.__version__,
    }


def _git_describe() -> str | None:
    """Return git-describe of the source this package runs from, None where it is installed."""
    source = Path(pleura.__file__).parents[2]
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
