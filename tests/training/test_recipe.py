import shutil
import time

import pytest
import yaml

from pleura.errors import RecipeError
from pleura.training.recipe_loading import build_recipe, known_recipes, load_recipe


@pytest.mark.parametrize("name", known_recipes())
def test_recipes_that_ship_load_and_survive_being_written(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert build_recipe(yaml.safe_load(recipe.to_yaml()), "written") == recipe
    rows, columns = recipe.preprocessing.size
    assert f"  size: [{rows}, {columns}]\n" in recipe.to_yaml()


def test_exercise_is_the_exercise():
    recipe = load_recipe("exercise")
    assert recipe.preprocessing.scaling == "max"
    assert recipe.preprocessing.size == (128, 128)
    assert recipe.network.channels == (64, 128, 256)
    assert recipe.network.dropout == 0.5
    assert (recipe.training.epochs, recipe.training.batch_size) == (40, 16)
    assert recipe.evaluation.thresholds[0] == 0.1


def test_overrides_are_read_as_yaml():
    recipe = load_recipe(
        "exercise",
        ["training.epochs=5", "preprocessing.size=[64, 32]", "augmentation=null", "name=x"],
    )
    assert recipe.training.epochs == 5
    assert recipe.preprocessing.size == (64, 32)
    assert recipe.augmentation is None
    assert recipe.name == "x"


def test_recipe_file_starts_from_its_base(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: exercise\ntraining:\n  epochs: 7\n")
    recipe = load_recipe(path)
    assert recipe.name == "mine"
    assert recipe.training.epochs == 7
    assert recipe.training.batch_size == 16


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=5", "unknown key 'training.epoch'; did you mean 'training.epochs'"),
        ("epochs=5", "did you mean 'training.epochs'"),
        ("augmentation.zom=[1, 1]", "did you mean 'augmentation.zoom'"),
        ("training.epochs=none", r"training\.epochs must be a whole number, not 'none'"),
        ("training.epochs=0", "must be at least 1, not 0"),
        ("loss.cross_entropy=0", "set one of them above 0"),
        ("network.channels=[8, 16]", "three numbers"),
        ("schedule={name: one-cycle, restarts: [4, 2]}", "must be increasing"),
        ("schedule.restarts=[4]", "unless the schedule is one-cycle"),
        ("training.epochs", "not a key with a value"),
        ("training.epochs=[", "cannot be read"),
        ("name.first=x", "contains no keys"),
    ],
)
def test_wrong_override_is_refused_with_its_reason(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("exercise", [override])


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'exercise'"):
        load_recipe("exercize")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "base: nothing\n", "\x00"])
def test_recipe_file_that_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"bad\.yaml"):
        load_recipe(path)


def test_missing_recipe_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"gone\.yaml"):
        load_recipe(tmp_path / "gone.yaml")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n"
    for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: " + "[" * 100_000, "more than 20 levels of nesting"),
        ("\n".join(f"{' ' * i}a:" for i in range(500)), "more than 20 levels of nesting"),
        (BOMB, "more than 20000 values"),
        ("a: &a [*a]", "more than 20000 values"),
        ("name: x\ndata: [" + "a, " * 30_000 + "]", "more than 20000 values"),
        ("name: " + "x" * (1 << 20), "more than 1048576 bytes"),
        ("training: {epochs: 5, epochs: 6}", "the key 'epochs' occurs twice"),
        ("name: x\nname: y", "the key 'name' occurs twice"),
        ("name: 2001-99-99", "cannot be read"),
        ("name: *nothing", "cannot be read|more than"),
        ("? {a: b}\n: c", "cannot be read"),
    ],
)
def test_text_that_grows_or_contradicts_itself_is_refused_at_once(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    begin = time.perf_counter()
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)
    assert time.perf_counter() - begin < 5


def test_aliases_within_the_limits_are_read(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("preprocessing: {size: &s [64, 64]}\nevaluation: {additional_size: *s}\n")
    assert load_recipe(path).evaluation.additional_size == (64, 64)


@pytest.mark.parametrize(
    ("override", "limit"),
    [
        ("preprocessing.size=[100000,100000]", "4096 rows and columns"),
        ("preprocessing.size=[64,1e9]", "preprocessing.size"),
        ("training.epochs=1000000000000", "1000000"),
        ("training.epochs=1e12", "at most 1000000|whole number"),
        ("training.batch_size=1000000000", "65536"),
        ("network.channels=[1000000,1000000,1000000]", "1 to 2048 per level"),
        ("network={architecture: default, channels: [8,8,8,8,8,8,8,8,8,8,8,8]}", "at most 8"),
        ("evaluation.additional_size=[100000,100000]", "4096"),
        ("preprocessing.window=[1e300,1e301]", "1e9"),
        ("training.threads=1000000", "4096"),
        ("training.seed=1" + "0" * 400, "training.seed"),
        ("training.seed=1" + "0" * 5000, "cannot be read|training.seed"),
        ("split.patient_pattern=(", "patient_pattern"),
    ],
)
def test_absurd_value_is_refused_with_its_limit(override, limit):
    with pytest.raises(RecipeError, match=limit):
        load_recipe("exercise", [override])


def test_file_beside_a_recipe_is_found_from_elsewhere(sample, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    shutil.copy(sample.split, tmp_path / "a" / "split.csv")
    (tmp_path / "a" / "mine.yaml").write_text("base: quick\nsplit: {method: file, file: split.csv}")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("a/mine.yaml").split.file == tmp_path / "a" / "split.csv"
