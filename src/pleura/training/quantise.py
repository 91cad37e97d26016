"""Quantisation of a model to 8-bit integers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.pair_reader import PairReader
from pleura.dataset.pairs import find_images
from pleura.dataset.sources import collect_pairs
from pleura.errors import RunError
from pleura.files.temporary import temporary_folder
from pleura.segmentation.lung_region import SliceRegion
from pleura.training.log_level import log_level
from pleura.training.lungs import lungs_of_run
from pleura.training.run import Run
from pleura.typing import AnyArray

_MAX_SLICES = 128  # twice as many result in the same masks
_QUANTISED_OPERATORS = ("Conv", "ConvTranspose", "Concat", "MaxPool")


def calibration_slices(
    run: Run, images: Path, convert: Callable[[AnyArray], NDArray[np.int16]]
) -> Iterator[NDArray[np.int16]]:
    """Yield slices in the units of the model, evenly spaced in the training subset of a run.

    Parameters
    ----------
    run:
        The training run.
    images:
        Folder of the training images, or of the data sources of the recipe.
    convert:
        Converts an image (rows, columns) to the units of the model.

    Yields
    ------
    array
        int16 (1, rows, columns), or (1, channels, rows, columns); at most about 256.

    Raises
    ------
    DataError
        The images are not those of the run.
    """
    sources = run.recipe.data.sources
    pairs = collect_pairs(images, None, sources) if sources else find_images(images)
    training = set(run.split([pair.name for pair in pairs]).training)
    chosen = [pair for pair in pairs if pair.name in training]
    reader, lungs = PairReader(context=run.recipe.data.context.slice_context), lungs_of_run(run)
    for pair in chosen[:: max(1, len(chosen) // _MAX_SLICES)]:
        image, _ = reader.read(replace(pair, no_lung=True))  # without reading its mask
        region = SliceRegion.whole(image.shape)
        found = region if lungs is None else lungs.region(pair, image.shape)
        if found is not None:
            yield convert(found.cut(reader.read_input(pair, image)))[None]


def quantise(model: Any, slices: Iterator[NDArray[np.int16]]) -> Any:
    """Quantise the convolutions of an ONNX model to 8-bit integers.

    Weights are quantised per channel and symmetrically, activations per tensor. Preprocessing and
    upsampling stay in floating point.

    Parameters
    ----------
    model:
        An `onnx.ModelProto`.
    slices:
        Slices in the units of the model, which determine the ranges of the activations.

    Returns
    -------
    onnx.ModelProto
        The quantised model.

    Raises
    ------
    RunError
        ONNX Runtime is not installed.

    References
    ----------
    Jacob et al., Quantization and training of neural networks for efficient
    integer-arithmetic-only inference, CVPR 2018.
    """
    import onnx

    try:
        from onnxruntime.quantization import QuantType, quantize_static
    except ImportError as error:
        raise RunError(
            "ONNX Runtime is not installed; it is required to export an 8-bit model",
            where=None,
            hint='run pip install "pleura[onnxruntime]"',
        ) from error

    class Reader:
        """Implement the interface of onnxruntime.quantization.CalibrationDataReader."""

        def get_next(self) -> dict[str, NDArray[np.int16]] | None:
            values = next(slices, None)
            return None if values is None else {"hu": values}

    # ONNX Runtime logs advice that does not apply to this graph.
    with log_level("root", logging.ERROR), temporary_folder() as folder:
        full, small = folder / "full.onnx", folder / "small.onnx"
        onnx.save(model, full)
        quantize_static(
            full,
            small,
            Reader(),
            op_types_to_quantize=_QUANTISED_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
        )
        return onnx.load(small)
