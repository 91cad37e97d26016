"""Atomic writing: a file is complete or absent."""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pleura.errors import DataError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` on a temporary file in the folder of ``path`` and rename it to ``path``.

    Raises
    ------
    DataError
        The folder cannot be written or the disk is full; an older file is unchanged.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = str(path.parent / f".{path.name}.{secrets.token_hex(4)}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        with Path(temporary).open("wb") as file:  # opened by name, which tifffile requires
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        if path.is_dir():
            raise DataError(
                "the output path is a folder", where=path, hint="choose another path"
            ) from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise DataError(
                "the folder of the output is a file",
                where=path.parent,
                hint="choose another folder",
            ) from error
        raise DataError(
            f"the file cannot be written ({error.strerror or error})",
            where=path,
            hint="free some disk space, or choose another folder; no file was overwritten",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 through `write_atomically`.

    Raises
    ------
    DataError
        The folder cannot be written or the disk is full; an older file is unchanged.
    """
    write_atomically(path, lambda file: file.write(text.encode()))


_UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def unfinished_target(path: Path) -> str | None:
    """Return the target name of a temporary file of `write_atomically`; None for other files."""
    match = _UNFINISHED.fullmatch(path.name)
    return match.group(1) if match else None


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files that killed processes left while writing a file.

    No other process may write the file at the same time.
    """
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if unfinished_target(temporary) == path.name:
            temporary.unlink(missing_ok=True)
