"""A model that runs in a process of its own, for processes in which no runtime works."""

from __future__ import annotations

import json
import multiprocessing.spawn
import signal
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.engine.runtimes import load_model
from pleura.errors import ModelError, PleuraError

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from pleura.engine.helper import main; main(int(sys.argv[2]))"
)
_START = 60.0
"""Seconds until a helper must have loaded the model."""


class HelperProcess:
    """A model file loaded by a new Python process, which ends with this object or this process.

    OpenVINO and ONNX Runtime keep threads and locks for the whole process. After a fork the threads
    are gone and the locks may be held for ever, so that inference, and even loading, can hang.

    Raises
    ------
    ModelError
        The process cannot be started, or the model cannot be loaded.
    """

    def __init__(self, path: Path, threads: int, precision: str, runtime: str) -> None:
        self._lock = threading.Lock()
        self._connection, theirs = Pipe()
        executable = multiprocessing.spawn.get_executable() or sys.executable
        arguments = [executable, "-c", _CODE, json.dumps(sys.path), str(theirs.fileno())]
        try:
            process = subprocess.Popen(  # noqa: S603
                arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        except (OSError, TypeError) as error:
            raise _no_helper() from error
        finally:
            theirs.close()
        weakref.finalize(self, _end, self._connection, process)
        if not self._connection.poll(_START):
            raise _no_helper()
        self._call("load", path, threads, precision, runtime)

    def run(self, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the graph's output for (slices, rows, columns)."""
        return np.asarray(self._call("run", hu))

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Compile for batches of this shape."""
        self._call("prepare", shape)

    def release(self) -> None:
        """Release the memory of what was compiled."""
        self._call("release")

    def _call(self, *request: Any) -> Any:
        with self._lock:
            try:
                if request[0] == "load":
                    self._connection.recv()  # it has started
                self._connection.send(request)
                answer = self._connection.recv()
            except (EOFError, OSError) as error:
                raise _no_helper() from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def main(handle: int) -> None:
    """Answer the requests that arrive at a file descriptor, until the other side closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    connection = Connection(handle)
    connection.send("started")
    model = None
    while True:
        try:
            name, *values = connection.recv()
        except (EOFError, OSError):
            return
        answer: Any = None
        try:
            if name == "load":
                model = load_model(*values)
            else:
                answer = getattr(model, name)(*values)
        except (PleuraError, MemoryError) as error:
            answer = error
        # What crosses to the other process is of a type that it has.
        except Exception as error:  # noqa: BLE001
            answer = RuntimeError(str(error))
        try:
            connection.send(answer)
        except OSError:  # nobody waits any more
            return


def _end(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _no_helper() -> ModelError:
    return ModelError(
        "the model cannot run in this forked process: its helper process failed",
        where=None,
        hint="start the processes with multiprocessing.get_context('spawn')",
    )
