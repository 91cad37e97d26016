"""A model file made to run, by OpenVINO or by ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pleura.engine.model_file import ModelRecord, read_record
from pleura.errors import ModelError

if TYPE_CHECKING:
    from pleura.engine.onnx_runtime import OnnxRuntime
    from pleura.engine.open_vino import OpenVino

Precision = Literal["auto", "fp32", "bf16"]
Runtime = Literal["openvino", "onnxruntime"]

MODELS = Path(__file__).parents[1] / "models"
NAMES = ("default", "accurate")
"""The models that come with pleura; the second is three networks, slower and a little better."""

SHIPPED = MODELS / "default.onnx"
"""The one that is used where none is named."""


def model_path(model: str | Path | None) -> Path:
    """Return the file that is meant: by its name if it comes with pleura, None is ``default``."""
    name = "default" if model is None else str(model)
    return MODELS / f"{name}.onnx" if name in NAMES else Path(name)


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Engine:
    """A model file, loaded once for many scans.

    Parameters
    ----------
    path:
        A file that `export` wrote.
    threads:
        Processor threads; all cores if None.
    precision:
        Of OpenVINO. ``auto``: bfloat16 where the processor computes in it, else float32.
    runtime:
        ``openvino`` for processors, ``onnxruntime`` (an extra) for graphics cards.

    Raises
    ------
    ModelError
        The file is missing, truncated, not one of ours, or of a newer format; or the runtime is
        not installed.
    """

    def __init__(
        self,
        path: Path = SHIPPED,
        threads: int | None = None,
        precision: Precision = "auto",
        runtime: Runtime = "openvino",
    ) -> None:
        self.record: ModelRecord = read_record(path)
        threads = threads or cores()
        if runtime == "onnxruntime":
            from pleura.engine.onnx_runtime import OnnxRuntime

            self._runtime: OnnxRuntime | OpenVino = OnnxRuntime(path, threads)
        else:
            from pleura.engine.open_vino import OpenVino

            self._runtime = OpenVino(path, threads, precision)

    def probability(self, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the probability of lung times 255 of int16 HU, both (slices, rows, columns).

        Raises
        ------
        ModelError
            The model cannot run on slices of this size.
        """
        try:
            return self._runtime.run(hu)
        except RuntimeError as error:
            raise ModelError(
                f"the model cannot run on slices of {hu.shape[1]}x{hu.shape[2]}",
                where=None,
                fix="check the free memory, or the scan's size",
            ) from error

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Get ready for batches of this shape, for example while the first one is read."""
        self._runtime.prepare(shape)

    def release(self) -> None:
        """Let go of what was compiled."""
        self._runtime.release()

    @property
    def threshold(self) -> int:
        """The model's own threshold, in 255ths."""
        return int(np.ceil(self.record.threshold * 255))
