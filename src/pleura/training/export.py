"""Export of a run as an ONNX model, whose graph computes probabilities from HU or grey values."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import pleura
from pleura.dataset.preprocessing import Preprocessing
from pleura.engine.model_file import FORMATS, METADATA_KEY, InputUnits, ModelMetadata
from pleura.errors import RunError
from pleura.files.atomic import remove_unfinished, write_atomically
from pleura.intensity.mapping import HU, IntensityMapping
from pleura.names import counted
from pleura.network.ensemble import Ensemble
from pleura.network.tiling import SegmentationNetwork, forward_whole
from pleura.training.graph_input import graph_input
from pleura.training.log_level import log_level
from pleura.training.quantise import calibration_slices, quantise
from pleura.training.run import Run, open_run, without_paths
from pleura.training.state import trained_network
from pleura.typing import StrPath

_logger = logging.getLogger(__name__)

_MIN_HALF_PRECISION_SIZE = 1000
"""Smallest tensor that is stored in half precision, in values."""


class InferenceModule(nn.Module):
    """`Predictor.probability` as one module, for slices of any size.

    It maps int16 HU or grey values (n, rows, columns) to uint8 (n, rows, columns): the probability
    of lung times 255.

    Parameters
    ----------
    network:
        The network, or an ensemble.
    preprocessing:
        Size, scaling and interpolation of its images.
    mapping:
        Conversion from HU or grey values to the values of the training images.
    mirror:
        Average the probabilities of a slice and of its mirror image.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        preprocessing: Preprocessing,
        mapping: IntensityMapping = HU,
        *,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.mapping = mapping
        self.mirror = mirror
        self.network = network
        self.preprocessing = preprocessing

    def forward(self, values: Tensor) -> Tensor:  # (n, h, w)
        size, (h, w) = self.preprocessing.size, values.shape[1:]
        stored = values.float()
        if (self.mapping.scale, self.mapping.offset) != (1, 0):
            stored = stored * self.mapping.scale + self.mapping.offset
        x = self._scale(stored)
        lanczos = self.preprocessing.image_interpolation == "lanczos"
        resample = lanczos_matrix if lanczos else area_matrix
        x = resample(size[0], h) @ x @ resample(size[1], w).T  # (n, rows, columns)
        if self.mirror:
            reverse = torch.arange(size[1] - 1, -1, -1)
            prediction = self._predict(torch.stack([x, x[:, :, reverse]]).flatten(0, 1))
            stored, mirrored = prediction.reshape(2, -1, *size)
            prediction = (stored + mirrored[:, :, reverse]) / 2
        else:
            prediction = self._predict(x)
        # Nearest-neighbour interpolation of OpenCV uses the first pixel of a step, not its centre.
        centred = self.preprocessing.mask_interpolation != "nearest"
        back = [area_matrix(side, grid, centred) for side, grid in ((h, size[0]), (w, size[1]))]
        probability = back[0] @ prediction @ back[1].T  # (n, h, w)
        # In bfloat16 the weights of a row may sum to more than 1, and 256 would wrap around to 0.
        return (probability * 255).round().clamp(0, 255).to(torch.uint8)

    def _predict(self, x: Tensor) -> Tensor:  # (n, rows, columns)
        return torch.sigmoid(forward_whole(self.network, x[:, None])[:, 0].float())

    def _scale(self, values: Tensor) -> Tensor:
        if self.preprocessing.scaling == "window":
            low, high = self.preprocessing.window
            return ((values - low) / (high - low)).clamp(0, 1)
        high_ = values.amax((1, 2), keepdim=True)
        step = min(abs(self.mapping.scale), 1)  # avoids the division by zero of constant slices
        if self.preprocessing.scaling == "max":
            return values / high_.clamp(min=step)
        low_ = values.amin((1, 2), keepdim=True)
        return (values - low_) / (high_ - low_).clamp(min=step)


def area_matrix(to: Any, size: Any, centred: bool = True) -> Tensor:
    """Return the matrix that resamples an axis of ``size`` pixels to ``to`` pixels.

    Downsampling computes the mean over the area, as INTER_AREA of OpenCV; upsampling interpolates
    linearly between pixel centres. Borders are repeated.

    Parameters
    ----------
    to, size:
        Number of output and of input pixels.
    centred:
        Align the edges of the images; False aligns the first pixels.

    Returns
    -------
    Tensor
        float32 (to, size): weights of the input pixels for each output pixel.
    """
    step = size / to
    shift = 0.5 if centred else 0.0
    middle = (torch.arange(to, dtype=torch.float32) + shift) * step + (0.5 - shift)
    half = torch.sym_max(step, 1.0) / 2  # type: ignore[no-untyped-call]
    pixel = torch.arange(size, dtype=torch.float32)
    right = torch.minimum(pixel + 1, middle[:, None] + half)
    left = torch.maximum(pixel, middle[:, None] - half)
    covered = (right - left).clamp(min=0)  # (to, size)
    return covered / covered.sum(1, keepdim=True)


