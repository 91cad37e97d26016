"""Inference in a subprocess, for forked processes, in which runtimes do not work."""

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
    "from pleura.engine.subprocess_model import main; main(int(sys.argv[2]))"
)

START_TIMEOUT = 60.0
"""Seconds in which the subprocess must start."""


class SubprocessModel:
    """A model file that a new Python process loads; it ends with this object or this process.

    OpenVINO and ONNX Runtime keep threads and locks for the whole process. After a fork the threads
    are missing and the locks may stay locked, so that inference and even loading can hang.

    Parameters
    ----------
    path, threads, precision, runtime:
        As for `load_model`.

    Raises
    ------
    ModelError
        The subprocess does not start, or the model cannot be loaded.
    """

    def __init__(self, path: Path | bytes, threads: int, precision: str, runtime: str) -> None:
        self._lock = threading.Lock()
        self._connection, remote = Pipe()
        executable = multiprocessing.spawn.get_executable() or sys.executable
        arguments = [executable, "-c", _CODE, json.dumps(sys.path), str(remote.fileno())]
        try:
            process = subprocess.Popen(  # noqa: S603
                arguments, pass_fds=[remote.fileno()], stdin=subprocess.DEVNULL
            )
        except (OSError, TypeError) as error:
            raise _subprocess_failed() from error
        finally:
            remote.close()
        weakref.finalize(self, _end, self._connection, process)
        if not self._connection.poll(START_TIMEOUT):
            raise _subprocess_failed()
        self._call("load", path, threads, precision, runtime)

    def run(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the output of the graph for its input, int16 (slices, ..., rows, columns)."""
        return np.asarray(self._call("run", values))

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Compile the model for batches of this shape."""
        self._call("prepare", shape)

    def release(self) -> None:
        """Release the memory of compiled models."""
        self._call("release")

    def device(self) -> tuple[str, str]:
        """Return the device that runs the model, and the reason."""
        name, reason = self._call("device")
        return name, reason

    def _call(self, *request: Any) -> Any:
        with self._lock:
            try:
                if request[0] == "load":
                    self._connection.recv()  # the message of the start
                self._connection.send(request)
                answer = self._connection.recv()
            except (EOFError, OSError) as error:
                raise _subprocess_failed() from error
        if isinstance(answer, Exception):
            raise answer
        return answer


def main(handle: int) -> None:
    """Answer the requests that arrive at a file descriptor until the other side closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
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
        # Other exceptions may have types that the parent cannot unpickle.
        except Exception as error:  # noqa: BLE001
            answer = RuntimeError(str(error))
        try:
            connection.send(answer)
        except OSError:  # the parent has ended
            return


def _end(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _subprocess_failed() -> ModelError:
    return ModelError(
        "the model cannot run in this forked process: its subprocess failed",
        where=None,
        hint="start the processes with multiprocessing.get_context('spawn')",
    )
