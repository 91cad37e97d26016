"""A model file run by OpenVINO on the CPU."""

from __future__ import annotations

import math
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.engine.lifetime import never_destroy
from pleura.errors import ModelError

# OpenVINO's converter, which is not used here, would load a package that sends usage statistics.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

# The bindings set up NumPy when a type is first converted; two threads that do so at the same
# time wait for each other for ever.
ov.Tensor(np.zeros(1, np.uint8)).element_type.to_dtype()

_KEPT = 3
"""Sizes of slices that stay compiled; each takes some 50 MB."""

_MAX_VALUES = 1 << 30
"""Of an intermediate result; the shipped models have up to 2**24 for 8 slices of 512x512."""


@cache
def _core() -> ov.Core:
    """Return the one core of this process.

    A core sets an alternative stack for signals in the thread that makes it. One that went away in
    another thread would leave that stack freed but in use: the next Ctrl-C would crash. After a
    fork, its destructor would wait for threads that the process does not have.
    """
    core = ov.Core()
    never_destroy(core)
    return core


class OpenVino:
    """Compiled once for each size of slices; ``precision`` is ``auto``, ``fp32`` or ``bf16``.

    Inferences take turns. Each uses all threads, so that two at a time would not be faster, and
    every further request takes as much memory as the first.

    Raises
    ------
    ModelError
        OpenVINO cannot read the file.
    """

    def __init__(self, path: Path, threads: int, precision: str) -> None:
        self._options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        if precision != "auto":
            self._options["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
        try:
            self._model = _core().read_model(path)
        # A ValueError comes from names that are not UTF-8.
        except (RuntimeError, MemoryError, ValueError) as error:
            raise ModelError(
                "the model file is truncated or corrupt",
                where=path,
                hint="copy it again, or export the run again",
            ) from error
        self._compiled: dict[tuple[int, ...], ov.InferRequest] = {}
        self._lock = threading.Lock()

    def run(self, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the graph's output for (slices, rows, columns); RuntimeError where it cannot."""
        with self._lock:
            whole = next(
                (s for s in self._compiled if s[1:] == hu.shape[1:] and s[0] > len(hu)), None
            )
            slices = np.ascontiguousarray(hu)
            if whole is not None:  # the last batch of a scan: fill it up rather than compile again
                padding = np.zeros((whole[0] - len(hu), *whole[1:]), np.int16)
                slices = np.concatenate([slices, padding])
            request = self._compiled.pop(slices.shape, None) or self._compile(slices.shape)
            self._compiled[slices.shape] = request
            while len(self._compiled) > _KEPT:
                del self._compiled[next(iter(self._compiled))]
            request.infer([slices], share_inputs=True)
            return np.array(request.get_output_tensor().data[: len(hu)])

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Compile for batches of this shape, if that is not done."""
        with self._lock:
            if shape not in self._compiled:
                self._compiled[shape] = self._compile(shape)

    def release(self) -> None:
        """Release the memory of what was compiled."""
        with self._lock:
            self._compiled.clear()

    def _compile(self, shape: tuple[int, ...]) -> ov.InferRequest:
        model = self._model.clone()
        model.reshape(list(shape))
        _check_sizes(model)
        return _core().compile_model(model, "CPU", self._options).create_infer_request()


def _check_sizes(model: ov.Model) -> None:
    """Raise RuntimeError where an operator's output has no fixed size, or too large a one."""
    for operator in model.get_ops():
        for output in operator.outputs():
            shape = output.get_partial_shape()
            if shape.is_dynamic or math.prod(shape.to_shape()) > _MAX_VALUES:
                raise RuntimeError(f"an intermediate result has the shape {shape}")
