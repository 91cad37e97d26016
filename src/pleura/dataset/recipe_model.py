"""The base class of a recipe and its sections."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class RecipeModel(BaseModel):
    """An immutable section of a recipe; unknown keys, NaN and infinity are rejected."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
