"""State of the inference runtimes in this process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pleura.engine.runtimes import LoadedModel


class ProcessState:
    """Locks, loaded models and the OpenVINO core of this process; `PROCESS` is the only instance.

    OpenVINO and ONNX Runtime keep threads and locks for the whole process. A forked process has no
    such threads, and its locks may stay locked, so it must neither use nor destroy what its parent
    loaded.

    Attributes
    ----------
    lock:
        Held while a forked process replaces its models.
    forked:
        Whether a parent of this process had imported a runtime before the fork. Models of this
        process must run in a subprocess then.
    """

    def __init__(self) -> None:
        self.lock: AbstractContextManager[object] = threading.RLock()
        self.forked: bool = False
        self._models: weakref.WeakSet[LoadedModel] = weakref.WeakSet()
        self._openvino_core: Any = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def register(self, model: LoadedModel) -> None:
        """Keep a model alive in processes that are forked later."""
        self._models.add(model)

    def openvino_core(self, create: Callable[[], Any]) -> Any:
        """Return the OpenVINO core of this process, which is never destroyed.

        A core sets an alternative signal stack for the thread that creates it. If another thread
        destroyed it, that stack would be freed but still in use: the next Ctrl-C would crash.
        """
        with self.lock:
            if self._openvino_core is None:
                self._openvino_core = create()
                _keep_alive(self._openvino_core)
            return self._openvino_core

    def _after_fork(self) -> None:
        self.lock = threading.RLock()  # another thread may have held it
        imported = "openvino" in sys.modules or "onnxruntime" in sys.modules
        self.forked = self.forked or imported
        for model in self._models:  # its destructor would wait for threads that do not exist here
            _keep_alive(model)


def _keep_alive(value: object) -> None:
    """Keep an object until the process ends, beyond the end of the interpreter."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


PROCESS = ProcessState()
"""The state of this process."""
