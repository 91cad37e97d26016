"""Workers that segment the scans of a cohort: threads of this process, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from pleura.cohort.pool import SegmenterPool
from pleura.cohort.stores import OutputStore
from pleura.cohort.tables import ScanResult
from pleura.cohort.task import Task
from pleura.cohort.worker import WorkerOptions
from pleura.engine.runtimes import available_cpus

Work = Callable[[Task, OutputStore, WorkerOptions, SegmenterPool], ScanResult]
"""`segment_task`; it can be pickled."""


class Workers(Protocol):
    """Workers that scans are submitted to."""

    max_pending: int
    """Number of scans that are submitted and not completed, at most."""

    def submit(
        self, work: Work, task: Task, store: OutputStore, options: WorkerOptions
    ) -> Future[ScanResult]:
        """Submit one scan.

        Returns
        -------
        Future of ScanResult
        """

    def recover(self, error: BaseException) -> bool:
        """Return whether a scan failed because a worker was lost; if needed, connect again."""


class ThreadWorkers(AbstractContextManager["ThreadWorkers"]):
    """Threads of this process, which share its cores and its segmenters.

    Parameters
    ----------
    jobs:
        Number of scans at a time.
    options:
        Options of the scans. The model is loaded at once, so that an error is raised here.

    Raises
    ------
    ModelError
        The model cannot be loaded.
    """

    def __init__(self, jobs: int, options: WorkerOptions) -> None:
        self.max_pending = jobs
        per_scan = options.segmentation.threads
        self._threads = per_scan * jobs if per_scan else available_cpus()
        self._segmenters = SegmenterPool()
        self._segmenters.segmenter(self._with_threads(options).segmentation)
        self._executor = ThreadPoolExecutor(jobs)

    def submit(
        self, work: Work, task: Task, store: OutputStore, options: WorkerOptions
    ) -> Future[ScanResult]:
        options = self._with_threads(options)
        return self._executor.submit(work, task, store, options, self._segmenters)

    def recover(self, error: BaseException) -> bool:
        return False

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._segmenters.clear()

    def _with_threads(self, options: WorkerOptions) -> WorkerOptions:
        segmentation = replace(options.segmentation, threads=self._threads)
        return replace(options, segmentation=segmentation)
