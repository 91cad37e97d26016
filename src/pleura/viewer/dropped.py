"""Scans dropped on the page: kept for as long as the server runs, and segmented."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from pleura.cohort.scan_report import measurements_of
from pleura.corrections.cases import ReviewCase
from pleura.errors import DataError
from pleura.formats.read import read, scan_name
from pleura.segmentation.segmenter import Segmenter

LARGEST = 8 << 30
"""Bytes of all that is dropped while the server runs."""


class Dropped:
    """Where dropped files lie, and the model that finds their lungs, one scan at a time."""

    def __init__(self, folder: Path, model: str | Path | None = None) -> None:
        self.folder = folder
        self.model = model
        self.room: int = LARGEST
        self._segmenter: Segmenter | None = None
        self._one = threading.Lock()

    def has_room(self, size: int) -> bool:
        """Take so many bytes of what is left; False where that is not enough."""
        if size > self.room:
            return False
        self.room -= size
        return True

    def forget(self, place: Path) -> None:
        """Remove a file of which not all has arrived."""
        self.room += place.stat().st_size
        place.unlink()

    def place(self, drop: int, name: str) -> Path:
        """Return where a file of a drop is to be written: below the folder, whatever its name."""
        safe = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).lstrip(".")[-100:] or "file"
        place = self.folder / str(drop) / safe
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def segment(self, drop: int) -> ReviewCase:
        """Find the lungs of what was dropped: one file, or the files of one DICOM series.

        Raises
        ------
        ScanError, DataError
            What was dropped is no scan that can be read.
        """
        folder = self.folder / str(drop)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        if not files:
            raise DataError("nothing was dropped", where=None, hint="drop a scan on the page")
        source = files[0] if len(files) == 1 else folder
        scan = read(source)
        with self._one:
            self._segmenter = self._segmenter or Segmenter(self.model)
            result = self._segmenter.segment(scan, warn=False)
        name = scan_name(source) if len(files) == 1 else f"scan {drop}"
        mask = self.folder / f"{drop}_lungs.nii.gz"
        result.write(mask)
        report = {**result.to_dict(), "measurements": measurements_of(result)}
        return ReviewCase(name, lambda: scan, mask, None, report)
