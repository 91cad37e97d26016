"""Inference by ONNX Runtime on GPUs (CUDA, CoreML, DirectML) or the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ModelError

PROVIDERS = (
    "CUDAExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "CPUExecutionProvider",
)
"""Execution providers in order of preference; the installed package has some of them."""


class OnnxRuntimeModel:
    """A model in a session of ONNX Runtime, in float32 on the fastest available device.

    Parameters
    ----------
    path:
        The model file, or its content.
    threads:
        CPU threads.

    Raises
    ------
    ModelError
        The package is not installed, or cannot load the file.
    """

    def __init__(self, path: Path | bytes, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                "ONNX Runtime is not installed",
                where=None,
                hint='run pip install "pleura[onnxruntime]" (or onnxruntime-gpu for CUDA)',
            ) from error
        if hasattr(onnxruntime, "disable_telemetry_events"):
            onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        source = str(path) if isinstance(path, Path) else path
        available = onnxruntime.get_available_providers()
        providers = [name for name in PROVIDERS if name in available]
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=providers)
        # The exceptions of ONNX Runtime have no common base but Exception.
        except Exception as error:
            raise ModelError(
                "the model file is truncated or corrupt",
                where=path if isinstance(path, Path) else None,
                hint="copy the file again, or export the run again",
            ) from error

    def run(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the output of the graph for its input, int16 (slices, ..., rows, columns).

        Raises
        ------
        RuntimeError
            The inference failed.
        """
        try:
            (output,) = self._session.run(None, {"hu": np.ascontiguousarray(values)})
        except Exception as error:
            raise RuntimeError(str(error)) from error
        return np.asarray(output)

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Do nothing: ONNX Runtime does not compile for a shape."""

    def release(self) -> None:
        """Do nothing: no memory is kept between runs."""
