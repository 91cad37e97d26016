"""Inference by OpenVINO on the CPU."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.engine.graph_optimization import optimize
from pleura.engine.openvino_library import ov
from pleura.engine.process_state import PROCESS
from pleura.engine.runtimes import is_slow_in_bf16
from pleura.errors import ModelError

CACHED_SHAPES = 3
"""Number of slice sizes for which the model stays compiled; each takes about 50 MB."""

MAX_VALUES = 1 << 30
"""Maximum size of an intermediate result; the shipped models have up to 2**21 values for a
slice of 512x512 pixels."""


class OpenVinoModel:
    """A model that OpenVINO compiles once for each size of slices.

    It runs on one slice at a time, whose intermediate results stay in the caches of the CPU.
    Inferences are queued: each uses all threads, so two at a time would not be faster, and each
    further request takes as much memory as the first.

    Parameters
    ----------
    path:
        The model file.
    threads:
        CPU threads.
    precision:
        ``auto``, ``fp32`` or ``bf16``.

    Raises
    ------
    ModelError
        OpenVINO cannot read the file.
    """

    def __init__(self, path: Path, threads: int, precision: str) -> None:
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        if precision == "auto" and is_slow_in_bf16():
            precision = "fp32"
        if precision != "auto":
            self._options["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
        try:
            self._model = _core().read_model(path)
        # Names that are not UTF-8 raise ValueError.
        except (RuntimeError, MemoryError, ValueError) as error:
            raise ModelError(
                "the model file is truncated or corrupt",
                where=path,
                hint="copy the file again, or export the run again",
            ) from error
        self._requests: dict[tuple[int, ...], ov.InferRequest] = {}
        self._lock = threading.Lock()

    def run(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the output of the graph for its input (slices, rows, columns).

        Raises
        ------
        RuntimeError, MemoryError
            The inference failed.
        """
        with self._lock:
            request = self._request_for(values.shape)
            outputs = []
            for start in range(len(values)):
                request.infer([np.ascontiguousarray(values[start : start + 1])], share_inputs=True)
                outputs.append(np.array(request.get_output_tensor().data))
            return np.concatenate(outputs)

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Compile the model for slices of this size, unless that is done."""
        with self._lock:
            self._request_for(shape)

    def release(self) -> None:
        """Release the memory of compiled models."""
        with self._lock:
            self._requests.clear()

    def _request_for(self, shape: tuple[int, ...]) -> ov.InferRequest:
        """Return the model that is compiled for slices of this size."""
        size = shape[1:]
        request = self._requests.pop(size, None) or self._compile(size)
        self._requests[size] = request
        while len(self._requests) > CACHED_SHAPES:
            del self._requests[next(iter(self._requests))]
        return request

    def _compile(self, size: tuple[int, ...]) -> ov.InferRequest:
        model = self._model.clone()
        model.reshape([1, *size])
        _check_sizes(model)
        optimize(model)
        return _core().compile_model(model, "CPU", self._options).create_infer_request()


def _core() -> ov.Core:
    return PROCESS.openvino_core(ov.Core)


def _check_sizes(model: ov.Model) -> None:
    """Raise RuntimeError if the output of an operator is too large or has no fixed size."""
    for operator in model.get_ops():
        for output in operator.outputs():
            shape = output.get_partial_shape()
            if shape.is_dynamic or math.prod(shape.to_shape()) > MAX_VALUES:
                raise RuntimeError(f"an intermediate result has the shape {shape}")
