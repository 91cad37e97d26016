"""Uploaded scans: stored while the server runs, and segmented."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from pleura.cohort.scan_report import measurements_of
from pleura.corrections.cases import ReviewCase
from pleura.errors import DataError
from pleura.formats.read import read
from pleura.formats.registry import scan_name
from pleura.segmentation.segmenter import Segmenter
from pleura.typing import StrPath

MAX_BYTES = 8 << 30
"""Size of all uploads of one server."""


class Uploads:
    """Files that the page uploads, and the model that segments them, one scan at a time.

    Parameters
    ----------
    folder:
        Folder to store uploads in.
    model:
        See `pleura.segmentation.segmenter.Segmenter`.
    max_bytes:
        Size of all uploads.
    """

    def __init__(
        self, folder: Path, model: StrPath | None = None, max_bytes: int = MAX_BYTES
    ) -> None:
        self.folder: Path = folder
        self.model: StrPath | None = model
        self.free_bytes: int = max_bytes
        self._segmenter: Segmenter | None = None
        self._segmenting = threading.Lock()

    def reserve(self, n_bytes: int) -> bool:
        """Reserve storage; return False if there is not enough."""
        if n_bytes > self.free_bytes:
            return False
        self.free_bytes -= n_bytes
        return True

    def discard(self, path: Path) -> None:
        """Remove an incomplete file, and release its storage."""
        self.free_bytes += path.stat().st_size
        path.unlink()

    def close(self) -> None:
        """Release the model."""
        if self._segmenter is not None:
            self._segmenter.close()
            self._segmenter = None

    def path_of(self, upload: int, name: str) -> Path:
        """Return the path to store a file at, inside the folder for any ``name``."""
        safe = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).lstrip(".")[-100:] or "file"
        path = self.folder / str(upload) / safe
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def segment(self, upload: int) -> ReviewCase:
        """Segment an upload, which is one file or the files of one DICOM series.

        Raises
        ------
        ScanError, DataError
            The upload is not a readable scan.
        """
        folder = self.folder / str(upload)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        if not files:
            raise DataError(
                "the upload contains no files", where=None, hint="drop a scan on the page"
            )
        source = files[0] if len(files) == 1 else folder
        scan = read(source)
        with self._segmenting:
            self._segmenter = self._segmenter or Segmenter(self.model)
            mask = self._segmenter.segment(scan, warn=False)
        name = scan_name(source) if len(files) == 1 else f"scan {upload}"
        path = self.folder / f"{upload}_lungs.nii.gz"
        mask.write(path)
        report = {**mask.to_dict(), "measurements": measurements_of(mask)}
        return ReviewCase(name, lambda: scan, path, None, report)
