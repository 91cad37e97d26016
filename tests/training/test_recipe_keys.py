import json
import warnings

import pytest
import yaml

from pleura.errors import DataWarning, RecipeError
from pleura.training.initial_weights import fine_tuning_recipe
from pleura.training.recipe_keys import RENAMED_KEYS, RENAMED_VALUES
from pleura.training.recipe_loading import build_recipe, known_recipes, load_recipe, override_recipe

VALUES = {
    "data.factor": 2.0,
    "data.part": "training",
    "data.every": 3,
    "data.only": ["a"],
    "data.leave_out": ["a"],
    "split.leave_out": ["a"],
    "augmentation.stretch": 1.5,
    "augmentation.bend": 0.05,
    "network.filters": [4, 8, 16],
    "network.outer": 1,
    "schedule.hold": 7,
    "training.fixed_normalisation": True,
    "evaluation.grid": [64, 64],
    "evaluation.choose_threshold": True,
    "preparation": {"size": [32, 32]},
}
"""A valid value that is not the default; of all other keys 0.3 is."""

ROWS = [
    *((old, new, VALUES.get(old, 0.3), VALUES.get(old, 0.3)) for old, new in RENAMED_KEYS.items()),
    *((key, key, old, new) for (key, old), new in RENAMED_VALUES.items()),
]


def nested(key, value):
    """Return a recipe with one value; a list as `data` is short for `data.sources`."""
    section, _, name = key.partition(".")
    if section == "data":
        return {"data": [{"images": "a/*.tif", "masks": "b/*.tif", name: value}]}
    return {section: {name: value}} if name else {section: value}


def at(recipe, key):
    value = recipe.model_dump(mode="json")
    value["data"] = value["data"]["sources"]
    for part in key.split("."):
        value = value[0][part] if isinstance(value, list) else value[part]
    return value


def holds(recipe, key, value):
    found = at(recipe, key)
    return value.items() <= found.items() if isinstance(value, dict) else found == value


@pytest.mark.parametrize(("old", "new", "given", "expected"), ROWS)
def test_an_earlier_name_loads_with_one_warning_that_has_the_current_one(
    tmp_path, old, new, given, expected
):
    path = tmp_path / "mine.yaml"
    values = nested(old, given) | ({"simulation": None} if "simulation" not in old else {})
    base = "quick" if "simulation" in old else "exercise"  # a simulation needs a window
    path.write_text(yaml.safe_dump({"base": base, **values}))
    with pytest.warns(DataWarning) as raised:
        recipe = load_recipe(path)
    assert holds(recipe, new, expected)
    (warning,) = raised
    assert "is now" in str(warning.message)
    assert (new if old != new else expected) in str(warning.message)
    assert warning.filename == __file__
    # As a run folder and a model file of an earlier version have it: nothing for a user to change.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = build_recipe({"name": "x", "preparation": {"scaling": "window"}, **values}, "x")
    assert holds(stored, new, expected)


@pytest.mark.parametrize(
    ("old", "new", "given", "expected"), [row for row in ROWS if "data." not in row[0]]
)
def test_overrides_accept_an_earlier_name(old, new, given, expected):
    recipe = load_recipe("default" if "simulation" in old else "quick")
    with pytest.warns(DataWarning, match="--set"):
        changed = override_recipe(recipe, [f"{old}={json.dumps(given)}"])
    assert holds(changed, new, expected)


def test_a_key_under_both_names_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {average: 0.9, ema_decay: 0.8}")
    with pytest.raises(RecipeError, match=r"training\.ema_decay is also given"):
        load_recipe(path)


def test_shipped_recipes_and_the_shipped_model_have_current_names():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in known_recipes():
            load_recipe(name)
        assert fine_tuning_recipe("default").network.full_resolution_convs == 1
