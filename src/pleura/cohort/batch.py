"""Segment many scans: submit them to workers, collect results, skip completed scans."""

from __future__ import annotations

import logging
import os
import queue
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

from pleura.cohort.find import find_tasks
from pleura.cohort.options import DistributionOptions, OutputOptions, SegmentationOptions
from pleura.cohort.progress import CohortProgress
from pleura.cohort.result_names import RESULT_ENDINGS
from pleura.cohort.stores import OutputStore, is_address
from pleura.cohort.tables import ScanResult
from pleura.cohort.task import Task
from pleura.cohort.worker import WorkerOptions, mask_name, segment_task
from pleura.cohort.workers import ThreadWorkers, Workers
from pleura.engine.model_file import SHIPPED_MODELS
from pleura.errors import DataError, PleuraError, first_line
from pleura.files.atomic import remove_unfinished
from pleura.formats.find import ScanEntry
from pleura.names import printable
from pleura.typing import Progress, StrPath

_logger = logging.getLogger(__name__)

INPUTS_FILE = "inputs.txt"
"""File in the folder of results with the path of the inputs, relative to that folder."""

_SEGMENTATION, _OUTPUTS = SegmentationOptions(), OutputOptions()
_DISTRIBUTION = DistributionOptions()


def segment_cohort(
    inputs: StrPath,
    output: StrPath,
    options: SegmentationOptions = _SEGMENTATION,
    *,
    outputs: OutputOptions = _OUTPUTS,
    distribution: DistributionOptions = _DISTRIBUTION,
    progress: Progress | None = None,
) -> list[ScanResult]:
    """Segment every scan in a file or folder, or the best series of each study.

    For each scan, the mask and then a JSON report (`ScanReport`) are written. Scans with a report
    of the same content and options are skipped. ``summary.csv`` and ``progress.json`` are updated
    every few seconds; ``lungs.csv`` and ``lungs.parquet`` are written at the end or on Ctrl-C.

    Parameters
    ----------
    inputs:
        A scan, a folder of scans, an fsspec address of either, or a manifest (.csv, .parquet).
    output:
        Folder or address to write to; folders below ``inputs`` are mirrored.
    options:
        How to read and segment each scan.
    outputs:
        What to write for each scan.
    distribution:
        Number of jobs, cluster, shard and retries.
    progress:
        Called with the number of completed scans and of all scans.

    Returns
    -------
    list of ScanResult
        One per scan, sorted by name; also for scans that failed.

    Raises
    ------
    ScanError, DataError
        There is no scan at ``inputs``, or the results cannot be written.
    ModelError
        The model cannot be loaded.
    PleuraError
        The cluster cannot be reached, or has another version of pleura.
    """
    index, count = distribution.shard
    suffix = "" if count == 1 else f"-{index}-of-{count}"
    inputs, store = _absolute(inputs), OutputStore(str(_absolute(output)))
    if options.model is not None and str(options.model) not in SHIPPED_MODELS:
        options = replace(options, model=Path(options.model).absolute())
    tasks = find_tasks(inputs, store.address, anonymous=outputs.anonymous)[index - 1 :: count]
    _logger.info("Found %d scans", len(tasks))
    _refuse_inputs(tasks, store, outputs)
    results = CohortProgress(store, suffix, [task.name for task in tasks])
    worker_options = WorkerOptions(options, outputs)
    with _workers(distribution, worker_options) as workers:
        if not outputs.anonymous:
            _record_inputs(store, inputs)
        try:
            for result in _run(workers, tasks, store, worker_options, distribution.retries):
                completed = results.add(result)
                _log_result(result, completed, len(tasks))
                if progress is not None:
                    progress(completed, len(tasks))
        except BaseException:
            with suppress(PleuraError):  # the first error is the one to raise
                results.close()
            raise
        results.close()
        results.remove_unfinished()
        _remove_unfinished(store, tasks)
    return results.results


def _log_result(result: ScanResult, completed: int, total: int) -> None:
    _logger.info("Scan %d of %d: %s %s", completed, total, result.name, result.status)
    if result.error:
        _logger.warning("%s: %s", result.name, result.error)


