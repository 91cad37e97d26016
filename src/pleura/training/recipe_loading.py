"""Load, override and check recipes."""

from __future__ import annotations

import difflib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from pleura.dataset.recipe_model import RecipeModel
from pleura.errors import DataWarning, RecipeError
from pleura.files.invalid_values import describe_invalid_value
from pleura.masks.selection import RoiSelection
from pleura.training.recipe import Recipe
from pleura.training.recipe_keys import update_keys
from pleura.training.recipe_text import parse_recipe_text, read_recipe_text
from pleura.typing import StrPath

RECIPES = Path(__file__).parents[1] / "recipes"


def known_recipes() -> list[str]:
    """Return the sorted names of the recipes of the package."""
    return sorted(
        f.name.removesuffix(".yaml") for f in RECIPES.iterdir() if f.name.endswith(".yaml")
    )


def load_recipe(recipe: StrPath, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe of the package, or from a YAML file.

    The key `base` of a file names a recipe of the package, whose values it changes.

    Parameters
    ----------
    recipe:
        Name of a recipe in the package, or path of a YAML file.
    overrides:
        Values to change, such as ``training.epochs=5``; parsed as YAML.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        There is no such recipe, the YAML is invalid, a key is unknown, or a value is invalid.

    Examples
    --------
    >>> import pleura
    >>> pleura.load_recipe("exercise", ["training.epochs=5"]).training.epochs
    5
    """
    values, where = _read(recipe)
    for override in overrides:
        _set(values, override)
    return build_recipe(values, where)


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with values changed by overrides such as ``training.epochs=5``."""
    values = recipe.model_dump(mode="json")
    for override in overrides:
        _set(values, override)
    return build_recipe(values, f"recipe {recipe.name}")


def roi_override(roi: RoiSelection) -> str:
    """Return an override of the recipe key data.roi."""
    return f"data.roi={json.dumps(roi if isinstance(roi, str) else dict(roi))}"


def build_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Create a recipe from its values; earlier names of keys and values are accepted.

    Parameters
    ----------
    values:
        Values as parsed from YAML.
    where:
        Name of the source in errors.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        A key is unknown, or a value is invalid.
    """
    values, _ = update_keys(values, where)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"] if key != "[key]"]
        dotted = ".".join(keys) or "recipe"
        if first["type"] == "extra_forbidden":
            raise _unknown_key(keys, where) from error
        raise RecipeError(
            describe_invalid_value(dotted, first),
            where=where,
            hint="correct the value; docs/reference/recipes.md lists the values of each key",
        ) from error


def _with_current_names(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Replace earlier names in the values of a file or an override, with a warning."""
    updated, renamed = update_keys(values, where)
    if renamed:
        warnings.warn(f"{where}: {', '.join(renamed)}", DataWarning, stacklevel=4)
    return updated


def _read(recipe: StrPath) -> tuple[dict[str, Any], str]:
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        source, where = path, str(path)
    elif str(recipe) in known_recipes():
        source, where = RECIPES / f"{recipe}.yaml", f"recipe {recipe}"
    else:
        near = difflib.get_close_matches(str(recipe), known_recipes(), 1)
        raise RecipeError(
            f"there is no recipe '{recipe}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            where=None,
            hint=f"choose one of {', '.join(known_recipes())}, or pass the path of a .yaml file",
        )
    values = read_recipe_text(source, where)
    if not isinstance(values, dict):
        raise RecipeError(
            "the recipe is not a mapping of keys",
            where=where,
            hint="write lines such as 'key: value'",
        )
    values = _with_current_names(values, where)
    values.setdefault("name", path.stem)
    base = values.pop("base", None)
    if base is not None:
        if str(base) not in known_recipes():
            raise RecipeError(
                f"there is no base recipe '{base}'",
                where=where,
                hint=f"choose base from {', '.join(known_recipes())}",
            )
        values = _merge(_read(str(base))[0], values)
    resolve_paths(values, source)
    return values, where


def resolve_paths(values: dict[str, Any], source: Path) -> None:
    """Make the paths of files in the folder of a recipe absolute."""
    data = values.get("data")
    lungs = data.get("lungs") if isinstance(data, dict) else None
    for section, key in (
        (values.get("split"), "file"),
        (values.get("split"), "patient_file"),
        (lungs, "model"),
    ):
        named = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(named, str):
            path = source.parent / named
            section[key] = str(path.absolute()) if path.is_file() else named


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(
            f"'{override}' is not a key with a value",
            where="--set",
            hint="write key=value, for example training.epochs=5",
        )
    value = parse_recipe_text(text, f"--set {key}")
    for part in reversed(key.split(".")):
        value = {part: value}
    keys: list[str] = []
    value = _with_current_names(value, f"--set {key}")
    for _ in key.split("."):
        (part,) = value
        keys.append(part)
        value = value[part]
    *parents, last = keys
    table = values
    for parent in parents:
        below = table.setdefault(parent, {})
        if not isinstance(below, dict):
            raise RecipeError(
                f"'{parent}' in '{key}' contains no keys",
                where="--set",
                hint=f"set '{parent}' itself",
            )
        table = below
    table[last] = value


def _unknown_key(keys: Sequence[str], where: str) -> RecipeError:
    every = _dotted_keys(Recipe)
    wanted = ".".join(keys)
    siblings = {key.rpartition(".")[2]: key for key in every}
    near = difflib.get_close_matches(wanted, every, 1, 0.7) or [
        siblings[name] for name in difflib.get_close_matches(keys[-1], list(siblings), 1)
    ]
    return RecipeError(
        f"unknown key '{wanted}'" + (f"; did you mean '{near[0]}'?" if near else ""),
        where=where,
        hint="correct the key; docs/reference/recipes.md lists them all",
    )


def _dotted_keys(model: type[RecipeModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for candidate in candidates:
            # On Python 3.10, isinstance(tuple[int, int], type) is true.
            plain = isinstance(candidate, type) and get_origin(candidate) is None
            if plain and issubclass(candidate, RecipeModel):
                keys += _dotted_keys(candidate, f"{prefix}{name}.")
    return keys
