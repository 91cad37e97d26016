"""A run made one file that needs no PyTorch: from HU in to probability out, all in its graph."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import pleura
from pleura.dataset.preprocessing import Preprocessing
from pleura.engine.model_file import FORMAT, METADATA_KEY, ModelMetadata
from pleura.errors import RunError
from pleura.files.atomic import remove_unfinished, write_atomically
from pleura.intensity.mapping import HU, IntensityMapping
from pleura.network.ensemble import Ensemble
from pleura.network.tiling import SegmentationNetwork, forward_whole
from pleura.training.log_level import log_level
from pleura.training.quantise import calibration_slices, quantise
from pleura.training.run import Run, open_run
from pleura.training.state import trained_network

_WORTH_HALVING = 1000  # values of a tensor


class InferenceModule(nn.Module):
    """The way of `Predictor.probability` as one graph, for slices of any size.

    int16 HU (n, rows, columns) in, uint8 (n, rows, columns) out: the probability of lung times 255.
    ``line`` leads from HU to the values that the network was trained on.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        preprocessing: Preprocessing,
        line: IntensityMapping = HU,
    ) -> None:
        super().__init__()
        self.line = line
        self.network = network
        self.preprocessing = preprocessing

    def forward(self, hu: Tensor) -> Tensor:  # (n, h, w)
        size, (h, w) = self.preprocessing.size, hu.shape[1:]
        stored = hu.float()
        if self.line != HU:
            stored = stored * self.line.scale + self.line.offset
        x = self._scale(stored)
        lanczos = self.preprocessing.image_interpolation == "lanczos"
        resample = lanczos_matrix if lanczos else area_matrix
        x = resample(size[0], h) @ x @ resample(size[1], w).T  # (n, rows, columns)
        logits = forward_whole(self.network, x[:, None])[:, 0].float()
        # OpenCV's nearest neighbour takes the first pixel of a step, not its centre.
        centred = self.preprocessing.mask_interpolation != "nearest"
        back = [area_matrix(side, grid, centred) for side, grid in ((h, size[0]), (w, size[1]))]
        probability = back[0] @ torch.sigmoid(logits) @ back[1].T  # (n, h, w)
        return (probability * 255).round().to(torch.uint8)

    def _scale(self, values: Tensor) -> Tensor:
        if self.preprocessing.scaling == "window":
            low, high = self.preprocessing.window
            return ((values - low) / (high - low)).clamp(0, 1)
        high_ = values.amax((1, 2), keepdim=True)
        if self.preprocessing.scaling == "max":
            return values / high_.clamp(min=1)
        low_ = values.amin((1, 2), keepdim=True)
        return (values - low_) / (high_ - low_).clamp(min=1)


def area_matrix(to: Any, size: Any, centred: bool = True) -> Tensor:
    """Return (to, size): each row the weights of the pixels that an output pixel covers.

    Where pixels are made fewer this is the mean over the area, as OpenCV's INTER_AREA; where more,
    bilinear interpolation between their centres. Borders repeat. ``centred`` False aligns first
    pixels instead of edges.
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
    """Return (to, size): the weights of OpenCV's INTER_LANCZOS4, over 8 pixels at any step."""
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


def export(
    run: Run | str | Path | Sequence[Run | str | Path],
    output: str | Path,
    eight_bit: str | Path | None = None,
    **record: str,
) -> ModelMetadata:
    """Write a run as one ONNX file that `segment` takes; of several runs, their mean probability.

    A run trained on HU times a factor, or with an offset, gives a model for HU all the same.
    ``eight_bit`` names the images of the training: the model then computes in 8 bits, in ranges
    measured on some of them.
    ``record`` may set ``name``, ``version``, ``data`` (what it was trained on) and ``licence``;
    the recipe in it is that of the first run.

    Raises
    ------
    RunError
        A run cannot be loaded, or was trained on values that no line leads to from HU; several
        prepare their images differently; or ONNX Runtime, which 8 bits need, is not installed.
    DataError
        ``eight_bit`` are not the images of the run.
    """
    given = [run] if isinstance(run, Run | str | Path) else run
    runs = [one if isinstance(one, Run) else open_run(one) for one in given]
    first = runs[0]
    line = _line(first)
    for one in runs[1:]:
        if (one.recipe.preprocessing, _line(one)) != (first.recipe.preprocessing, line):
            raise RunError(
                f"the run does not see its images as {first.folder.name} does",
                where=one.folder,
                hint="put runs together of one preprocessing, trained on the same units",
            )
    networks = [trained_network(one) for one in runs]
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    content = _to_onnx(InferenceModule(network.eval(), first.recipe.preprocessing, line).eval())
    if eight_bit is not None:
        content = quantise(content, calibration_slices(first, Path(eight_bit), line))
    content = _halved(content)
    weights = b"".join(t.numpy().tobytes() for t in network.state_dict().values())
    written = ModelMetadata(
        format=FORMAT,
        name=record.get("name", first.folder.resolve().name),
        version=record.get("version", pleura.__version__),
        labels=("lung",),
        threshold=sum(one.threshold for one in runs) / len(runs),
        recipe=first.recipe.model_dump(mode="json"),
        data=record.get("data", ""),
        data_fingerprint=_fingerprint(runs),
        licence=record.get("licence", ""),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    model = _with_record(content, written)
    write_atomically(Path(output), lambda file: file.write(model))
    remove_unfinished(Path(output))
    return written


def _fingerprint(runs: Sequence[Run]) -> str:
    """Return the data's fingerprint, or one of all where the runs differ in their data."""
    several = list(dict.fromkeys(str(run.record["data_fingerprint"]) for run in runs))
    if len(several) == 1:
        return several[0]
    return hashlib.sha256("".join(several).encode()).hexdigest()


def _line(run: Run) -> IntensityMapping:
    """Return how the values that a run was trained on come from HU."""
    units = run.record.get("units") or {"kind": "unknown"}
    if units["kind"] in ("grey", "mixed", "wrapped HU"):
        raise RunError(
            f"the run was trained on {units['kind']} values: nothing leads to them from HU",
            where=run.folder,
            hint="train on the CT values themselves",
        )
    if units.get("scale") is None or units.get("offset") is None:
        return HU
    return IntensityMapping(float(units["scale"]), float(units["offset"]), str(units["formula"]))


def _to_onnx(deployed: InferenceModule) -> Any:
    example = torch.zeros(2, 96, 80, dtype=torch.int16)
    with log_level("torch.onnx", logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            (example,),
            input_names=["hu"],
            output_names=["probability"],
            dynamic_shapes=({0: "slices", 1: "rows", 2: "columns"},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RunError("the network cannot be exported", where=None, hint="report it")
    return _without_traces(program.model_proto)


def _without_traces(model: Any) -> Any:
    """Take out where each node was written: paths of the machine that exported it."""
    graph = model.graph
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _halved(model: Any) -> Any:
    """Store the weights in half precision: half the file, a probability off by a 255th at most."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weights in model.graph.initializer:
        if weights.data_type == TensorProto.FLOAT and np.prod(weights.dims) >= _WORTH_HALVING:
            half = numpy_helper.to_array(weights).astype(np.float16)
            name = f"{weights.name}_half"
            casts.append(helper.make_node("Cast", [name], [weights.name], to=TensorProto.FLOAT))
            weights.CopyFrom(numpy_helper.from_array(half, name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _with_record(model: Any, record: ModelMetadata) -> bytes:
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(record.to_dict())
    content: bytes = model.SerializeToString()
    return content
