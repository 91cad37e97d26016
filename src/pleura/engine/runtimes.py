"""Runtimes that run a model file, selected by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Precision = Literal["auto", "fp32", "bf16"]
"""Floating-point precision of OpenVINO; ``auto`` is bfloat16 on CPUs that are fast in it (with AMX,
or AMD with AVX512-BF16), else float32."""

Runtime = Literal["openvino", "onnxruntime"]
"""Library that runs a model; only ``onnxruntime`` uses GPUs."""


def available_cpus() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LoadedModel(Protocol):
    """A model file that a runtime has loaded; several threads may call it."""

    def run(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the output of the graph for its input, both (slices, rows, columns)."""

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Compile the model for batches of this shape, if the runtime compiles."""

    def release(self) -> None:
        """Release the memory of compiled models."""

    def device(self) -> tuple[str, str]:
        """Return the device that runs the model, for example ``CUDA``, and the reason."""


def load_model(
    path: Path | bytes, threads: int, precision: Precision, runtime: Runtime
) -> LoadedModel:
    """Load a model file, or its content, in this process.

    Raises
    ------
    ModelError
        The runtime is not installed, or cannot load the file.
    """
    if runtime == "onnxruntime":
        from pleura.engine.onnxruntime_model import OnnxRuntimeModel

        return OnnxRuntimeModel(path, threads)
    from pleura.engine.openvino_model import OpenVinoModel

    return OpenVinoModel(path, threads, precision)
