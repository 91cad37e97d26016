"""A model file made to run, by OpenVINO or by ONNX Runtime."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pleura.engine.loading import LOADER
from pleura.engine.model_file import ModelRecord, read_record
from pleura.engine.runtimes import LoadedModel, Precision, Runtime, cores
from pleura.errors import ModelError

MODELS = Path(__file__).parents[1] / "models"
NAMES = ("default", "accurate")
"""The models that come with pleura; the second is three networks, slower and a little better."""

SHIPPED = MODELS / "default.onnx"
"""The one that is used where none is named."""


def model_path(model: str | Path | None) -> Path:
    """Return the file that is meant: by its name if it comes with pleura, None is ``default``."""
    name = "default" if model is None else str(model)
    return MODELS / f"{name}.onnx" if name in NAMES else Path(name)


class Engine:
    """A model file, loaded once for many scans.

    Threads may share an engine; they take turns, and each inference uses all ``threads``. In a
    process that was forked after a runtime had been loaded, the model runs in a helper process.

    Parameters
    ----------
    path:
        A file that `export` wrote.
    threads:
        CPU threads; all cores if None.
    precision:
        Of OpenVINO. ``auto``: bfloat16 where the CPU computes in it, else float32.
    runtime:
        ``openvino`` for CPUs, ``onnxruntime`` (an extra) for GPUs.

    Raises
    ------
    ModelError
        The file is missing, truncated, of a newer format, or no model file of pleura; or the
        runtime is not installed.
    """

    def __init__(
        self,
        path: Path = SHIPPED,
        threads: int | None = None,
        precision: Precision = "auto",
        runtime: Runtime = "openvino",
    ) -> None:
        self.record: ModelRecord = read_record(path)
        self._arguments = path.absolute(), threads or cores(), precision, runtime
        self._model, self._process = LOADER.load(*self._arguments), os.getpid()

    def probability(self, hu: NDArray[np.int16]) -> NDArray[np.uint8]:
        """Return the probability of lung times 255 of int16 HU, both (slices, rows, columns).

        Raises
        ------
        ModelError
            The model cannot run on slices of this size.
        """
        try:
            found = self._loaded().run(hu)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "alloc" in str(error):
                raise ModelError(
                    f"not enough memory to run the model on {_size(hu)}",
                    where=None,
                    hint="close other programs, or segment fewer scans at a time",
                ) from error
            raise ModelError(
                f"the model cannot run on {_size(hu)} ({_last_line(error)})",
                where=None,
                hint="try the model `default`; if that works, export the other one again",
            ) from error
        if found.shape != hu.shape or found.dtype != np.uint8:
            raise ModelError(
                f"the model returned {found.dtype} {found.shape} for {_size(hu)}",
                where=None,
                hint="use a model file that `pleura export` wrote",
            )
        return found

    def prepare(self, shape: tuple[int, int, int]) -> None:
        """Compile the model for batches of this shape, for example while the first one is read."""
        with suppress(RuntimeError, MemoryError):  # `probability` reports it
            self._loaded().prepare(shape)

    def release(self) -> None:
        """Release the memory of what was compiled."""
        if self._process == os.getpid():
            self._model.release()

    def _loaded(self) -> LoadedModel:
        """Return the model of this process: a fork takes no threads of a runtime along."""
        if self._process != os.getpid():
            with LOADER.lock:
                if self._process != os.getpid():
                    self._model, self._process = LOADER.load(*self._arguments), os.getpid()
        return self._model

    @property
    def threshold(self) -> int:
        """The model's own threshold, in 255ths."""
        return int(np.ceil(self.record.threshold * 255))


def _size(hu: NDArray[np.int16]) -> str:
    plural = "" if len(hu) == 1 else "s"
    return f"{len(hu)} slice{plural} of {hu.shape[1]}x{hu.shape[2]}"


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
