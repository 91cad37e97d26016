"""Inference with a model file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.engine.loading import load
from pleura.engine.model_file import SHIPPED_MODELS, ModelMetadata, read_metadata
from pleura.engine.process_state import PROCESS
from pleura.engine.runtimes import LoadedModel, Precision, Runtime, available_cpus
from pleura.errors import ModelError, last_line
from pleura.typing import StrPath

_FOLDER = Path(__file__).parents[1] / "models"

DEFAULT_MODEL = _FOLDER / "default.onnx"
"""The model file that is used by default."""

DENSE_MODEL = _FOLDER / "dense.onnx"
"""The model file that predicts lung with dense disease; see `pleura.segmentation.dense`."""


def model_path(model: StrPath | None) -> Path:
    """Return the file of a model: a path, the name of a shipped model, or None for ``default``."""
    name = "default" if model is None else str(model)
    return _FOLDER / f"{name}.onnx" if name in SHIPPED_MODELS else Path(name)


class Engine:
    """A model file that is loaded once and runs on many batches of slices.

    Threads may share an engine; inferences share the ``threads``. In a process
    that was forked after a runtime had been loaded, the model runs in a subprocess.

    Parameters
    ----------
    path:
        A file that `export` wrote, or the content of one.
    threads:
        CPU threads; all cores by default.
    precision:
        Floating-point precision of OpenVINO; ``auto`` is bfloat16 on CPUs that are fast in it (with
        AMX, or AMD with AVX512-BF16), else float32.
    runtime:
        ``openvino`` for CPUs, ``onnxruntime`` (an extra) for GPUs.

    Attributes
    ----------
    metadata:
        The description of the model in its file.

    Raises
    ------
    ModelError
        The file is missing, truncated, of a newer format, or not a model file of pleura; or the
        runtime is not installed.
    """

    def __init__(
        self,
        path: Path | bytes = DEFAULT_MODEL,
        threads: int | None = None,
        precision: Precision = "auto",
        runtime: Runtime = "openvino",
    ) -> None:
        self.metadata: ModelMetadata = read_metadata(path)
        source = path.absolute() if isinstance(path, Path) else path
        self._arguments = source, threads or available_cpus(), precision, runtime
        self._model, self._process = load(*self._arguments), os.getpid()

    @property
    def device(self) -> tuple[str, str]:
        """Device that runs the model: ``CPU``, ``CUDA``, ``CoreML`` or ``DirectML``; the reason."""
        return self._model_of_process().device()

    @property
    def threshold_level(self) -> int:
        """Smallest probability (times 255) of a lung voxel, as the model file specifies it."""
        return int(np.ceil(self.metadata.threshold * 255))

    def probability(self, values: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the probability of lung times 255, uint8 (slices, rows, columns).

        With several classes, their probabilities are uint8 (slices, classes, rows, columns).

        Parameters
        ----------
        values:
            int16 (slices, rows, columns): HU or grey values, as ``metadata.input`` states. With
            ``metadata.context``, int16 (slices, channels, rows, columns): each slice with its
            neighbours, from foot to head.

        Raises
        ------
        ModelError
            The model cannot run on slices of this size.
        """
        try:
            output = self._model_of_process().run(values)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "alloc" in str(error):
                raise ModelError(
                    f"not enough memory to run the model on {_size(values)}",
                    where=None,
                    hint="close other programs, or segment fewer scans at a time",
                ) from error
            raise ModelError(
                f"the model cannot run on {_size(values)} ({last_line(error)})",
                where=None,
                hint="try the model `default`; if it works, export the other model again",
            ) from error
        if output.shape != self.output_shape(values.shape) or output.dtype != np.uint8:
            raise ModelError(
                f"the model returned {output.dtype} {output.shape} for {_size(values)}",
                where=None,
                hint="use a model file that `pleura export` wrote",
            )
        return output

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of `probability` of values of this shape."""
        classes = len(self.metadata.classes)
        return shape[0], *([classes] if classes else []), *shape[-2:]

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Compile the model for batches of this shape, for example while slices are read."""
        context = self.metadata.context
        channels = [context.channels] if context.slices else []
        with suppress(RuntimeError, MemoryError):  # `probability` raises the error
            self._model_of_process().prepare((shape[0], *channels, *shape[1:]))

    def release(self) -> None:
        """Release the memory of compiled models."""
        if self._process == os.getpid():
            self._model.release()

    def _model_of_process(self) -> LoadedModel:
        """Return the model; load it again after a fork."""
        if self._process != os.getpid():
            with PROCESS.lock:
                if self._process != os.getpid():
                    self._model, self._process = load(*self._arguments), os.getpid()
        return self._model


def _size(values: NDArray[np.int16]) -> str:
    plural = "" if len(values) == 1 else "s"
    return f"{len(values)} slice{plural} of {values.shape[-2]}x{values.shape[-1]}"
