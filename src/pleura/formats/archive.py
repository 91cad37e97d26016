"""Zip files extracted to a private temporary folder, within limits."""

from __future__ import annotations

import posixpath
import shutil
import stat
import weakref
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pleura.errors import PleuraError, ScanError, first_line
from pleura.files.limits import readable_size
from pleura.files.listing import is_hidden
from pleura.files.temporary import new_folder
from pleura.scan.scan import ReadSlices
from pleura.typing import AnyArray

MAX_FILES = 20_000
"""Maximum number of files in a zip: slices of one patient."""

MAX_DIRECTORY = 8 << 20
"""Maximum size of the central directory in bytes, which zipfile reads at once."""

MAX_RATIO = 100
MIN_LIMIT = 1 << 30
"""Bytes to which any zip may expand; larger totals are limited to ``MAX_RATIO`` times the zip."""


class ExtractedZip:
    """The files of a zip in a temporary folder, which is removed with this object.

    Parameters
    ----------
    path:
        The zip.
    suffixes:
        Suffixes that extracted files keep; the rest of their names is not used.

    Attributes
    ----------
    files:
        The extracted files.
    links:
        Number of symbolic links with a target outside the zip.

    Raises
    ------
    ScanError
        The zip is damaged, contains paths outside the zip, or expands to too many bytes.
    """

    def __init__(self, path: Path, suffixes: tuple[str, ...]) -> None:
        folder = new_folder()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            self.files: list[Path]
            self.links: int
            self.files, self.links = _unzip(path, folder, suffixes)
        except PleuraError:
            raise
        # A damaged zip makes zipfile raise anything from zlib.error to LZMAError.
        except Exception as error:
            raise ScanError(
                f"the zip cannot be extracted ({first_line(error)})",
                where=path,
                hint="extract it manually, and pass the folder",
            ) from error

    def keep_while_reading(self, read: ReadSlices) -> ReadSlices:
        """Return a function like ``read`` that keeps the folder as long as it exists itself."""

        def reader(start: int, stop: int) -> AnyArray:
            _ = self
            return read(start, stop)

        return reader


def _unzip(path: Path, folder: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], int]:
    """Return the extracted files, and the number of links whose target is not in the zip."""
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        members = [info for info in members if not is_hidden(PurePosixPath(info.filename))]
        _check_members(path, members)
        links = {info for info in members if stat.S_ISLNK(info.external_attr >> 16)}
        names = [PurePosixPath(name) for name in archive.namelist()] if links else []
        known = {str(path) for name in names for path in (name, *name.parents)}
        outside = sum(_target(info, archive) not in known for info in links)
        files = []
        for i, info in enumerate(members):
            if info in links:
                continue
            name = info.filename.lower()
            suffix = next((s for s in suffixes if name.endswith(s)), "")
            files.append(folder / f"{i:06d}{suffix}")
            with archive.open(info) as source, files[-1].open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)  # at most the size in the directory
    return files, outside


def _target(link: zipfile.ZipInfo, archive: zipfile.ZipFile) -> str:
    """Return the target of a symbolic link as a path in the zip."""
    target = archive.read(link).decode("utf-8", "replace") if link.file_size < 4096 else "/"
    return posixpath.normpath(posixpath.join(posixpath.dirname(link.filename), target))


def _check_directory(path: Path) -> None:
    """Refuse a large central directory by its size in the end record (APPNOTE 4.3.16)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - (1 << 16) - 22, 0))
        tail = file.read()
    start = tail.rfind(b"PK\5\6")
    if start >= 0 and int.from_bytes(tail[start + 12 : start + 16], "little") > MAX_DIRECTORY:
        raise _too_many(path)


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES:
        raise _too_many(path)
    for info in members:
        if ".." in Path(info.filename).parts or Path(info.filename).is_absolute():
            raise ScanError(
                f"the zip contains a path outside the zip: {info.filename}",
                where=path,
                hint="do not use this zip: it may be malicious",
            )
    total = sum(info.file_size for info in members)
    limit = max(MIN_LIMIT, MAX_RATIO * path.stat().st_size)
    if total > limit:
        raise ScanError(
            f"the zip expands to {readable_size(total)}, more than {readable_size(limit)}",
            where=path,
            hint="extract it manually if you trust it, and pass the folder",
        )


def _too_many(path: Path) -> ScanError:
    return ScanError(
        f"the zip contains more than {MAX_FILES} files",
        where=path,
        hint="pass a zip with the scan of one patient, or extract it manually and pass the folder",
    )
