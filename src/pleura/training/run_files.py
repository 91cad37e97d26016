"""The files of a run folder, and their removal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePath

from pleura.engine.model_file import SHIPPED_MODELS
from pleura.errors import ModelError, RunError
from pleura.files.atomic import remove_unfinished, unfinished_target
from pleura.files.listing import describe_wrong_path
from pleura.typing import StrPath

FILES = (
    "recipe.yaml",
    "run.json",
    "split.csv",
    "history.csv",
    "curves.png",
    "pairs.png",
    "checkpoint.pt",
    "weights.pt",
    "lungs.onnx",
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


def is_run(source: StrPath) -> bool:
    """Return whether a run folder is passed, and not a model.

    Parameters
    ----------
    source:
        Run folder, model file, or name of a model of the package, such as ``default``.

    Raises
    ------
    ModelError
        The path does not exist.
    """
    path = Path(source)
    if path.is_dir() or path.exists() or str(source) in SHIPPED_MODELS:
        return path.is_dir()
    raise ModelError(
        describe_wrong_path(path, "run folder or model file", SHIPPED_MODELS),
        where=path,
        hint="pass a folder that `pleura train` wrote, a file that `pleura export` wrote, "
        "or `default` or `accurate`",
    )


def clear_run(folder: Path) -> None:
    """Remove the files of a run, so that the folder can be used for a new one.

    Raises
    ------
    RunError
        The folder is a link or a file, contains no run, or contains other files.
    """
    if not folder.exists():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise RunError("the run folder is not a folder", where=folder, hint="choose another path")
    inside = list(folder.iterdir())
    foreign = [path.name for path in inside if not _is_run_file(path.name)]
    if foreign or (inside and not _is_record(folder / "run.json")):
        raise RunError(
            "the folder is not a run folder and is not overwritten"
            if not foreign
            else f"the folder contains other files and is not overwritten: {foreign[0]}",
            where=folder,
            hint="choose another folder",
        )
    # The record is last: if the process is killed, the folder is still recognised as a run.
    for path in sorted(inside, key=lambda path: path.name == "run.json"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_run_file(name: str) -> bool:
    path = PurePath(unfinished_target(Path(name)) or name)
    return any(path.match(pattern) for pattern in FILES)


def _is_record(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
        return not text or "format" in json.loads(text)  # empty: killed before the first step
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def remove_unfinished_files(folder: Path) -> None:
    """Remove temporary files that a killed process has left in a run folder."""
    for name in {unfinished_target(path) for path in folder.iterdir()} - {None}:
        remove_unfinished(folder / str(name))
