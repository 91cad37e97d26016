"""A zip unpacked to where nobody else looks, within bounds, and removed when it is done with."""

from __future__ import annotations

import shutil
import tempfile
import weakref
import zipfile
from pathlib import Path, PurePath, PurePosixPath

from pleura.errors import PleuraError, ScanError
from pleura.scan.scan import ReadSlices, Values

MAX_UNZIPPED = 8 << 30
"""Bytes that a zip may unpack to."""


DICOM = (".dcm", ".ima")
"""Of a name in the zip these endings are kept: a damaged file is missed by them."""


class Unpacked:
    """The files of a zip in a temporary folder, which goes when this object does.

    Names in the zip are not used, but for the endings of DICOM.

    Raises
    ------
    ScanError
        The zip is damaged, names files outside of itself, or unpacks to too much.
    """

    def __init__(self, path: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix="pleura-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            self.files = _unzip(path, folder)
        except PleuraError:
            raise
        # A damaged zip makes zipfile raise anything from zlib.error to LZMAError.
        except Exception as error:
            raise ScanError(
                f"the zip cannot be unpacked ({error})", where=path, fix="unpack it by hand"
            ) from error

    def keeping(self, read: ReadSlices) -> ReadSlices:
        """Return a reader of slices that keeps the folder as long as it is kept itself."""

        def reader(start: int, stop: int) -> Values:
            _ = self
            return read(start, stop)

        return reader


def is_hidden(path: PurePath) -> bool:
    """Whether a relative path is hidden, or part of what macOS adds to a zip."""
    parts = (part for part in path.parts if part not in (".", ".."))
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _unzip(path: Path, folder: Path) -> list[Path]:
    files, total = [], 0
    with zipfile.ZipFile(path) as archive:
        for i, info in enumerate(archive.infolist()):
            if info.is_dir() or is_hidden(PurePosixPath(info.filename)):
                continue
            if ".." in Path(info.filename).parts or Path(info.filename).is_absolute():
                raise ScanError(
                    f"the zip names a file outside of itself: {info.filename}",
                    where=path,
                    fix="do not trust this zip",
                )
            ending = Path(info.filename).suffix.lower()
            target = folder / f"{i:06d}{ending if ending in DICOM else ''}"
            with archive.open(info) as packed, target.open("wb") as plain:
                while chunk := packed.read(1 << 20):
                    total += len(chunk)
                    if total > MAX_UNZIPPED:
                        raise ScanError(
                            f"the zip unpacks to more than {MAX_UNZIPPED >> 30} GB",
                            where=path,
                            fix="unpack it by hand if you trust it, and give the folder",
                        )
                    plain.write(chunk)
            files.append(target)
    return files
