"""A recipe: all that defines a training, as a person writes it in YAML."""

from __future__ import annotations

import difflib
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from pleura.dataset.augmentation import Augmentation
from pleura.dataset.preprocessing import Preprocessing
from pleura.dataset.recipe_model import RecipeModel
from pleura.dataset.simulation import Simulation
from pleura.dataset.sources import Source
from pleura.dataset.splits import SplitRecipe
from pleura.errors import DataWarning, RecipeError
from pleura.network.recipe import NetworkRecipe
from pleura.training.recipe_keys import update_keys
from pleura.training.recipe_text import parse_recipe_text, read_recipe_text

RECIPES = Path(__file__).parents[1] / "recipes"


class LossRecipe(RecipeModel):
    """Binary cross-entropy on logits, alone, weighted by pixel, or with Dice."""

    cross_entropy: float = Field(1.0, ge=0)
    """Weight of the binary cross-entropy."""
    dice: float = Field(0.0, ge=0)
    """Weight of the soft Dice loss (Milletari 2016), over the batch."""
    border_weights: bool = False
    """Weigh pixels by class balance and the border term (Ronneberger 2015, equation 2)."""
    border_sigma: float = Field(5.0, gt=0)
    """Width of the border term, in pixels of the network's grid; the paper's 5 is for 512."""

    @model_validator(mode="after")
    def _possible(self) -> LossRecipe:
        if self.cross_entropy + self.dice == 0:
            raise ValueError("cross_entropy and dice are both 0: there is nothing to learn")
        return self


class OptimiserRecipe(RecipeModel):
    """Adam at its defaults (Kingma, Ba 2015), with decoupled weight decay, or SGD with momentum."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """`adam` has Keras's epsilon of 1e-7; `adamw` and `sgd` are as PyTorch has them."""
    weight_decay: float = Field(0.0, ge=0)
    """For `adamw` only."""
    momentum: float = Field(0.99, ge=0, lt=1)
    """For `sgd` only; 0.99 in Ronneberger 2015."""


class ScheduleRecipe(RecipeModel):
    """The learning rate over epochs."""

    name: Literal["exponential", "constant", "one-cycle"] = "exponential"
    """`exponential`: `learning_rate` up to and including epoch `decay_after`, times `gamma` for
    each epoch after it; `one-cycle`: linear rise over `warmup_fraction` of the steps, then cosine
    decay to 0."""
    learning_rate: float = Field(0.001, gt=0)
    """The highest rate of the training."""
    decay_after: int = Field(20, ge=0)
    """For `exponential`: the last epoch, counted from 0, at the full rate."""
    gamma: float = Field(0.1, gt=0, le=1)
    """For `exponential`: the factor from one epoch to the next after it."""
    warmup_fraction: float = Field(0.1, ge=0, lt=1)
    """For `one-cycle`: the fraction of a cycle's steps in which the rate rises."""
    restarts: tuple[PositiveInt, ...] = ()
    """For `one-cycle`: epochs, counted from 0, in which a new cycle begins, at half the rate
    (Loshchilov, Hutter 2017); those after the last epoch do nothing. What is kept is the mean of
    the weights at the ends of the cycles (Izmailov 2018)."""

    @model_validator(mode="after")
    def _possible(self) -> ScheduleRecipe:
        if list(self.restarts) != sorted(set(self.restarts)):
            raise ValueError("restarts: give them in order, each once")
        if self.restarts and self.name != "one-cycle":
            raise ValueError("restarts: only one-cycle has cycles")
        return self


class TrainingRecipe(RecipeModel):
    """Length, batches, precision, and which weights are kept."""

    epochs: int = Field(40, ge=1, le=1_000_000)
    """Passes over the training images."""
    batch_size: int = Field(16, ge=1, le=65_536)
    """Images a step. A rest too small for a batch waits for the next epoch, in another order."""
    seed: int = Field(220, ge=0, lt=1 << 62)
    """Of first weights, order, augmentation and dropout; the split has its own."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bfloat16 where the processor computes in it, else float32."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: the first of cuda, mps and cpu that this machine has."""
    threads: int | None = Field(None, ge=1, le=4096)
    """Processor threads; unset: as many as there are cores."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then what is kept."""
    freeze_batch_norm: bool = False
    """Keep the statistics of batch normalisation as they are: for small sets of one kind, and for
    weights from a model file, which need it."""


Probability = Annotated[float, Field(gt=0, lt=1)]
GridSide = Annotated[int, Field(ge=1, le=4096)]


class EvaluationRecipe(RecipeModel):
    """Where the probability becomes a mask."""

    thresholds: tuple[Probability, ...] = Field((0.1, 0.5), min_length=1, max_length=100)
    """Thresholds of the table; the first one is what `predict` uses unless `tune_threshold`."""
    additional_size: tuple[GridSide, GridSide] | None = None
    """A further grid (rows, columns) to judge on, sampled as the exercise samples its masks."""
    tune_threshold: bool = False
    """Choose the threshold with the best mean IoU on the validation images, on their own grid."""


