"""Earlier names of recipe keys and values, which still load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pleura.errors import RecipeError

RENAMED_KEYS = {
    "preparation": "preprocessing",
    "data.factor": "data.scale_factor",
    "data.part": "data.subset",
    "data.every": "data.slice_step",
    "data.only": "data.include",
    "data.leave_out": "data.exclude",
    "split.train": "split.training_fraction",
    "split.validation": "split.validation_fraction",
    "split.leave_out": "split.exclude",
    "augmentation.stretch": "augmentation.anisotropy",
    "augmentation.turn": "augmentation.full_rotation_probability",
    "augmentation.bend": "augmentation.elastic",
    "augmentation.gain": "augmentation.intensity_scale",
    "augmentation.offset": "augmentation.intensity_shift",
    "simulation.clothing": "simulation.external_objects",
    "simulation.circle": "simulation.field_of_view",
    "simulation.equalised": "simulation.clahe",
    "network.filters": "network.channels",
    "network.outer": "network.full_resolution_convs",
    "schedule.hold": "schedule.decay_after",
    "schedule.decay": "schedule.gamma",
    "schedule.warmup": "schedule.warmup_fraction",
    "training.average": "training.ema_decay",
    "training.fixed_normalisation": "training.freeze_batch_norm",
    "evaluation.grid": "evaluation.additional_size",
    "evaluation.choose_threshold": "evaluation.tune_threshold",
}
"""Current name of each renamed key; a key is written with the current name of its section."""

RENAMED_VALUES = {
    ("data.subset", "train"): "training",
    ("split.duplicates", "refuse"): "error",
    ("split.duplicates", "leave_out"): "exclude",
    ("schedule.name", "plateau-then-decay"): "exponential",
}
"""Current name of each renamed value, by current key and earlier value."""


def update_keys(
    values: Mapping[str, Any], where: str, prefix: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Replace earlier names of keys and values by the current ones.

    Parameters
    ----------
    values:
        A recipe, or a section of it, as parsed from YAML.
    where:
        The recipe's file, for messages.
    prefix:
        The section's key and a dot; empty for a whole recipe.

    Returns
    -------
    updated:
        The same values under current names.
    renamed:
        One text for each replacement, such as ``training.average is now training.ema_decay``.

    Raises
    ------
    RecipeError
        A key is given under both names.
    """
    updated: dict[str, Any] = {}
    renamed: list[str] = []
    for key, value in values.items():
        earlier = f"{prefix}{key}"
        current = RENAMED_KEYS.get(earlier, earlier)
        name = key if current == earlier else current.removeprefix(prefix)
        if current != earlier:
            renamed.append(f"{earlier} is now {current}")
            if name in values:
                raise RecipeError(
                    f"{current} is also given under its earlier name {earlier}",
                    where=where,
                    hint=f"remove {earlier}",
                )
        updated[name], inner = _update_value(value, where, current)
        renamed += inner
    if not prefix and isinstance(updated.get("data"), list):  # short for data.sources
        updated["data"] = {"sources": updated["data"]}
    return updated, list(dict.fromkeys(renamed))


def _update_value(value: Any, where: str, key: str) -> tuple[Any, list[str]]:
    if isinstance(value, Mapping):
        return update_keys(value, where, f"{key}.")
    if isinstance(value, list):
        items = [_update_value(item, where, key) for item in value]
        return [item for item, _ in items], [text for _, texts in items for text in texts]
    if isinstance(value, str) and (key, value) in RENAMED_VALUES:
        current = RENAMED_VALUES[key, value]
        return current, [f"{key}: {value} is now {current}"]
    return value, []
