"""The section `data.lungs` of a recipe: a cascade of lungs and classes inside them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from pleura.dataset.recipe_model import RecipeModel


class LungsRecipe(RecipeModel):
    """A cascade: a model finds the lungs, and the network gets only them. Requires `labels`."""

    crop: bool = True
    """Crop the slices of a scan to one box around its lungs and the margin. The box has the aspect
    ratio of `preprocessing.size` and is not smaller, so that no image is magnified."""
    mask: bool = True
    """Set values outside the lungs and the margin to the lower limit of `preprocessing.window`, or
    with another scaling to the minimum of the image. The network predicts no label there."""
    margin: float = Field(10.0, ge=0, le=1000)
    """Distance from the lungs that counts as lung, in mm; in pixels for images without spacing."""
    model: Path | None = None
    """Model file of the lungs; `null`: the shipped model `default` for images in HU, `greyscale`
    for grey values."""
    label: int | None = Field(None, ge=1, le=255)
    """Value of lung without another label in masks of the exported model; `null`: 0."""

    @model_validator(mode="after")
    def _possible(self) -> LungsRecipe:
        if not (self.crop or self.mask):
            raise ValueError("lungs: crop and mask are both false: set one of them to true")
        return self
