"""Loaded models of this process, and what a fork does to them."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from pathlib import Path

from pleura.engine.helper import HelperProcess
from pleura.engine.lifetime import never_destroy
from pleura.engine.runtimes import LoadedModel, Precision, Runtime, load_model


class ModelLoader:
    """Loads models by a runtime that works in this process; knows those that are loaded.

    After a fork a runtime has no threads, and its locks may be held for ever: models that were
    loaded before it are never destroyed, and new ones run in a helper process.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._models: weakref.WeakSet[LoadedModel] = weakref.WeakSet()
        self._forked = False  # whether a parent of this process had loaded a runtime
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def load(self, path: Path, threads: int, precision: Precision, runtime: Runtime) -> LoadedModel:
        """Load a model file.

        Raises
        ------
        ModelError
            The runtime is not installed, or cannot load the file.
        """
        load = HelperProcess if self._forked else load_model
        model: LoadedModel = load(path, threads, precision, runtime)
        self._models.add(model)
        return model

    def _after_fork(self) -> None:
        self.lock = threading.Lock()  # another thread may have held it
        loaded = "openvino" in sys.modules or "onnxruntime" in sys.modules
        self._forked = self._forked or loaded
        for model in self._models:  # its destructor would wait for threads that do not exist here
            never_destroy(model)


LOADER = ModelLoader()
"""The loader of this process; one for all, since a fork concerns every model."""
