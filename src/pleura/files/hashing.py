"""Hashes of files."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from pathlib import Path

from pleura.files.listing import files_below

_BLOCK = 1 << 20


def hash_files(paths: Iterable[Path], *, names: bool = False) -> str:
    """Return the SHA-256 of the contents of files, in their order, as hexadecimal digits.

    Parameters
    ----------
    paths:
        Files, read in blocks of 1 MiB; a folder stands for all files below it.
    names:
        Also hash the name of each file before its content.
    """
    digest = hashlib.sha256()
    for path in itertools.chain.from_iterable(map(_files_of, paths)):
        if names:
            digest.update(path.name.encode("utf-8", "surrogatepass"))
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _files_of(path: Path) -> list[Path]:
    return sorted(files_below(path)) if path.is_dir() else [path]
