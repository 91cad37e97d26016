"""A cohort to its masks: goes on past bad scans, skips what is done, loses nothing."""

from __future__ import annotations

import json
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pleura.cohort.places import Place, is_address
from pleura.cohort.summary import Row, write_summary, write_tables
from pleura.cohort.tasks import MANIFESTS, Task, find_tasks
from pleura.cohort.work import Settings, borrowed, forget_segmenters, segment_task
from pleura.engine.engine import cores
from pleura.errors import PleuraError, first_line

INPUTS = "inputs.txt"
"""In a folder of results: from which file or folder they were made, as a path from there."""

PROGRESS = "progress.json"
"""In a folder of results: how far a batch is, for who looks on."""

_PAUSE = 2.0
"""Seconds between one writing of the summary and the next."""

_DEFAULTS = Settings()

Work = Callable[[Task, Place, Settings], Row]


class Workers(Protocol):
    """Who works: threads here, or a cluster."""

    window: int
    """Scans that are handed out at a time."""

    def submit(self, work: Work, task: Task, output: Place, settings: Settings) -> Future[Row]:
        """Hand out one scan."""

    def lost(self, error: BaseException) -> bool:
        """Tell whether a scan failed because the workers went away; if so, get new ones."""


class Threads(AbstractContextManager["Threads"]):
    """Scans at a time on this machine; they share its cores."""

    def __init__(self, jobs: int, settings: Settings) -> None:
        self.window = jobs
        self._share = replace(settings, threads=settings.threads or max(1, cores() // jobs))
        with borrowed(self._share):  # a model that cannot be loaded is told here, once
            pass
        self._pool = ThreadPoolExecutor(jobs)

    def submit(self, work: Work, task: Task, output: Place, settings: Settings) -> Future[Row]:
        return self._pool.submit(work, task, output, self._share)

    def lost(self, error: BaseException) -> bool:
        return False

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        forget_segmenters()


def segment_all(
    inputs: str | Path,
    output: str | Path,
    settings: Settings = _DEFAULTS,
    *,
    jobs: int = 1,
    cluster: str | None = None,
    shard: tuple[int, int] = (1, 1),
    retries: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Segment every scan in a file or below a folder; of several series of a study, the best.

    Each scan leaves its mask and, last, a report of the same name. A scan whose report is there is
    skipped. ``summary.csv`` is written anew every few seconds; at the end, also of Ctrl-C, so are
    ``lungs.csv`` and ``lungs.parquet``.

    Parameters
    ----------
    inputs:
        A scan, a folder of scans, an fsspec address of either, or a manifest (.csv, .parquet).
    output:
        Folder or address to write to; folders below ``inputs`` are mirrored.
    settings:
        Model, format, units, and whether what is there is replaced.
    jobs:
        Scans at a time on this machine; they share the cores.
    cluster:
        Address of a Dask scheduler, or its JSON file; its workers segment instead.
    shard:
        ``(3, 40)``: of all scans the third fortieth alone, which leaves ``summary-3-of-40.csv``.
    retries:
        How often a scan is tried again that failed by what another try may help.
    progress:
        Called with the number of scans that are through, and of all.

    Raises
    ------
    ScanError, DataError
        There is nothing at ``inputs``, or the results cannot be written.
    ModelError
        The model cannot be loaded.
    PleuraError
        The cluster cannot be reached, or is of another version.
    """
    part, parts = shard
    suffix = "" if parts == 1 else f"-{part}-of-{parts}"
    place = Place(str(output))
    tasks = find_tasks(inputs, place.folder)[part - 1 :: parts]
    rows: list[Row] = []
    with _workers(jobs, cluster, settings) as workers:
        _remember_inputs(place, inputs)
        written = 0.0
        try:
            for row in _run(workers, tasks, place, settings, retries):
                rows.append(row)
                if time.monotonic() - written > _PAUSE:
                    _write_so_far(place, rows, len(tasks), suffix)
                    written = time.monotonic()
                if progress is not None:
                    progress(len(rows), len(tasks))
        finally:
            _write_so_far(place, rows, len(tasks), suffix)
            write_tables(place, _sorted(rows), suffix)
    return _sorted(rows)


def _workers(
    jobs: int, cluster: str | None, settings: Settings
) -> Threads | AbstractContextManager[Workers]:
    if cluster is None:
        return Threads(jobs, settings)
    from pleura.cohort.cluster import Cluster

    return Cluster(cluster)


def _run(
    workers: Workers, tasks: Sequence[Task], place: Place, settings: Settings, retries: int
) -> Iterator[Row]:
    """Hand out scans, a window of them at a time, and yield a row of each as it is through."""
    waiting = deque((task, 0) for task in tasks)
    running: dict[Future[Row], tuple[Task, int]] = {}
    through: queue.SimpleQueue[Future[Row]] = queue.SimpleQueue()
    while waiting or running:
        while waiting and len(running) < workers.window:
            task, tries = waiting.popleft()
            future = workers.submit(segment_task, task, place, settings)
            running[future] = task, tries
            future.add_done_callback(through.put)
        future = through.get()
        task, tries = running.pop(future)
        try:
            row = future.result()
        # The batch's boundary: what nobody foresaw is a row too, and does not stop the rest.
        except BaseException as error:
            if workers.lost(error):
                waiting.append((task, tries))
                continue
            if not isinstance(error, Exception):
                raise
            if tries < retries:
                waiting.append((task, tries + 1))
                continue
            row = Row(task.name, "failed", error=_unexpected(error), patient=task.patient)
        yield row


def _unexpected(error: Exception) -> str:
    if isinstance(error, PleuraError):
        return f"{error.what}; {error.fix}"
    return f"unexpected {type(error).__name__}: {first_line(error)}"


def _write_so_far(place: Place, rows: Sequence[Row], of: int, suffix: str) -> None:
    write_summary(place, _sorted(rows), suffix)
    failed = sum(row.status == "failed" for row in rows)
    told = {"through": len(rows), "failed": failed, "of": of}
    place.write(PROGRESS, json.dumps(told).encode())


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.name)


def _remember_inputs(place: Place, inputs: str | Path) -> None:
    """Note where the scans are, for who looks at the results."""
    if is_address(inputs) or str(inputs).lower().endswith(MANIFESTS) or place.folder is None:
        return
    text = os.path.relpath(Path(inputs).resolve(), place.folder.resolve())
    place.write(INPUTS, text.encode())
