"""Inference by OpenVINO on the CPU."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.engine.process_state import PROCESS
from pleura.errors import ModelError

CACHED_SHAPES = 3
"""Number of slice sizes for which the model stays compiled; each takes about 50 MB."""

MAX_VALUES = 1 << 30
"""Maximum size of an intermediate result; the shipped models have up to 2**24 values for 8 slices
of 512x512 pixels."""


@contextmanager
def _without_conversion() -> Iterator[None]:
    """Hide the conversion of models, which is slow to import and sends usage statistics."""
    name = "openvino.tools.ovc"
    imported = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if imported is not None:
            sys.modules[name] = imported


def _convert_model(*arguments: Any, **options: Any) -> ov.Model:
    """Import the conversion of models when another program uses it in this process."""
    from openvino.tools.ovc import convert_model

    return convert_model(*arguments, **options)


with _without_conversion():
    import openvino as ov
if not hasattr(ov, "convert_model"):
    ov.convert_model = _convert_model

# The bindings import NumPy types when a type is first converted; two threads that do so at the same
# time deadlock.
ov.Tensor(np.zeros(1, np.uint8)).element_type.to_dtype()


class OpenVinoModel:
    """A model that OpenVINO compiles once for each size of slices.

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
            larger = next(
                (s for s in self._requests if s[1:] == values.shape[1:] and s[0] > len(values)),
                None,
            )
            slices = np.ascontiguousarray(values)
            if larger is not None:  # pad the last batch of a scan instead of compiling for its size
                padding = np.zeros((larger[0] - len(values), *larger[1:]), np.int16)
                slices = np.concatenate([slices, padding])
            request = self._requests.pop(slices.shape, None) or self._compile(slices.shape)
            self._requests[slices.shape] = request
            while len(self._requests) > CACHED_SHAPES:
                del self._requests[next(iter(self._requests))]
            request.infer([slices], share_inputs=True)
            return np.array(request.get_output_tensor().data[: len(values)])

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Compile the model for batches of this shape, unless that is done."""
        with self._lock:
            if shape not in self._requests:
                self._requests[shape] = self._compile(shape)

    def release(self) -> None:
        """Release the memory of compiled models."""
        with self._lock:
            self._requests.clear()

    def _compile(self, shape: tuple[int, ...]) -> ov.InferRequest:
        model = self._model.clone()
        model.reshape(list(shape))
        _check_sizes(model)
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
