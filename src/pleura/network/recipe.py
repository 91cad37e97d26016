"""The section `network` of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pleura.dataset.recipe_model import RecipeModel

MAX_CHANNELS = 2048
"""Maximum of a level; the widest published U-Nets have 1024."""


class NetworkRecipe(RecipeModel):
    """Architecture and width of the network."""

    architecture: Literal["exercise", "unet2015", "default"] = "exercise"
    """`exercise`: three levels of one convolution; `unet2015`: the unpadded U-Net of Ronneberger
    2015; `default`: two convolutions with batch normalisation per level."""
    channels: tuple[int, ...] = Field((64, 128, 256), min_length=2, max_length=8)
    """Channels of each level, from full resolution down; at most 2048."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Probability; `exercise`: before the last layer; `unet2015`: after the two deepest levels of
    the encoder; `default`: of whole channels, at the deepest level."""
    full_resolution_convs: Literal[1, 2] = 2
    """`default`: convolutions at full resolution, in encoder and decoder each."""
    separable: bool = False
    """`default`: depthwise separable convolutions (Howard 2017), with a fifth of the
    multiplications."""

    @model_validator(mode="after")
    def _possible(self) -> NetworkRecipe:
        if self.architecture == "exercise" and len(self.channels) != 3:
            raise ValueError("channels: must be three numbers for the network of the exercise")
        if min(self.channels) < 1 or max(self.channels) > MAX_CHANNELS:
            raise ValueError(f"channels: must be 1 to {MAX_CHANNELS} per level")
        return self
