"""A cohort to its masks: goes on past bad scans, skips what is done, loses nothing."""

from __future__ import annotations

import json
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pleura.cohort.stores import OutputStore, is_address
from pleura.cohort.summary import Row, read_summary, write_summary, write_tables
from pleura.cohort.tasks import Task, find_tasks
from pleura.cohort.work import Settings, segment_task, target_of
from pleura.cohort.workers import Threads, Workers
from pleura.errors import DataError, PleuraError, first_line
from pleura.files.atomic import remove_unfinished
from pleura.formats.find import ScanEntry
from pleura.names import printable

INPUTS = "inputs.txt"
"""In a folder of results: the file, folder or manifest they are of, as a path from there."""

PROGRESS = "progress*.json"
"""In a folder of results: how far a batch is, or each of its shards, for who looks on."""

_TABLES = (("summary", "csv"), ("lungs", "csv"), ("lungs", "parquet"), ("progress", "json"))
"""The files of a batch, or of each of its shards."""

_PAUSE = 2.0
"""Seconds between one writing of the summary and the next."""

_DEFAULTS = Settings()


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
    inputs, place = _absolute(inputs), OutputStore(str(_absolute(output)))
    tasks = find_tasks(inputs, place.address, anonymous=settings.anonymous)[part - 1 :: parts]
    _must_keep(tasks, place, settings)
    summary = _Summary(place, suffix, [task.name for task in tasks])
    with _workers(jobs, cluster, settings) as workers:
        if not settings.anonymous:
            _remember_inputs(place, inputs)
        try:
            for row in _run(workers, tasks, place, settings, retries):
                summary.add(row)
                if progress is not None:
                    progress(len(summary.rows), len(tasks))
        except BaseException:
            with suppress(PleuraError):  # what went wrong first is what is told
                summary.close()
            raise
        summary.close()
        _tidy(place, tasks, suffix)
    return _sorted(summary.rows)


def _must_keep(tasks: Sequence[Task], place: OutputStore, settings: Settings) -> None:
    """Refuse to write a mask to where a scan is.

    Raises
    ------
    DataError
        One would take the place of another.
    """
    if place.folder is None:
        return
    there = [p for task in tasks if (p := place.folder / target_of(task, settings)).exists()]
    sources = (t.source.source if isinstance(t.source, ScanEntry) else t.source for t in tasks)
    scans = {os.path.realpath(p) for p in sources if isinstance(p, Path)} if there else set()
    for path in there:
        if os.path.realpath(path) in scans:
            raise DataError(
                "a result would take the place of a scan of that name",
                where=path,
                hint="write to another folder, or rename the scan",
            )


def _tidy(place: OutputStore, tasks: Sequence[Task], suffix: str) -> None:
    """Remove what workers that were killed left half-written; nobody writes these any more."""
    folder, names = place.folder, {task.name for task in tasks}
    if folder is None:
        return
    for stem, ending in _TABLES:
        remove_unfinished(folder / f"{stem}{suffix}.{ending}")
    remove_unfinished(folder / INPUTS)
    for path in folder.rglob(".*_lungs*"):
        name = path.with_name(path.name[1:].rpartition("_lungs")[0])
        if name.relative_to(folder).as_posix() in names:
            path.unlink(missing_ok=True)


class _Summary:
    """The rows so far, and their tables, written now and then and at the end.

    Of scans that are not through, the rows of an earlier summary stand.
    """

    def __init__(self, place: OutputStore, suffix: str, names: Sequence[str]) -> None:
        self.place, self.suffix, self.of = place, suffix, len(names)
        self.rows: list[Row] = []
        self.pause, self.written = _PAUSE, 0.0
        self.before: dict[str, Row] = {}
        path = place.folder and place.folder / f"summary{suffix}.csv"
        if path is not None and path.is_file():
            with suppress(DataError):  # a damaged one is replaced
                wanted = set(names)
                self.before = {r.name: r for r in read_summary(path) if r.name in wanted}

    def add(self, row: Row) -> None:
        self.rows.append(row)
        begin = time.monotonic()
        if begin - self.written > self.pause:
            with suppress(PleuraError):  # at the end it is an error
                self._write()
            self.written = time.monotonic()
            self.pause = max(_PAUSE, 20 * (self.written - begin))

    def close(self) -> None:
        self._write()
        write_tables(self.place, _sorted(self.rows), self.suffix)

    def _write(self) -> None:
        rows = {**self.before, **{row.name: row for row in self.rows}}
        write_summary(self.place, _sorted(list(rows.values())), self.suffix)
        failed = sum(row.status == "failed" for row in self.rows)
        told = {"completed": len(self.rows), "failed": failed, "total": self.of}
        self.place.write(f"progress{self.suffix}.json", json.dumps(told).encode())


def _absolute(place: str | Path) -> str | Path:
    """Return a path as the workers need it, whose folder is another."""
    return place if is_address(place) else Path(place).absolute()


def _workers(
    jobs: int, cluster: str | None, settings: Settings
) -> Threads | AbstractContextManager[Workers]:
    if cluster is None:
        return Threads(jobs, settings)
    from pleura.cohort.cluster import Cluster

    return Cluster(cluster)


def _run(
    workers: Workers, tasks: Sequence[Task], place: OutputStore, settings: Settings, retries: int
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
            failed = _unexpected(error)
            row = Row(task.name, "failed", error=failed, patient=task.patient, source=task.path)
        yield row


def _unexpected(error: Exception) -> str:
    if isinstance(error, PleuraError):
        return printable(f"{error.message}; {error.hint}")
    if isinstance(error, OSError) and error.strerror:  # the rest is a path, perhaps with a name
        return f"unexpected {type(error).__name__}: {error.strerror}"
    return printable(f"unexpected {type(error).__name__}: {first_line(error)}")


def _sorted(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.name)


def _remember_inputs(place: OutputStore, inputs: str | Path) -> None:
    """Note where the scans are, for who looks at the results."""
    if is_address(inputs) or place.folder is None:
        return
    try:
        text = os.path.relpath(Path(inputs).resolve(), place.folder.resolve())
    except ValueError:  # on another drive
        text = str(Path(inputs).resolve())
    place.write(INPUTS, os.fsencode(text))
