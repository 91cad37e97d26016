"""Files below a folder: hidden ones are skipped, links inside the folder are followed."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from pleura.errors import DataError, ScanError
from pleura.names import did_you_mean

OTHER_SUFFIXES = (
    ".txt",
    ".md",
    ".csv",
    ".tsv",
    ".json",
    ".xml",
    ".html",
    ".pdf",
    ".log",
    ".parquet",
)
"""Suffixes of files that are not scans."""


@dataclass(frozen=True)
class Listing:
    """Files below a folder.

    Parameters
    ----------
    files:
        Each file once, sorted.
    unreachable:
        One error per link, file or folder that cannot be reached.
    """

    files: tuple[Path, ...]
    unreachable: tuple[ScanError, ...] = ()


def check_path(path: Path) -> None:
    """Refuse a path that is not a file with content or a folder.

    Reading a named pipe blocks, and a device such as ``/dev/zero`` has no end.

    Raises
    ------
    ScanError
        There is no such file or folder, it is empty, or it is neither a file nor a folder.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise ScanError(
            "no such file or folder", where=path, hint="check the spelling of the path"
        ) from error
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise ScanError("the file is empty", where=path, hint="copy or export it again")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ScanError(
            "the path is a pipe, a socket or a device, not a regular file",
            where=path,
            hint="save its content to a file, and pass that file",
        )


def describe_wrong_path(path: Path, expected: str, known: Iterable[str] = ()) -> str:
    """Return why a path is not what is expected, and which similar path exists.

    Parameters
    ----------
    path:
        The path.
    expected:
        What the path must be, for example ``run folder``.
    known:
        Names that may be meant, besides those in the parent of the path.
    """
    if path.is_dir():
        return f"the path is a folder, not a {expected}"
    if path.exists():
        return f"the path is a file, not a {expected}"
    try:
        siblings = [entry.name for entry in _visible(path.parent)]
    except OSError:
        siblings = []
    return f"no such {expected}{did_you_mean(path.name, (*known, *siblings))}"


def is_hidden(path: PurePath) -> bool:
    """Return whether a relative path is hidden, or was added to a zip by macOS."""
    parts = (part for part in path.parts if part not in (".", ".."))
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder.

    Raises
    ------
    DataError
        No file can be reached.
    """
    listing = list_below(folder)
    if listing.files:
        return list(listing.files)
    if listing.unreachable:
        first = listing.unreachable[0]
        raise DataError(first.message, where=first.where, hint=first.hint)
    raise DataError("the folder contains no files", where=folder, hint="check the path")


def list_below(folder: Path, *, outside: bool = False) -> Listing:
    """List the regular files below a folder.

    Links to files and folders are followed if their target is inside ``folder`` or if ``outside``
    is true. A file with several names is listed once, under a name that is not a link unless that
    name is hidden.
    """
    root = None if outside else os.path.realpath(folder)
    files: dict[str, Path] = {}
    unreachable: list[ScanError] = []
    visited: set[str] = set()
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        path = folders.popleft() if folders else links.popleft()
        real = os.path.realpath(path)
        link_error = _link_error(path, real, root)
        if link_error is not None:
            unreachable.append(link_error)
        elif Path(real).is_file():
            files.setdefault(real, path)
        elif Path(real).is_dir() and real not in visited:
            visited.add(real)
            try:
                entries = _visible(path)
            except OSError as error:
                unreachable.append(_folder_error(path, error))
                continue
            links.extend(Path(entry) for entry in entries if entry.is_symlink())
            not_links = [entry for entry in entries if not entry.is_symlink()]
            folders.extend(Path(entry) for entry in not_links if entry.is_dir())
            for entry in not_links:
                if entry.is_file():
                    files.setdefault(str(Path(real, entry.name)), Path(entry))
    return Listing(
        tuple(sorted(files.values())),
        tuple(e for e in unreachable if not str(e.where).lower().endswith(OTHER_SUFFIXES)),
    )


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not is_hidden(PurePath(entry.name))]
    return sorted(visible, key=lambda entry: entry.name)


def _link_error(path: Path, real: str, root: str | None) -> ScanError | None:
    """Return the reason why a path is not followed; None if it is followed."""
    try:
        Path(real).stat()
    except OSError as error:
        return ScanError(
            f"the link is broken: its target cannot be reached ({error.strerror})",
            where=path,
            hint="restore the target (git annex get or dvc pull), or remove the link",
        )
    if root is not None and not Path(real).is_relative_to(root):
        return ScanError(
            "the link points outside the folder",
            where=path,
            hint="pass a folder that contains both, or copy the target into this folder",
        )
    return None


def _folder_error(folder: Path, error: OSError) -> ScanError:
    return ScanError(
        f"the folder cannot be listed ({error.strerror})",
        where=folder,
        hint="check the permissions of the folder",
    )
