"""Hashes of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 1 << 20


def hash_files(paths: Iterable[Path], *, names: bool = False) -> str:
    """Return the SHA-256 of the contents of files, in their order, as hexadecimal digits.

    Parameters
    ----------
    paths:
        Files, read in blocks of 1 MiB.
    names:
        Also hash the name of each file before its content.
    """
    digest = hashlib.sha256()
    for path in paths:
        if names:
            digest.update(path.name.encode("utf-8", "surrogatepass"))
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
