"""Names of weights in files: of custom networks, and earlier names, which still load."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pleura.network.custom import CustomNetwork

_RENAMED_PARTS = {"enlarge": "upsample"}
"""Current name of each renamed submodule, by its earlier name."""

_CUSTOM_PREFIX = "module."
"""Prefix of the names of weights in a `CustomNetwork`; files store them without it."""


def names_in_file(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network by their names in a file.

    The weights of a custom network have the names that they have in the module of the user.
    """
    prefix = _CUSTOM_PREFIX if isinstance(network, CustomNetwork) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def rename_weights(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Replace the names of weights in a file by those of a network.

    Parameters
    ----------
    weights:
        Tensors by name, as in a state dict.
    network:
        The network that the weights are for. A name that it has itself is never replaced.

    Returns
    -------
    dict
        The same tensors in the same order.
    """
    expected = network.state_dict().keys()
    if isinstance(network, CustomNetwork) and all(_CUSTOM_PREFIX + n in expected for n in weights):
        return {_CUSTOM_PREFIX + name: tensor for name, tensor in weights.items()}
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        current = ".".join(_RENAMED_PARTS.get(part, part) for part in name.split("."))
        use_current = name not in expected and current in expected
        renamed[current if use_current else name] = tensor
    return renamed
