"""Inference by OpenVINO on the CPU."""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.engine.cpu import MAX_STREAMS, is_slow_in_bf16
from pleura.engine.graph_optimization import optimize
from pleura.engine.openvino_library import ov
from pleura.engine.process_state import PROCESS
from pleura.errors import ModelError

CACHED_SHAPES = 3
"""Number of slice sizes for which the model stays compiled; each takes about 50 MB."""

MAX_VALUES = 1 << 30
"""Maximum size of an intermediate result; the shipped models have up to 2**21 values for a
slice of 512x512 pixels."""


Requests = queue.SimpleQueue[ov.InferRequest]
"""Requests that no thread uses, one per stream."""


class OpenVinoModel:
    """A model that OpenVINO compiles once for each size of slices.

    Each stream runs on one slice at a time, whose intermediate results stay in the caches of a CPU
    core. The streams share the threads; several threads may call the model at the same time.

    Parameters
    ----------
    path:
        The model file, or its content.
    threads:
        CPU threads.
    precision:
        ``auto``, ``fp32`` or ``bf16``.

    Raises
    ------
    ModelError
        OpenVINO cannot read the file.
    """

    def __init__(self, path: Path | bytes, threads: int, precision: str) -> None:
        self._options: dict[str, Any] = {
            "NUM_STREAMS": min(threads, MAX_STREAMS),
            "INFERENCE_NUM_THREADS": threads,
            # Otherwise all processes of one thread run on the same core.
            "ENABLE_CPU_PINNING": False,
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
                where=path if isinstance(path, Path) else None,
                hint="copy the file again, or export the run again",
            ) from error
        self._requests: dict[tuple[int, ...], Requests] = {}
        self._lock = threading.Lock()

    def run(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the output of the graph for its input, int16 (slices, ..., rows, columns).

        Raises
        ------
        RuntimeError, MemoryError
            The inference failed.
        """
        free = self._requests_for(values.shape[1:])
        running: deque[tuple[ov.InferRequest, NDArray[np.int16]]] = deque()
        outputs: list[NDArray[np.uint8]] = []

        def finish_first() -> ov.InferRequest:
            """Wait for the request that was started first, and store its output."""
            request, _ = running.popleft()
            try:
                request.wait()
                outputs.append(np.array(request.get_output_tensor().data))
            except BaseException:
                free.put(request)
                raise
            return request

        try:
            for index in range(len(values)):
                try:
                    request = free.get(block=not running)
                except queue.Empty:  # other requests may be held by threads that wait for this one
                    request = finish_first()
                slices = np.ascontiguousarray(values[index : index + 1])
                running.append((request, slices))
                request.start_async([slices], share_inputs=True)
            while running:
                free.put(finish_first())
        finally:
            for request, _ in running:  # after an error
                with suppress(RuntimeError):
                    request.wait()
                free.put(request)
        return np.concatenate(outputs)

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Compile the model for slices of this size, unless that is done."""
        self._requests_for(shape[1:])

    def release(self) -> None:
        """Release the memory of compiled models."""
        with self._lock:
            self._requests.clear()

    def device(self) -> tuple[str, str]:
        """Return the device that runs the model, and the reason."""
        return "CPU", "the only device that pleura uses with OpenVINO"

    def _requests_for(self, size: tuple[int, ...]) -> Requests:
        """Return the requests of the model that is compiled for slices of this size."""
        with self._lock:
            requests = self._requests.pop(size, None) or self._compile(size)
            self._requests[size] = requests
            while len(self._requests) > CACHED_SHAPES:
                del self._requests[next(iter(self._requests))]
            return requests

    def _compile(self, size: tuple[int, ...]) -> Requests:
        model = self._model.clone()
        model.reshape([1, *size])
        _check_sizes(model)
        optimize(model)
        compiled = _core().compile_model(model, "CPU", self._options)
        requests: Requests = queue.SimpleQueue()
        for _ in range(self._options["NUM_STREAMS"]):
            requests.put(compiled.create_infer_request())
        return requests


def _core() -> ov.Core:
    return PROCESS.openvino_core(ov.Core)


def _check_sizes(model: ov.Model) -> None:
    """Raise RuntimeError if the output of an operator is too large or has no fixed size."""
    for operator in model.get_ops():
        for output in operator.outputs():
            shape = output.get_partial_shape()
            if shape.is_dynamic or math.prod(shape.to_shape()) > MAX_VALUES:
                raise RuntimeError(f"an intermediate result has the shape {shape}")
