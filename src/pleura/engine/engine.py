"""OpenVINO runs a model file on the processor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pleura.engine.model_file import ModelRecord, read_record
from pleura.errors import ModelError

# OpenVINO's converter, which is not used here, would load a package that sends usage statistics.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

Precision = Literal["auto", "fp32", "bf16"]


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_KEPT = 3
"""Sizes of slices that stay compiled; each takes some 50 MB."""


class Engine:
    """A model file, loaded once for many scans; compiled once for each size of slices.

    Parameters
    ----------
    path:
        A file that `export` wrote.
    threads:
        Processor threads; all cores if None.
    precision:
        ``auto``: bfloat16 where the processor computes in it, else float32.

    Raises
    ------
    ModelError
        The file is missing, truncated, not one of ours, or of a newer format.
    """

    def __init__(
        self, path: Path, threads: int | None = None, precision: Precision = "auto"
    ) -> None:
        self.record: ModelRecord = read_record(path)
        self.threads = threads or cores()
        self._core = ov.Core()
        self._options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
        if precision != "auto":
            self._options["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as error:
            raise ModelError(
                "the model file is truncated or corrupt",
                where=path,
                fix="copy it again, or export the run again",
            ) from error
        self._compiled: dict[tuple[int, ...], ov.InferRequest] = {}

    def probability(self, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the probability of lung times 255 of int16 HU, both (slices, rows, columns)."""
        whole = next((s for s in self._compiled if s[1:] == hu.shape[1:] and s[0] > len(hu)), None)
        slices = np.ascontiguousarray(hu)
        if whole is not None:  # the last batch of a scan: fill it up rather than compile again
            slices = np.concatenate([slices, np.zeros((whole[0] - len(hu), *whole[1:]), np.int16)])
        request = self._compiled.pop(slices.shape, None) or self._compile(slices.shape)
        self._compiled[slices.shape] = request
        while len(self._compiled) > _KEPT:
            del self._compiled[next(iter(self._compiled))]
        try:
            request.infer([slices], share_inputs=True)
        except RuntimeError as error:
            raise ModelError(
                f"the model cannot run on slices of {hu.shape[1]}x{hu.shape[2]}",
                where=None,
                fix="check the free memory, or the scan's size",
            ) from error
        return np.array(request.get_output_tensor().data[: len(hu)])

    def release(self) -> None:
        """Let go of what was compiled."""
        self._compiled.clear()

    @property
    def threshold(self) -> int:
        """The model's own threshold, in 255ths."""
        return int(np.ceil(self.record.threshold * 255))

    def _compile(self, shape: tuple[int, ...]) -> ov.InferRequest:
        model = self._model.clone()
        model.reshape(list(shape))
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()
