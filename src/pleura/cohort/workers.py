"""Workers that segment the scans of a cohort: threads of this process, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from pleura.cohort.stores import OutputStore
from pleura.cohort.summary import Row
from pleura.cohort.tasks import Task
from pleura.cohort.work import Settings, borrowed, forget_segmenters
from pleura.engine.runtimes import available_cpus

Work = Callable[[Task, OutputStore, Settings], Row]


class Workers(Protocol):
    """Who works: threads here, or a cluster."""

    window: int
    """Scans that are handed out at a time."""

    def submit(
        self, work: Work, task: Task, output: OutputStore, settings: Settings
    ) -> Future[Row]:
        """Hand out one scan."""

    def lost(self, error: BaseException) -> bool:
        """Tell whether a scan failed because the workers went away; if so, get new ones."""


class Threads(AbstractContextManager["Threads"]):
    """Scans at a time on this machine; they share its cores."""

    def __init__(self, jobs: int, settings: Settings) -> None:
        self.window = jobs
        self._share = replace(
            settings, threads=settings.threads or max(1, available_cpus() // jobs)
        )
        with borrowed(self._share):  # a model that cannot be loaded is told here, once
            pass
        self._pool = ThreadPoolExecutor(jobs)

    def submit(
        self, work: Work, task: Task, output: OutputStore, settings: Settings
    ) -> Future[Row]:
        return self._pool.submit(work, task, output, self._share)

    def lost(self, error: BaseException) -> bool:
        return False

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        forget_segmenters()
