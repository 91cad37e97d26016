"""A model made to compute in 8 bits, its ranges measured on images that it is meant for."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_images
from pleura.dataset.sources import collect_pairs
from pleura.errors import RunError
from pleura.intensity.mapping import IntensityMapping
from pleura.training.log_level import log_level
from pleura.training.run import Run

_MOST = 128  # slices; twice as many gave the same masks
_EIGHT_BIT = ("Conv", "ConvTranspose", "Concat", "MaxPool")


def calibration_slices(
    run: Run, images: Path, line: IntensityMapping
) -> Iterator[NDArray[np.int16]]:
    """Yield slices in HU, each (1, rows, columns), spread over a run's training images.

    ``images`` is what the training was given: a folder, or that of the recipe's sources. ``line``
    leads from HU to the values that the run was trained on.

    Raises
    ------
    DataError
        The images are not those of the run.
    """
    sources = run.recipe.data
    pairs = collect_pairs(images, None, sources) if sources else find_images(images)
    wanted = set(run.split([pair.name for pair in pairs]).training)
    chosen = [pair for pair in pairs if pair.name in wanted]
    reader = PairReader()
    for pair in chosen[:: max(1, len(chosen) // _MOST)]:
        image, _ = reader.read(replace(pair, no_lung=True))  # its mask is not asked for
        yield line.to_hu(image)[None]


def quantise(model: Any, slices: Iterator[NDArray[np.int16]]) -> Any:
    """Return an ONNX model whose convolutions take and hold 8-bit integers.

    Weights by channel, symmetric; activations by tensor, in the range that they have on the slices
    (Jacob et al., CVPR 2018). Preprocessing and upsampling stay in floating point.

    Raises
    ------
    RunError
        ONNX Runtime, which measures the ranges, is not installed.
    """
    import onnx

    try:
        from onnxruntime.quantization import QuantType, quantize_static
    except ImportError as error:
        raise RunError(
            "ONNX Runtime is not installed, which 8-bit models are made with",
            where=None,
            hint='pip install "pleura[onnxruntime]"',
        ) from error

    class Reader:
        """Is a CalibrationDataReader by its method."""

        def get_next(self) -> dict[str, NDArray[np.int16]] | None:
            hu = next(slices, None)
            return None if hu is None else {"hu": hu}

    # ONNX Runtime logs advice that does not apply to this graph.
    with log_level("root", logging.ERROR), tempfile.TemporaryDirectory() as folder:
        full, small = Path(folder) / "full.onnx", Path(folder) / "small.onnx"
        onnx.save(model, full)
        quantize_static(
            full,
            small,
            Reader(),
            op_types_to_quantize=_EIGHT_BIT,
            per_channel=True,
            activation_type=QuantType.QUInt8,
        )
        return onnx.load(small)
