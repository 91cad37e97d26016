"""Workers of a Dask cluster: SLURM, Kubernetes, or a few machines."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import time
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pleura
from pleura.cohort.pool import SegmenterPool
from pleura.cohort.stores import OutputStore
from pleura.cohort.tables import ScanResult
from pleura.cohort.task import Task
from pleura.cohort.worker import WorkerOptions
from pleura.cohort.workers import Work
from pleura.errors import PleuraError, first_line
from pleura.files.records import read_record

RECONNECT_SECONDS = 300.0
"""Seconds that a scheduler may be unreachable, for example while it restarts."""


class DaskWorkers(AbstractContextManager["DaskWorkers"]):
    """The workers of a Dask scheduler; each thread of a worker segments one scan at a time.

    Parameters
    ----------
    address:
        Address of the scheduler (``tcp://host:8786``), or the JSON file that it wrote.
    reconnect_seconds:
        Seconds to wait for a scheduler that is lost.

    Raises
    ------
    PleuraError
        dask.distributed is not installed, no scheduler responds, or a worker has another version
        of pleura.
    """

    max_pending = 1000

    def __init__(self, address: str, reconnect_seconds: float = RECONNECT_SECONDS) -> None:
        self.address = address
        self.reconnect_seconds = reconnect_seconds
        self._client = self._connect(min(reconnect_seconds, 10))
        try:
            self._check_versions()
        except BaseException:
            self._close()
            raise

    def submit(
        self, work: Work, task: Task, store: OutputStore, options: WorkerOptions
    ) -> Future[ScanResult]:
        future: Future[ScanResult] = Future()
        try:
            dask_future = self._client.submit(
                _run_on_worker, work, task, store, options, pure=False
            )
        except Exception as error:  # noqa: BLE001  # a disconnected client raises many types
            disconnected = self._client.status != "running"
            future.set_exception(CancelledError(first_line(error)) if disconnected else error)
        else:
            self._client.loop.add_callback(_copy_outcome, dask_future, future)
        return future

    def recover(self, error: BaseException) -> bool:
        from distributed.comm.core import CommClosedError

        if not isinstance(error, CancelledError | CommClosedError | asyncio.CancelledError):
            return False
        if self._client.status != "running":
            self._close()
            self._client = self._connect(self.reconnect_seconds)
        return True

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        with suppress(Exception):  # of a client that is disconnected
            self._client.close(timeout=5)

    def _connect(self, timeout_seconds: float) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            raise PleuraError(
                "dask.distributed is not installed; Dask clusters require it",
                where=None,
                hint='run pip install "pleura[cluster]"',
            ) from error
        end = time.monotonic() + timeout_seconds
        timeout = max(1, min(timeout_seconds, 10))
        while True:
            try:
                return Client(
                    self._scheduler(), timeout=timeout, set_as_default=False, name="pleura"
                )
            except (OSError, ValueError, KeyError, asyncio.TimeoutError) as error:
                reason = first_line(error)
            # If the failed client were destroyed later, in the thread that the next client starts,
            # it would wait for a lock that this thread holds.
            gc.collect()
            if time.monotonic() >= end:
                raise PleuraError(
                    f"the Dask scheduler does not respond ({reason})",
                    where=self.address,
                    hint="start it, and segment again: completed scans are skipped",
                )
            time.sleep(1)

    def _scheduler(self) -> str:
        if not self.address.endswith(".json"):
            return self.address
        return str(read_record(Path(self.address)).get("address", self.address))

    def _check_versions(self) -> None:
        try:
            versions = self._client.run(importlib.metadata.version, "pleura")
        except importlib.metadata.PackageNotFoundError as error:
            raise PleuraError(
                "pleura is not installed on a worker",
                where=self.address,
                hint=f"install pleura {pleura.__version__} on all workers",
            ) from error
        for worker, version in versions.items():
            if version != pleura.__version__:
                raise PleuraError(
                    f"a worker has pleura {version}, but this process has {pleura.__version__}",
                    where=worker,
                    hint="install the same version on all machines",
                )


def _run_on_worker(
    work: Work, task: Task, store: OutputStore, options: WorkerOptions
) -> ScanResult:
    """Do the work in a Dask worker process, with the segmenters of that worker.

    The pool is an attribute of the `distributed.Worker` object, which owns it: loaded models are
    reused by all cohorts until the worker closes.
    """
    from distributed import get_worker

    worker = get_worker()
    # Dask has one worker thread per core; the threads of a worker share a segmenter.
    threads = (options.segmentation.threads or 1) * worker.state.nthreads
    options = replace(options, segmentation=replace(options.segmentation, threads=threads))
    # Several threads may arrive here at once, and dict.setdefault is atomic.
    segmenters: SegmenterPool = vars(worker).setdefault("pleura_segmenters", SegmenterPool())
    return work(task, store, options, segmenters)


async def _copy_outcome(dask_future: Any, future: Future[ScanResult]) -> None:
    """Set a future of the standard library to the result or error of a future of Dask."""
    try:
        future.set_result(await dask_future)
    except BaseException as error:  # noqa: BLE001  # an unset future would be waited for forever
        lost = dask_future.status in ("lost", "cancelled")
        future.set_exception(CancelledError(first_line(error)) if lost else error)
