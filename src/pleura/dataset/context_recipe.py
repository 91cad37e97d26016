"""The section `data.context` of a recipe."""

from __future__ import annotations

from pydantic import Field

from pleura.dataset.recipe_model import RecipeModel
from pleura.scan.context import MAX_DISTANCE, MAX_SLICES, SliceContext


class ContextRecipe(RecipeModel):
    """Neighbouring slices of a volume as further channels of the input (2.5-D)."""

    slices: int = Field(0, ge=0, le=MAX_SLICES)
    """Number of neighbouring slices on each side; 0: a 2-D network."""
    distance: float | None = Field(None, gt=0, le=MAX_DISTANCE)
    """Distance between the channels in mm, of which the nearest slice is used; unset: adjacent
    slices, whatever their distance."""

    @property
    def slice_context(self) -> SliceContext:
        """The section for code that does not depend on recipes."""
        return SliceContext(self.slices, self.distance)
