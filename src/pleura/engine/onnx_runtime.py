"""ONNX Runtime runs a model file: on NVIDIA (CUDA), Apple (CoreML), Windows (DirectML), or here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ModelError

_PROVIDERS = (
    "CUDAExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "CPUExecutionProvider",
)
"""In the order of preference; those that the installed package has are used."""


class OnnxRuntime:
    """A session on the fastest device that the installed onnxruntime package can use, in float32.

    Raises
    ------
    ModelError
        The package is not installed, or refuses the file.
    """

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                "ONNX Runtime is not installed",
                where=None,
                hint='pip install "pleura[onnxruntime]", or onnxruntime-gpu for CUDA',
            ) from error
        if hasattr(onnxruntime, "disable_telemetry_events"):
            onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        there = onnxruntime.get_available_providers()
        chosen = [name for name in _PROVIDERS if name in there]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
        # Its exceptions share no base but Exception.
        except Exception as error:
            raise ModelError(
                "the model file is truncated or corrupt",
                where=path,
                hint="copy it again, or export the run again",
            ) from error

    def run(self, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the graph's output for (slices, rows, columns); RuntimeError where it cannot."""
        try:
            (found,) = self._session.run(None, {"hu": np.ascontiguousarray(hu)})
        except Exception as error:
            raise RuntimeError(str(error)) from error
        return np.asarray(found)

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Nothing is compiled for a shape."""

    def release(self) -> None:
        """Nothing is kept between runs."""
