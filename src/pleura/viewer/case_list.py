"""The scans that the page lists, which may grow while a cohort is segmented."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pleura.cohort.result_names import list_reports
from pleura.cohort.tables import read_summaries
from pleura.corrections.cases import ReviewCase, case_from_files, cases_from_results
from pleura.errors import DataError, PleuraError
from pleura.intensity.window import Units
from pleura.masks.selection import RoiSelection
from pleura.viewer.progress import is_run_folder, read_progress


class CaseList:
    """Cases of the page; cases are only added, so that their indices stay valid.

    Parameters
    ----------
    cases:
        The first cases.
    folder:
        Folder of a cohort or training that may be running, to show its progress.
    find_cases:
        Returns the cases that are in ``folder`` now.
    """

    def __init__(
        self,
        cases: Sequence[ReviewCase] = (),
        folder: Path | None = None,
        find_cases: Callable[[], Sequence[ReviewCase]] | None = None,
    ) -> None:
        self.folder: Path | None = folder
        self._cases = list(cases)
        self._find_cases = find_cases
        self._completed = self._number_completed()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> ReviewCase:
        return self._cases[index]

    def __iter__(self) -> Iterator[ReviewCase]:
        return iter(self._cases)

    def append(self, case: ReviewCase) -> int:
        """Add a case, and return its index."""
        with self._lock:
            self._cases.append(case)
            return len(self._cases) - 1

    def refresh(self) -> None:
        """Add the cases that the running cohort has completed since the last call."""
        with self._lock:
            completed = self._number_completed()
            if self._find_cases is None or completed == self._completed:
                return
            known = {case.name for case in self._cases}
            try:
                self._cases += [case for case in self._find_cases() if case.name not in known]
            except PleuraError:  # a report is being written; the next call reads it
                return
            self._completed = completed

    def progress(self) -> dict[str, Any] | None:
        """Return the progress of the cohort or training; None if there is none."""
        return None if self.folder is None else read_progress(self.folder)

    def failures(self) -> list[dict[str, str]]:
        """Return name, source and error of the scans of the cohort that failed."""
        if self.folder is None:
            return []
        try:
            results = read_summaries(self.folder)
        except DataError:  # no cohort, or the summary is being written
            return []
        return [
            {"name": result.name, "source": result.source, "error": result.error}
            for result in results
            if result.status == "failed"
        ]

    def _number_completed(self) -> int:
        progress = self.progress()
        return 0 if progress is None else int(progress["completed"])


def find_cases(
    path: Path | None,
    mask: Path | None = None,
    reference: Path | None = None,
    scans: Path | None = None,
    units: Units = "auto",
    roi: RoiSelection | None = None,
) -> CaseList:
    """Return the cases of a scan, a folder of results, or a run folder.

    Parameters
    ----------
    path:
        Scan, folder of results or run folder; None for an empty list.
    mask, reference:
        Mask and reference mask of the scan.
    scans:
        Folder or manifest that was segmented, if it was moved.
    units:
        Intensity units of the scan.
    roi:
        Structures or labels of the masks to read, as for `read_mask`.

    Raises
    ------
    DataError
        A file or the scans are not found.
    ScanError
        The scan is a file of an unknown format.
    """
    if path is None:
        return CaseList()
    if mask is None and path.is_dir():
        find = partial(_completed_cases, path, scans)
        if is_run_folder(path) or read_progress(path) is not None:
            return CaseList(find(), path, find)
        if _has_results(path):
            return CaseList(find(), path)
    return CaseList([case_from_files(path, mask, reference, units, roi)])


def _completed_cases(folder: Path, scans: Path | None) -> list[ReviewCase]:
    return cases_from_results(folder, scans) if _has_results(folder) else []


def _has_results(folder: Path) -> bool:
    return next(list_reports(folder), None) is not None