class Recipe(RecipeModel):
    """All that defines a training."""

    name: str
    """How people call it; a file without this key is called as the file."""
    description: str = ""
    """What it is for; `pleura recipe` prints it."""
    data: tuple[Source, ...] = ()
    """Sets of images below one folder; empty: the two folders that the training is given."""
    preprocessing: Preprocessing = Preprocessing()
    split: SplitRecipe = SplitRecipe()
    augmentation: Augmentation | None = Augmentation()
    """`null` trains on the images as they are."""
    simulation: Simulation | None = None
    """Scanner faults, other people's pictures and disease; only for images in HU."""
    network: NetworkRecipe = NetworkRecipe()
    loss: LossRecipe = LossRecipe()
    optimiser: OptimiserRecipe = OptimiserRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    training: TrainingRecipe = TrainingRecipe()
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if self.simulation is not None:
            if self.preprocessing.scaling != "window":
                raise ValueError("simulation is in HU: set preprocessing.scaling to window")
            if self.augmentation is None:
                raise ValueError("simulation goes with an augmentation")
        return self

    def __repr__(self) -> str:
        rows, columns = self.preprocessing.size
        return (
            f"Recipe({self.name}; network {self.network.architecture}; {rows}x{columns}; "
            f"{self.training.epochs} epochs)"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_yaml())}</pre>"

    def to_yaml(self) -> str:
        """Return the full recipe, every value written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def known_recipes() -> list[str]:
    """Return the names of the recipes that ship, sorted."""
    return sorted(
        f.name.removesuffix(".yaml") for f in RECIPES.iterdir() if f.name.endswith(".yaml")
    )


def load_recipe(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe by the name of one that ships or by the path of a YAML file.

    A file may start from another recipe by its key `base`. ``overrides`` are texts such as
    ``training.epochs=5``; their values are read as YAML.

    Parameters
    ----------
    recipe:
        Name of a recipe in the package, or path of a YAML file.
    overrides:
        Values to change, such as ``training.epochs=5``.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        No such recipe, unreadable YAML, an unknown key (the nearest known one is named), or an
        impossible value.
    """
    values, where = _read(recipe)
    for override in overrides:
        _set(values, override)
    return build_recipe(values, where)


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with these overrides, as `load_recipe` takes them."""
    values = recipe.model_dump(mode="json")
    for override in overrides:
        _set(values, override)
    return build_recipe(values, f"recipe {recipe.name}")


def build_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Check the values of a recipe; earlier names of keys and values are accepted.

    Raises
    ------
    RecipeError
        An unknown key or an impossible value.
    """
    values, _ = update_keys(values, where)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"]]
        dotted = ".".join(keys) or "recipe"
        if first["type"] == "extra_forbidden":
            raise _unknown_key(keys, where) from error
        raise RecipeError(
            f"{dotted}: {first['msg'].removeprefix('Value error, ')}"
            + (f" (got {_short(first['input'])})" if dotted != "recipe" and len(keys) > 1 else ""),
            where=where,
            hint="correct the value; docs/reference/recipes.md lists what each key takes",
        ) from error


def _current(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return values that a person wrote under current names; warn where they had earlier ones."""
    updated, renamed = update_keys(values, where)
    if renamed:
        warnings.warn(f"{where}: {', '.join(renamed)}", DataWarning, stacklevel=4)
    return updated


def _short(value: object) -> str:
    return reprlib.repr(value) if not isinstance(value, str) else repr(value)[:200]


def _read(recipe: str | Path) -> tuple[dict[str, Any], str]:
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        source, where = path, str(path)
    elif str(recipe) in known_recipes():
        source, where = RECIPES / f"{recipe}.yaml", f"recipe {recipe}"
    else:
        near = difflib.get_close_matches(str(recipe), known_recipes(), 1)
        raise RecipeError(
            f"no recipe '{recipe}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            where=None,
            hint=f"choose one of {', '.join(known_recipes())}, or give the path of a .yaml file",
        )
    values = read_recipe_text(source, where)
    if not isinstance(values, dict):
        raise RecipeError("the recipe is no table of keys", where=where, hint="write 'key: value'")
    values = _current(values, where)
    values.setdefault("name", path.stem)
    base = values.pop("base", None)
    if base is not None:
        if str(base) not in known_recipes():
            raise RecipeError(
                f"no recipe '{base}' to start from",
                where=where,
                hint=f"choose base from {', '.join(known_recipes())}",
            )
        values = _merge(_read(str(base))[0], values)
    _find_beside(values, source)
    return values, where


def _find_beside(values: dict[str, Any], source: Path) -> None:
    """Make the paths of files that are beside a recipe, such as a run's own split, absolute."""
    split = values.get("split")
    for key in ("file", "patient_file") if isinstance(split, dict) else ():
        named = split.get(key)  # type: ignore[union-attr]
        if isinstance(named, str) and (source.parent / named).is_file():
            split[key] = str((source.parent / named).absolute())  # type: ignore[index]


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
            f"'{override}' sets nothing",
            where="--set",
            hint="write key=value, for example training.epochs=5",
        )
    value = parse_recipe_text(text, f"--set {key}")
    for part in reversed(key.split(".")):
        value = {part: value}
    keys: list[str] = []
    value = _current(value, f"--set {key}")
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
                f"'{parent}' in '{key}' holds no keys", where="--set", hint="set it whole"
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
            if isinstance(candidate, type) and issubclass(candidate, RecipeModel):
                keys += _dotted_keys(candidate, f"{prefix}{name}.")
    return keys
