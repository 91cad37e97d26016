"""Earlier names of weights, which still load."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

_RENAMED_PARTS = {"enlarge": "upsample"}
"""Current name of each renamed submodule, by its earlier name."""


def rename_weights(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Replace earlier names of weights by those of a network.

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
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        current = ".".join(_RENAMED_PARTS.get(part, part) for part in name.split("."))
        use_current = name not in expected and current in expected
        renamed[current if use_current else name] = tensor
    return renamed
