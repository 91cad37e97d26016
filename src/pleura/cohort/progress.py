"""Results of a cohort while it runs: tables and progress, written every few seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress

from pleura.cohort.stores import OutputStore
from pleura.cohort.tables import ScanResult, read_summary, write_regions, write_summary
from pleura.errors import DataError, PleuraError
from pleura.files.atomic import remove_unfinished

PROGRESS_PATTERN = "progress*.json"
"""Progress of a cohort, or of each of its shards, in the folder of results."""

_FILES = (("summary", "csv"), ("lungs", "csv"), ("lungs", "parquet"), ("progress", "json"))
_MIN_INTERVAL = 2.0
"""Seconds between two updates of the summary."""


class CohortProgress:
    """The results of a cohort or shard, and the tables and progress file with them.

    The rows of an earlier summary are kept for scans that are not completed.

    Parameters
    ----------
    store:
        Where to write.
    suffix:
        Suffix of the file names of a shard.
    names:
        Names of all scans.
    """

    def __init__(self, store: OutputStore, suffix: str, names: Sequence[str]) -> None:
        self._store, self._suffix, self._total = store, suffix, len(names)
        self._results: list[ScanResult] = []
        self._interval, self._written_at = _MIN_INTERVAL, 0.0
        self._earlier: dict[str, ScanResult] = {}
        path = store.folder and store.folder / f"summary{suffix}.csv"
        if path is not None and path.is_file():
            with suppress(DataError):  # a damaged summary is replaced
                own = set(names)
                self._earlier = {r.name: r for r in read_summary(path) if r.name in own}

    @property
    def results(self) -> list[ScanResult]:
        """The results, sorted by name."""
        return _sorted(self._results)

    def add(self, result: ScanResult) -> int:
        """Add a result, update the files if they are old, and return the number of results."""
        self._results.append(result)
        begin = time.monotonic()
        if begin - self._written_at > self._interval:
            with suppress(PleuraError):  # `close` raises it
                self._write()
            self._written_at = time.monotonic()
            self._interval = max(_MIN_INTERVAL, 20 * (self._written_at - begin))
        return len(self._results)

    def close(self) -> None:
        """Write all tables.

        Raises
        ------
        DataError
            They cannot be written.
        """
        self._write()
        write_regions(self._store, self.results, self._suffix)

    def remove_unfinished(self) -> None:
        """Remove incomplete tables of killed processes; no other process may write them now."""
        if self._store.folder is not None:
            for stem, suffix in _FILES:
                remove_unfinished(self._store.folder / f"{stem}{self._suffix}.{suffix}")

    def _write(self) -> None:
        results = {**self._earlier, **{result.name: result for result in self._results}}
        write_summary(self._store, _sorted(list(results.values())), self._suffix)
        failed = sum(result.status == "failed" for result in self._results)
        progress = {"completed": len(self._results), "failed": failed, "total": self._total}
        self._store.write(f"progress{self._suffix}.json", json.dumps(progress).encode())


def _sorted(results: Sequence[ScanResult]) -> list[ScanResult]:
    return sorted(results, key=lambda result: result.name)
