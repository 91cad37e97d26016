"""Checkpoint and weight files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pleura.errors import DataError, RunError
from pleura.files.atomic import write_atomically


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: an existing one survives a full disk.

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
            hint="free some disk space, and resume with --resume; the last checkpoint is kept",
        ) from error


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are loaded, no code.

    Raises
    ------
    RunError
        The file is missing, truncated, or not a checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        interrupted = path.with_name("checkpoint.pt").exists()
        raise RunError(
            "the run has no weights: its training was interrupted",
            where=path,
            hint="resume it with pleura train ... --resume"
            if interrupted
            else "train again with --overwrite",
        ) from error
    # For a damaged file, torch raises various errors, from RuntimeError to UnpicklingError.
    except Exception as error:
        raise RunError(
            "the weights cannot be read: the file is truncated or not a checkpoint",
            where=path,
            hint="restore the file from a copy, or train again",
        ) from error
    if not isinstance(content, dict):
        raise RunError(
            "the file is not a checkpoint",
            where=path,
            hint="restore the file from a copy, or train again",
        )
    return content
