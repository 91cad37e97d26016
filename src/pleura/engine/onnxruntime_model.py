"""Inference by ONNX Runtime on GPUs (CUDA, CoreML, DirectML) or the CPU."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import ModelError, last_line

_logger = logging.getLogger(__name__)

_CUDA = "CUDAExecutionProvider"

PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    # By default all algorithms are timed for each shape.
    _CUDA: ("CUDA", {"cudnn_conv_algo_search": "HEURISTIC"}),
    "CoreMLExecutionProvider": ("CoreML", {}),
    "DmlExecutionProvider": ("DirectML", {}),
    "CPUExecutionProvider": ("CPU", {}),
}
"""Devices and options of execution providers, in order of preference; the installed package has
some of them."""

GPU_BATCH = 8
"""Slices per batch on a GPU; fewer are padded, because a change of the shape takes a second."""


class OnnxRuntimeModel:
    """A model in a session of ONNX Runtime, on the fastest available device.

    It runs in float32; CUDA may use TF32.

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
        available = onnxruntime.get_available_providers()
        providers = [name for name in PROVIDERS if name in available]
        if _CUDA in providers:
            _load_cuda(onnxruntime)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        source = str(path) if isinstance(path, Path) else path

        def start(names: list[str]) -> Any:
            return onnxruntime.InferenceSession(
                source,
                options,
                providers=[(name, PROVIDERS[name][1]) for name in names],
                enable_fallback=0,  # it prints to standard output
            )

        self._failure = ""
        # The exceptions of ONNX Runtime have no common base but Exception.
        try:
            try:
                self._session = start(providers)
            except Exception as error:
                if len(providers) == 1:
                    raise
                self._failure = f" ({last_line(error)})"
                self._session = start(["CPUExecutionProvider"])
        except Exception as error:
            raise _loading_failed(error, path if isinstance(path, Path) else None) from error
        self._expected = PROVIDERS[providers[0]][0]

    def run(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the output of the graph for its input, int16 (slices, ..., rows, columns).

        Raises
        ------
        RuntimeError
            The inference failed.
        """
        values = np.ascontiguousarray(values)
        if self.device()[0] == "CPU":
            return self._run(values)
        outputs = []
        for start in range(0, len(values), GPU_BATCH):
            batch = values[start : start + GPU_BATCH]
            missing = [(0, GPU_BATCH - len(batch)), *([(0, 0)] * (values.ndim - 1))]
            outputs.append(self._run(np.pad(batch, missing))[: len(batch)])
        return np.concatenate(outputs)

    def _run(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        try:
            (output,) = self._session.run(None, {"hu": values})
        except Exception as error:
            raise RuntimeError(str(error)) from error
        return np.asarray(output)

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Do nothing: ONNX Runtime does not compile for a shape."""

    def release(self) -> None:
        """Do nothing: no memory is kept between runs."""

    def device(self) -> tuple[str, str]:
        """Return the device, ``CUDA``, ``CoreML``, ``DirectML`` or ``CPU``, and the reason."""
        name = PROVIDERS[self._session.get_providers()[0]][0]
        if name != self._expected:
            return name, f"ONNX Runtime cannot use {self._expected}{self._failure}"
        return name, "the fastest that this package of ONNX Runtime supports"


def _load_cuda(onnxruntime: Any) -> None:
    """Load CUDA and cuDNN from the packages of NVIDIA, if they are installed.

    Otherwise ONNX Runtime finds only libraries in the directories of the system.
    """
    if not hasattr(onnxruntime, "preload_dlls"):  # before 1.21
        return
    with contextlib.redirect_stdout(io.StringIO()) as output:
        onnxruntime.preload_dlls()
    for line in output.getvalue().splitlines():
        _logger.info("ONNX Runtime: %s", line)


def _loading_failed(error: Exception, path: Path | None) -> ModelError:
    return ModelError(
        "the model file is corrupt, or this version of ONNX Runtime does not support it "
        f"({last_line(error)})",
        where=path,
        hint="use the runtime openvino; if it fails, too, copy or export the file again",
    )
