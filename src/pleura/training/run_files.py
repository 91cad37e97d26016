"""The files of a run folder, and their removal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePath

from pleura.errors import RunError
from pleura.files.atomic import remove_unfinished, unfinished

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


def remove_unfinished_files(folder: Path) -> None:
    """Remove temporary files of a training that was killed."""
    for name in {unfinished(path) for path in folder.iterdir()} - {None}:
        remove_unfinished(folder / str(name))
