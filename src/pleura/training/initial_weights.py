"""Where a training starts if not from chance: the weights of a run or of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pleura.engine.engine import model_path
from pleura.engine.model_file import read_metadata
from pleura.errors import ModelError, RecipeError
from pleura.network.tiling import SegmentationNetwork
from pleura.network.weight_names import rename_weights
from pleura.training.recipe import Recipe
from pleura.training.recipe_keys import update_keys
from pleura.training.recipe_loading import build_recipe
from pleura.training.run import open_run
from pleura.training.tensor_files import load_tensors

_CHANGES: dict[str, dict[str, Any]] = {
    "schedule": {
        "name": "one-cycle",
        "learning_rate": 0.0005,
        "warmup_fraction": 0.1,
        "restarts": [],
    },
    "training": {"epochs": 20, "batch_size": 8, "ema_decay": 0.99, "freeze_batch_norm": True},
}
"""What a recipe becomes for a training that goes on from its weights with other data."""

_FIRST = "network.members.0."
"""What the weights of the first of several networks are called."""


def fine_tuning_recipe(source: str | Path) -> Recipe:
    """Return the recipe for going on from a run folder, a model file, or the name of one.

    Network and preprocessing are the source's, whose weights would fit no other; rates are lower.

    Raises
    ------
    RunError, ModelError
        The source cannot be read.
    """
    if _is_run(source):
        values = open_run(source).recipe.model_dump(mode="json")
    else:
        values, _ = update_keys(read_metadata(model_path(source)).recipe, str(source))
    values |= {
        "name": "fine-tuned",
        "description": f"goes on from {Path(source).name}",
        "data": [],
        "split": {},
    }
    for part, changes in _CHANGES.items():
        values[part] = {**values[part], **changes}
    return build_recipe(values, str(source))


def load_initial_weights(network: SegmentationNetwork, source: str | Path) -> None:
    """Set a network's weights to those of a run folder, a model file, or the name of one.

    Of a model of several networks, to those of the first.

    Raises
    ------
    RecipeError
        The weights are of another architecture, or of other channels.
    RunError, ModelError
        The source cannot be read.
    """
    try:
        if _is_run(source):
            weights = load_tensors(open_run(source).weights)["network"]
            network.load_state_dict(rename_weights(weights, network))
        else:
            _load_folded(network, rename_weights(_tensors(model_path(source)), network))
    except (KeyError, RuntimeError) as error:
        raise RecipeError(
            "the weights to start from do not fit the recipe's network",
            where=str(source),
            hint="leave out --recipe, or choose the network that they were trained with",
        ) from error


def _is_run(source: str | Path) -> bool:
    return Path(source).is_dir()


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return a model file's weights in float32, by the names that its network gave them.

    Those held in 8 bits become numbers again, as close as a 255th of the largest of a channel.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    read_metadata(path)
    try:
        graph = onnx.load(path).graph
    except DecodeError as error:
        raise ModelError(
            "the model file is truncated or corrupt", where=path, hint="copy it again"
        ) from error
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0].startswith("network."):
            whole, scale = arrays.pop(node.input[0]), arrays[node.input[1]]
            axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
            sides = [-1 if i == axis and scale.size > 1 else 1 for i in range(whole.ndim)]
            arrays[node.input[0].removesuffix("_quantized")] = whole * scale.reshape(sides)
    several = any(name.startswith(_FIRST) for name in arrays)
    prefix = _FIRST if several else "network."
    return {
        name.removeprefix(prefix).removesuffix("_half"): torch.tensor(array).float()
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


@torch.no_grad()
def _load_folded(network: SegmentationNetwork, tensors: dict[str, Tensor]) -> None:
    """Load convolutions into which export has folded the normalisation that follows them.

    The normalisation is left to add the bias alone, so its statistics must stay as they are.
    """
    bias: Tensor | None = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            _copy(module.weight, tensors[f"{name}.weight"])
            if module.bias is None:
                # None where a 1x1 convolution follows, and not normalisation.
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


def _copy(target: Tensor, source: Tensor) -> None:
    if target.shape != source.shape:
        raise RuntimeError(f"{tuple(source.shape)} does not fit {tuple(target.shape)}")
    target.copy_(source)
