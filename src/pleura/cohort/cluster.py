"""A Dask cluster that segments a cohort: SLURM, Kubernetes, or some machines of one's own."""

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
from pleura.cohort.stores import OutputStore
from pleura.cohort.summary import Row
from pleura.cohort.tasks import Task
from pleura.cohort.work import Settings
from pleura.cohort.workers import Work
from pleura.errors import PleuraError, first_line
from pleura.files.records import read_record

PATIENCE = 300.0
"""Seconds that a scheduler may be away, for example while it is started again."""


class Cluster(AbstractContextManager["Cluster"]):
    """The workers of a Dask scheduler. Each of a worker's threads segments a scan at a time.

    Parameters
    ----------
    address:
        Of the scheduler (``tcp://host:8786``), or the JSON file that it wrote.

    Raises
    ------
    PleuraError
        dask.distributed is not installed, no scheduler answers, or a worker is of another version.
    """

    window = 1000

    def __init__(self, address: str, patience: float = PATIENCE) -> None:
        self.address = address
        self.patience = patience
        self._client = self._connect(min(patience, 10))
        try:
            self._check_versions()
        except BaseException:
            self._close()
            raise

    def submit(
        self, work: Work, task: Task, output: OutputStore, settings: Settings
    ) -> Future[Row]:
        settings = replace(settings, threads=settings.threads or 1)  # a thread of Dask is a core
        future: Future[Row] = Future()
        try:
            handed = self._client.submit(work, task, output, settings, pure=False)
        except Exception as error:  # noqa: BLE001  # Dask raises many kinds once it is cut off
            cut_off = self._client.status != "running"
            future.set_exception(CancelledError(first_line(error)) if cut_off else error)
        else:
            self._client.loop.add_callback(_passed_on, handed, future)
        return future

    def lost(self, error: BaseException) -> bool:
        from distributed.comm.core import CommClosedError

        if not isinstance(error, CancelledError | CommClosedError | asyncio.CancelledError):
            return False
        if self._client.status != "running":
            self._close()
            self._client = self._connect(self.patience)
        return True

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        with suppress(Exception):  # it may be cut off, and what is out is lost with it
            self._client.close(timeout=5)

    def _connect(self, patience: float) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            raise PleuraError(
                "dask.distributed is not installed",
                where=None,
                hint='pip install "pleura[cluster]"',
            ) from error
        end = time.monotonic() + patience
        timeout = max(1, min(patience, 10))
        while True:
            try:
                return Client(
                    self._scheduler(), timeout=timeout, set_as_default=False, name="pleura"
                )
            except (OSError, ValueError, KeyError, asyncio.TimeoutError) as error:
                reason = first_line(error)
            # Destroyed later, in the thread that the next client starts, the one that failed would
            # wait for a lock that this thread holds.
            gc.collect()
            if time.monotonic() >= end:
                raise PleuraError(
                    f"no Dask scheduler answers ({reason})",
                    where=self.address,
                    hint="check the address and that it runs; what is done will be skipped",
                )
            time.sleep(1)

    def _scheduler(self) -> str:
        if not self.address.endswith(".json"):
            return self.address
        return str(read_record(Path(self.address)).get("address", self.address))

    def _check_versions(self) -> None:
        try:
            found = self._client.run(importlib.metadata.version, "pleura")
        except importlib.metadata.PackageNotFoundError as error:
            raise PleuraError(
                "a worker has no pleura",
                where=self.address,
                hint=f"install pleura {pleura.__version__} on all workers",
            ) from error
        for worker, version in found.items():
            if version != pleura.__version__:
                raise PleuraError(
                    f"a worker has pleura {version}, and this is {pleura.__version__}",
                    where=worker,
                    hint="install the same version everywhere",
                )


async def _passed_on(handed: Any, future: Future[Row]) -> None:
    """Give the outcome of Dask's future, whatever it is, to one that can be waited for."""
    try:
        future.set_result(await handed)
    except BaseException as error:  # noqa: BLE001  # one that nobody sets is waited for forever
        lost = handed.status in ("lost", "cancelled")
        future.set_exception(CancelledError(first_line(error)) if lost else error)
