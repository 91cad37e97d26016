"""Runtimes that run a model file, chosen by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Precision = Literal["auto", "fp32", "bf16"]


Runtime = Literal["openvino", "onnxruntime"]


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LoadedModel(Protocol):
    """A model file loaded by a runtime; may be called by several threads."""

    def run(self, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the graph's output for HU, both (slices, rows, columns)."""

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Compile the model for batches of this shape, where the runtime does so."""

    def release(self) -> None:
        """Release the memory of what was compiled."""


def load_model(path: Path, threads: int, precision: Precision, runtime: Runtime) -> LoadedModel:
    """Load a model file in this process.

    Raises
    ------
    ModelError
        The runtime is not installed, or cannot load the file.
    """
    if runtime == "onnxruntime":
        from pleura.engine.onnx_runtime import OnnxRuntime

        return OnnxRuntime(path, threads)
    from pleura.engine.open_vino import OpenVino

    return OpenVino(path, threads, precision)
