"""Initial weights of a training, from a run or a model file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pleura.engine.engine import model_path
from pleura.engine.model_file import read_metadata
from pleura.errors import ModelError, RecipeError
from pleura.files.hashing import hash_files
from pleura.network.tiling import SegmentationNetwork
from pleura.network.weight_names import rename_weights
from pleura.training.recipe import Recipe
from pleura.training.recipe_keys import update_keys
from pleura.training.recipe_loading import build_recipe
from pleura.training.run import open_run
from pleura.training.run_files import is_run
from pleura.training.tensor_files import load_tensors
from pleura.typing import StrPath

_FINE_TUNING: dict[str, dict[str, Any]] = {
    "schedule": {
        "name": "one-cycle",
        "learning_rate": 0.0005,
        "warmup_fraction": 0.1,
        "restarts": [],
    },
    "training": {"epochs": 20, "batch_size": 8, "ema_decay": 0.99, "freeze_batch_norm": True},
}
"""Changes of a recipe for fine-tuning on other data, by section."""

_HEAD = "head."
"""Prefix of the names of weights of the last layer, which has an output per class."""

_FIRST_MEMBER = "network.members.0."
"""Prefix of the names of weights of the first member of an ensemble."""


def fine_tuning_recipe(source: StrPath) -> Recipe:
    """Return the recipe for fine-tuning from a run or a model.

    Network and preprocessing are those of the source. Learning rates are lower.

    Parameters
    ----------
    source:
        Run folder, model file, or name of a model of the package, such as ``default``.

    Returns
    -------
    Recipe

    Raises
    ------
    RunError, ModelError
        The source cannot be read.
    RecipeError
        The source is a model file with custom components.
    """
    if is_run(source):
        values = open_run(source).recipe.model_dump(mode="json")
    else:
        values, _ = update_keys(read_metadata(model_path(source)).recipe, str(source))
        if "custom" in values:
            raise RecipeError(
                "the model was trained with custom components",
                where=str(source),
                hint="pass the run folder, the recipe and the components",
            )
    data = values.get("data", {})
    values |= {
        "name": "fine-tuned",
        "description": f"fine-tuned from {Path(source).name}",
        "data": {key: data[key] for key in ("labels", "context", "lungs") if key in data},
        "split": {},
    }
    for part, changes in _FINE_TUNING.items():
        values[part] = {**values[part], **changes}
    return build_recipe(values, str(source))


def load_initial_weights(
    network: SegmentationNetwork, source: StrPath, names: Sequence[str] = ()
) -> str:
    """Set the weights of a network to those of a run or a model.

    Of an ensemble, the weights of the first member are used. If the source has other classes, the
    last layer (``head``) keeps the weights of classes with the same name and has random weights for
    the others. From one class to several, its weights divide the probability of the class between
    the labels.

    Parameters
    ----------
    network:
        The network, which is changed.
    source:
        Run folder, model file, or name of a model of the package, such as ``default``.
    names:
        Names of the classes of the network, if it has several.

    Returns
    -------
    str
        Which weights were loaded, in one line.

    Raises
    ------
    RecipeError
        The weights are those of another architecture, or of other numbers of channels.
    RunError, ModelError
        The source cannot be read.
    """
    try:
        if is_run(source):
            run = open_run(source)
            weights = rename_weights(load_tensors(run.weights)["network"], network)
            head, text = _last_layer(network, weights, [one.name for one in run.classes], names)
            network.load_state_dict(weights | head)
        else:
            path = model_path(source)
            weights = rename_weights(_tensors(path), network)
            known = [label.name for label in read_metadata(path).classes]
            head, text = _last_layer(network, weights, known, names)
            _load_folded(network, weights | head)
    except (KeyError, RuntimeError) as error:
        raise RecipeError(
            "the initial weights do not fit the network of the recipe",
            where=str(source),
            hint="omit --recipe, or set the network of the recipe to that of the initial weights",
        ) from error
    return f"{text} loaded from {Path(source).name}"


def hash_weights(source: StrPath) -> str:
    """Return the hash of the file with the weights of a run or a model.

    Raises
    ------
    RunError, ModelError
        The source cannot be read.
    """
    path = open_run(source).weights if is_run(source) else model_path(source)
    return hash_files([path], names=False)


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return the weights of a model file in float32, by their names in the network.

    Quantised weights are dequantised.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    read_metadata(path)
    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise ModelError(
            "the model file is truncated or corrupt",
            where=path,
            hint="copy the file again, or export the run again",
        ) from error
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0].startswith("network."):
            integers, scale = arrays.pop(node.input[0]), arrays[node.input[1]]
            axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
            shape = [-1 if i == axis and scale.size > 1 else 1 for i in range(integers.ndim)]
            arrays[node.input[0].removesuffix("_quantized")] = integers * scale.reshape(shape)
    is_ensemble = any(name.startswith(_FIRST_MEMBER) for name in arrays)
    prefix = _FIRST_MEMBER if is_ensemble else "network."
    return {
        name.removeprefix(prefix).removesuffix("_half"): torch.tensor(array).float()
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


@torch.no_grad()
def _load_folded(network: SegmentationNetwork, tensors: dict[str, Tensor]) -> None:
    """Load weights of convolutions that contain the following batch normalisation.

    The batch normalisation only adds the bias, so its statistics must not change in the training.
    """
    bias: Tensor | None = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            _copy(module.weight, tensors[f"{name}.weight"])
            if module.bias is None:
                # None if another convolution follows, and no batch normalisation.
                bias = tensors.get(f"{name}.weight_bias")
            else:
                _copy(module.bias, tensors[f"{name}.bias"])
        elif isinstance(module, nn.BatchNorm2d):
            if bias is None:
                raise KeyError(name)
            _copy(module.bias, bias)
            nn.init.ones_(module.weight)
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.zero_()
                module.running_var.fill_(1 - module.eps)


def _last_layer(
    network: SegmentationNetwork,
    tensors: dict[str, Tensor],
    known: Sequence[str],
    names: Sequence[str],
) -> tuple[dict[str, Tensor], str]:
    """Return the weights of the last layer if the source has other classes, and what is loaded.

    From one class to several, each label gets an equal part of the probability of this class; if
    labels may overlap, each gets this probability. Otherwise, background and the classes that both
    have keep their weights.
    """
    own = {name: value for name, value in network.state_dict().items() if name.startswith(_HEAD)}
    weight, bias = (tensors.get(f"{_HEAD}{name}") for name in ("weight", "bias"))
    if own.keys() != {f"{_HEAD}weight", f"{_HEAD}bias"} or weight is None or bias is None:
        return {}, "all weights"  # or another architecture, which is refused when they are copied
    if network.overlap:
        return _independent_head(own, weight, bias, known, names)
    outputs, labels = len(weight), len(own[f"{_HEAD}bias"]) - 1
    without_background = 0 < len(known) == outputs  # of labels that may overlap
    same = outputs == labels + 1 and (not labels or list(known) == list(names))
    if same or weight.shape[1:] != own[f"{_HEAD}weight"].shape[1:]:
        return {}, "all weights"
    if outputs <= 2 and labels > 1 and not without_background:
        # The sigmoid of one output, or the softmax of background and one class.
        background = torch.zeros_like(weight[:1]) if outputs == 1 else weight[:1]
        bias_of_background = torch.zeros_like(bias[:1]) if outputs == 1 else bias[:1]
        head = {
            f"{_HEAD}weight": torch.cat([background, *[weight[-1:]] * labels]),
            f"{_HEAD}bias": torch.cat(
                [bias_of_background, *[bias[-1:] - math.log(labels)] * labels]
            ),
        }
        return head, "all weights (each label starts with an equal part of the probability of lung)"
    kept = ["background", *(name for name in names if name in known)]
    if len(kept) == 1 or not labels or without_background:
        return own, "all weights except the last layer, which is random because the classes differ,"
    for i, name in enumerate(["background", *names]):
        if name in kept:
            row = ["background", *known].index(name)
            own[f"{_HEAD}weight"][i] = weight[row]
            own[f"{_HEAD}bias"][i] = bias[row]
    new = ", ".join(name for name in names if name not in known) or "none"
    return own, f"all weights (last layer: {', '.join(kept)}; random: {new})"


def _independent_head(
    own: dict[str, Tensor],
    weight: Tensor,
    bias: Tensor,
    known: Sequence[str],
    names: Sequence[str],
) -> tuple[dict[str, Tensor], str]:
    """Return `_last_layer` of a network whose labels may overlap.

    The logit of a label of a softmax is its difference from that of background.
    """
    if weight.shape[1:] != own[f"{_HEAD}weight"].shape[1:]:
        return {}, "all weights"  # another architecture
    if len(weight) > max(len(known), 1):  # with background
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    kept = [name for name in names if name in known or not known]
    for name in kept:
        row = known.index(name) if known else 0
        own[f"{_HEAD}weight"][names.index(name)] = weight[row]
        own[f"{_HEAD}bias"][names.index(name)] = bias[row]
    if not known:
        return own, "all weights (each label starts with the probability of lung)"
    new = ", ".join(name for name in names if name not in kept) or "none"
    return own, f"all weights (last layer: {', '.join(kept) or 'none'}; random: {new})"


def _copy(target: Tensor, source: Tensor) -> None:
    if target.shape != source.shape:
        raise RuntimeError(f"shape {tuple(source.shape)} instead of {tuple(target.shape)}")
    target.copy_(source)
