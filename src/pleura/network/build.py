"""Networks from recipes."""

from __future__ import annotations

from pleura.network.default import DefaultUNet
from pleura.network.exercise import ExerciseUNet
from pleura.network.recipe import NetworkRecipe
from pleura.network.tiling import SegmentationNetwork
from pleura.network.unet2015 import UNet2015


def build_network(recipe: NetworkRecipe, outputs: int = 1, inputs: int = 1) -> SegmentationNetwork:
    """Return the recipe's network, initialised from the current state of PyTorch's generator.

    Parameters
    ----------
    recipe:
        Architecture and width.
    outputs:
        Number of logits of a pixel: 1 for one class, else the number of classes with background.
    inputs:
        Number of channels of the images: 1, or with neighbouring slices their number.
    """
    match recipe.architecture:
        case "exercise":
            return ExerciseUNet(recipe.channels, recipe.dropout, outputs, inputs)
        case "unet2015":
            return UNet2015(recipe.channels, recipe.dropout, outputs, inputs)
        case "default":
            return DefaultUNet(
                recipe.channels,
                recipe.dropout,
                recipe.full_resolution_convs,
                recipe.separable,
                outputs,
                inputs,
            )