def _absolute(path: StrPath) -> str | Path:
    """Return an absolute path: workers may run in another folder."""
    return str(path) if is_address(path) else Path(path).absolute()


def _refuse_inputs(tasks: Sequence[Task], store: OutputStore, outputs: OutputOptions) -> None:
    """Refuse to overwrite a scan by a mask.

    Raises
    ------
    DataError
        The path of a mask is that of a scan.
    """
    if store.folder is None:
        return
    masks = (mask_name(task, outputs, ending) for task in tasks for ending in RESULT_ENDINGS)
    existing = [path for mask in masks if (path := store.folder / mask).exists()]
    sources = (t.source.source if isinstance(t.source, ScanEntry) else t.source for t in tasks)
    scans = {os.path.realpath(p) for p in sources if isinstance(p, Path)} if existing else set()
    for path in existing:
        if os.path.realpath(path) in scans:
            raise DataError(
                "the output path is an input scan",
                where=path,
                hint="write to another folder, or rename the scan",
            )


def _remove_unfinished(store: OutputStore, tasks: Sequence[Task]) -> None:
    """Remove incomplete files of killed workers; no other process may write them now."""
    folder, names = store.folder, {task.name for task in tasks}
    if folder is None:
        return
    remove_unfinished(folder / INPUTS_FILE)
    for ending in RESULT_ENDINGS:
        for path in folder.rglob(f".*{ending}*"):
            name = path.with_name(path.name[1:].rpartition(ending)[0])
            if name.relative_to(folder).as_posix() in names:
                path.unlink(missing_ok=True)


def _workers(
    distribution: DistributionOptions, options: WorkerOptions
) -> ThreadWorkers | AbstractContextManager[Workers]:
    if distribution.cluster is None:
        return ThreadWorkers(distribution.jobs, options)
    from pleura.cohort.dask_workers import DaskWorkers

    return DaskWorkers(distribution.cluster)


def _run(
    workers: Workers,
    tasks: Sequence[Task],
    store: OutputStore,
    options: WorkerOptions,
    retries: int,
) -> Iterator[ScanResult]:
    """Submit the scans, a limited number at a time, and yield each result when it is ready."""
    waiting = deque((task, 0) for task in tasks)
    running: dict[Future[ScanResult], tuple[Task, int]] = {}
    completed: queue.SimpleQueue[Future[ScanResult]] = queue.SimpleQueue()
    while waiting or running:
        while waiting and len(running) < workers.max_pending:
            task, retried = waiting.popleft()
            future = workers.submit(segment_task, task, store, options)
            running[future] = task, retried
            future.add_done_callback(completed.put)
        future = completed.get()
        task, retried = running.pop(future)
        try:
            result = future.result()
        # An unexpected error of one scan must not stop the others.
        except BaseException as error:
            if workers.recover(error):
                waiting.append((task, retried))
                continue
            if not isinstance(error, Exception):
                raise
            if retried < retries:
                waiting.append((task, retried + 1))
                continue
            message = _message(error)
            result = ScanResult(
                task.name, "failed", error=message, patient=task.patient, source=task.path
            )
        yield result


def _message(error: Exception) -> str:
    if isinstance(error, PleuraError):
        return printable(f"{error.message}; hint: {error.hint}")
    if isinstance(error, OSError) and error.strerror:  # the full text may contain a patient's name
        return f"unexpected {type(error).__name__}: {error.strerror}"
    return printable(f"unexpected {type(error).__name__}: {first_line(error)}")


def _record_inputs(store: OutputStore, inputs: StrPath) -> None:
    """Write the path of the inputs, from which `pleura view` reads the scans."""
    if is_address(inputs) or store.folder is None:
        return
    try:
        text = os.path.relpath(Path(inputs).resolve(), store.folder.resolve())
    except ValueError:  # on another drive
        text = str(Path(inputs).resolve())
    store.write(INPUTS_FILE, os.fsencode(text))
