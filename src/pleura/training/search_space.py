"""The trials of a search over recipe keys: their values, and their recipes."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pleura.errors import RecipeError
from pleura.names import counted
from pleura.training.recipe import Recipe
from pleura.training.recipe_loading import override_recipe
from pleura.typing import StrPath

_FIXED = ("name", "description", "data", "split", "evaluation")
"""Sections that would change the validation images, or how they are evaluated."""

_MOST_DRAWS = 1000
"""Random draws per trial, after which there are considered to be no other values."""


@dataclass(frozen=True)
class SearchOptions:
    """Options of `search_recipes`.

    Parameters
    ----------
    grid:
        Values to try, by recipe key with dots, such as ``{"training.batch_size": [8, 16]}``.
    ranges:
        Lowest and highest value by key, for random trials; uniform on a logarithmic scale. Between
        two whole numbers, values are whole numbers.
    linear_ranges:
        The same, uniform on a linear scale.
    trials:
        Number of random trials, each with one value per key; None: all combinations of ``grid``.
        More trials extend a search: the first ones are the same.
    seed:
        Seed of the random values. The seed of the trainings is that of the recipe.
    progress, initial_weights:
        As for `TrainingOptions`.
    """

    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    linear_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    trials: int | None = None
    seed: int = 0
    progress: bool | None = None
    initial_weights: StrPath | None = None

    @property
    def keys(self) -> list[str]:
        """The keys to search."""
        return [*self.grid, *self.ranges, *self.linear_ranges]


def trial_values(options: SearchOptions) -> list[dict[str, Any]]:
    """Return the values of each trial by key.

    Raises
    ------
    RecipeError
        No key is given, one is given twice or cannot be searched, a range is impossible, or there
        are too few different values.
    """
    _check(options)
    if options.trials is None:
        products = itertools.product(*options.grid.values())
        return [dict(zip(options.grid, values, strict=True)) for values in products]
    generator = random.Random(options.seed)  # noqa: S311  (not a secret)
    found: list[dict[str, Any]] = []
    for _ in range(_MOST_DRAWS * options.trials):
        if len(found) == options.trials:
            break
        values = _draw(options, generator)
        if values not in found:
            found.append(values)
    if len(found) < options.trials:
        raise RecipeError(
            f"{options.trials} random trials requested, but there are only "
            f"{counted(len(found), 'combination')} of values",
            where=", ".join(options.keys),
            hint="request fewer trials, or add values",
        )
    return found


def trial_recipes(recipe: Recipe, trials: Sequence[Mapping[str, Any]]) -> list[Recipe]:
    """Return the recipe of each trial.

    Raises
    ------
    RecipeError
        A key is unknown, or the recipe refuses a value; the error names the trial.
    """
    recipes = []
    for i, values in enumerate(trials):
        overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        try:
            recipes.append(override_recipe(recipe, overrides))
        except RecipeError as error:
            raise RecipeError(
                error.message,
                where=f"trial {i + 1} of {len(trials)}: {describe_values(values)}",
                hint=error.hint,
            ) from error
    return recipes


def describe_values(values: Mapping[str, Any]) -> str:
    """Return values by key as text, such as ``training.batch_size=8, loss.dice=0.5``."""
    return ", ".join(f"{key}={value_text(value)}" for key, value in values.items())


def value_text(value: Any) -> str:
    """Return a value of a recipe as text: JSON, without quotes around text."""
    return value if isinstance(value, str) else json.dumps(value)


def _check(options: SearchOptions) -> None:
    keys = options.keys
    enough = options.trials is None or options.trials > 0
    if not (keys and enough and all(map(len, options.grid.values()))):
        raise RecipeError(
            "there are no values to search",
            where=", ".join(keys) or "search",
            hint="give values or a range for at least one key",
        )
    for key in keys:
        if keys.count(key) > 1:
            raise RecipeError(
                "the key has several lists of values or ranges",
                where=key,
                hint="give each key once",
            )
        if key.partition(".")[0] in _FIXED:
            raise RecipeError(
                "the key changes the validation images, or how they are evaluated, so that the "
                "scores of the trials would not be comparable",
                where=key,
                hint="set it for all trials, in the recipe or with --set",
            )
    for key, (low, high) in options.ranges.items():
        _check_range(key, low, high, "logarithmic" if low <= 0 else "")
    for key, (low, high) in options.linear_ranges.items():
        _check_range(key, low, high)
    if options.trials is None and (options.ranges or options.linear_ranges):
        raise RecipeError(
            "a range requires random trials",
            where=next(iter({**options.ranges, **options.linear_ranges})),
            hint="request random trials (--random N), or list values (--grid)",
        )


def _check_range(key: str, low: float, high: float, scale: str = "") -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or scale:
        raise RecipeError(
            f"the range from {low:g} to {high:g} is not possible"
            + (f" on a {scale} scale" if scale else ""),
            where=key,
            hint="begin above 0, or use a linear range"
            if scale
            else "pass the lower limit first, then the upper one",
        )


def _draw(options: SearchOptions, generator: random.Random) -> dict[str, Any]:
    """Return one random value per key; `random.random` is the same in all versions of Python."""
    values = {
        key: choices[int(generator.random() * len(choices))]
        for key, choices in options.grid.items()
    }
    for key, (low, high) in options.ranges.items():
        exponent = math.log(low) + generator.random() * (math.log(high) - math.log(low))
        values[key] = _rounded(math.exp(exponent), low, high)
    for key, (low, high) in options.linear_ranges.items():
        values[key] = _rounded(low + generator.random() * (high - low), low, high)
    return values


def _rounded(value: float, low: float, high: float) -> float:
    """Return a value with four significant digits, or a whole number between whole numbers."""
    rounded = round(value) if isinstance(low, int) and isinstance(high, int) else value
    digits = rounded if isinstance(rounded, int) else float(f"{value:.4g}")
    return min(max(digits, low), high)