def lanczos_matrix(to: Any, size: Any) -> Tensor:
    """Return the matrix (to, size) that resamples an axis as INTER_LANCZOS4 of OpenCV."""
    middle = (torch.arange(to, dtype=torch.float32) + 0.5) * (size / to) - 0.5
    offsets = torch.arange(-3, 5)
    first = middle.floor()
    away = middle[:, None] - (first[:, None] + offsets)  # (to, 8)
    weights = torch.sinc(away) * torch.sinc(away / 4)
    weights = weights / weights.sum(1, keepdim=True)
    index = (first[:, None].long() + offsets).clamp(0, size - 1)
    pixel = torch.arange(size)
    spread: Tensor = (index[:, :, None] == pixel) * weights[:, :, None]  # (to, 8, size)
    return spread.sum(1)


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`.

    Parameters
    ----------
    calibration_images:
        Folder of the training images; the convolutions are then quantised to 8-bit integers, in
        ranges measured on these images.
    name:
        Name of the model; the name of the first run folder by default.
    version:
        Version of the model; the version of pleura by default.
    data:
        Description of the training data.
    licence:
        Licence of the model.
    input:
        Units of the input: ``HU``; or ``grey``, values from 0 to 255. None: ``grey`` if the run was
        trained on grey values, else ``HU``. With ``grey``, the model of a run that was trained in
        HU takes images whose grey values 0 and 255 are the limits of its window.
    mirror:
        Average the probabilities of each slice and of its mirror image, which is usually more
        accurate and takes twice the time.
    """

    calibration_images: StrPath | None = None
    name: str | None = None
    version: str | None = None
    data: str = ""
    licence: str = ""
    input: InputUnits | None = None
    mirror: bool = False


def export(
    runs: Run | StrPath | Sequence[Run | StrPath],
    output: StrPath,
    options: ExportOptions = ExportOptions(),
) -> ModelMetadata:
    """Export a training run, or an ensemble of several, as a single ONNX model file.

    The model takes HU, or grey values if the run was trained on them. For a run that was trained on
    scaled or shifted HU, it contains the conversion from HU. The recipe in the metadata is that of
    the first run.

    Parameters
    ----------
    runs:
        A run or its folder, or several, whose mean probability the model computes.
    output:
        Model file to write.
    options:
        Quantisation and metadata.

    Returns
    -------
    ModelMetadata
        The metadata in the model file.

    Raises
    ------
    RunError
        A run cannot be loaded, or was trained on values that cannot be computed from the input; the
        runs differ in their preprocessing; or ONNX Runtime, which quantisation needs, is not
        installed.
    DataError
        ``calibration_images`` are not the images of the run.
    """
    given = [runs] if isinstance(runs, Run | str | os.PathLike) else runs
    opened = [run if isinstance(run, Run) else open_run(run) for run in given]
    first = opened[0]
    graph = graph_input(first, options.input)
    for run in opened[1:]:
        if (run.recipe.preprocessing, graph_input(run, options.input)) != (
            first.recipe.preprocessing,
            graph,
        ):
            raise RunError(
                "the preprocessing or the intensity units differ from those of "
                f"{first.folder.name}",
                where=run.folder,
                hint="combine only runs with the same preprocessing and units",
            )
    networks = [trained_network(run) for run in opened]
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    module = InferenceModule(
        network.eval(), first.recipe.preprocessing, graph.mapping, mirror=options.mirror
    )
    content = _to_onnx(module.eval())
    if options.calibration_images is not None:
        images = Path(options.calibration_images)
        content = quantise(content, calibration_slices(first, images, graph.values))
    content = _with_half_precision_weights(content)
    weights = b"".join(t.numpy().tobytes() for t in network.state_dict().values())
    metadata = ModelMetadata(
        format=FORMATS[graph.units],
        name=options.name or first.folder.resolve().name,
        version=options.version or pleura.__version__,
        labels=("lung",),
        threshold=sum(run.threshold for run in opened) / len(opened),
        recipe=_recorded_recipe(first),
        data=options.data,
        data_fingerprint=_fingerprint(opened),
        licence=options.licence,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        input=graph.units,
        window=graph.window,
    )
    model = _with_metadata(content, metadata)
    write_atomically(Path(output), lambda file: file.write(model))
    remove_unfinished(Path(output))
    runs_text = counted(len(opened), "run")
    _logger.info("Exported %s as model %s %s", runs_text, metadata.name, metadata.version)
    return metadata


def _recorded_recipe(run: Run) -> dict[str, Any]:
    """Return the recipe of a run, with the names of custom components instead of their sections."""
    recipe = without_paths(run.recipe).model_dump(mode="json")
    custom = run.record.get("custom")
    if not custom:
        return recipe
    return {key: value for key, value in recipe.items() if key not in custom} | {"custom": custom}


def _fingerprint(runs: Sequence[Run]) -> str:
    """Return the hash of the data; of several data sets, the hash of their hashes."""
    hashes = list(dict.fromkeys(str(run.record["data_fingerprint"]) for run in runs))
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _to_onnx(module: InferenceModule) -> Any:
    example = torch.zeros(2, 96, 80, dtype=torch.int16)
    with log_level("torch.onnx", logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["hu"],
            output_names=["probability"],
            dynamic_shapes=({0: "slices", 1: "rows", 2: "columns"},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RunError("the network cannot be exported", where=None, hint="report this error")
    return _without_source_paths(program.model_proto)


def _without_source_paths(model: Any) -> Any:
    """Remove the source paths of the nodes, which contain folders of this computer."""
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _with_half_precision_weights(model: Any) -> Any:
    """Store weights in half precision, which changes probabilities by at most 1/255."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weights in model.graph.initializer:
        if (
            weights.data_type == TensorProto.FLOAT
            and np.prod(weights.dims) >= _MIN_HALF_PRECISION_SIZE
        ):
            half = numpy_helper.to_array(weights).astype(np.float16)
            name = f"{weights.name}_half"
            casts.append(helper.make_node("Cast", [name], [weights.name], to=TensorProto.FLOAT))
            weights.CopyFrom(numpy_helper.from_array(half, name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _with_metadata(model: Any, metadata: ModelMetadata) -> bytes:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(metadata.to_dict())
    content: bytes = model.SerializeToString()
    return content
