"""`pleura search`."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pleura.cli.common import (
    PATH,
    echo,
    images_argument,
    json_option,
    masks_argument,
    silent_option,
    write_json,
)
from pleura.cli.recipe_options import (
    announce_runs,
    recipe_of,
    recipe_options,
    require_one_process,
)
from pleura.cli.scores import print_table
from pleura.cli.types import WholeNumber

if TYPE_CHECKING:
    from pleura.training.run import Run
    from pleura.training.search_result import RecipeSearch, SearchTrial

_EPILOG = """\
\b
Examples:
  pleura search images/ masks/ -o runs/search --grid training.batch_size=8,16 --grid loss.dice=0,1
  pleura search images/ masks/ -o runs/rates --range schedule.learning_rate=1e-4..1e-2 --random 20
  pleura search images/ masks/ -o runs/sizes -r quick --grid preprocessing.size=[64,64],[128,128]
  pleura train images/ masks/ -o runs/best --recipe runs/search/best.yaml
"""


@click.command("search", epilog=_EPILOG)
@images_argument
@masks_argument
@click.option("--output", "-o", type=PATH, required=True, help="Folder to write to.")
@recipe_options
@click.option(
    "--grid",
    "lists",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Values of a recipe key to try, such as training.batch_size=8,16; repeatable.",
)
@click.option(
    "--random",
    "trials",
    type=WholeNumber(1),
    metavar="N",
    help="Train N random trials.  [default: all combinations of the values of --grid]",
)
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="KEY=LOW..HIGH",
    help="Random values between two limits, uniform on a logarithmic scale; repeatable.",
)
@click.option(
    "--linear-range",
    "linear_ranges",
    multiple=True,
    metavar="KEY=LOW..HIGH",
    help="Random values between two limits, uniform on a linear scale; repeatable.",
)
@click.option(
    "--seed",
    type=WholeNumber(0),
    default=0,
    show_default=True,
    help="Seed of the random values. That of the trainings is training.seed.",
)
@json_option
@silent_option
def command(
    images: Path,
    masks: Path,
    output: Path,
    recipe: str | None,
    initial_weights: str | None,
    overrides: tuple[str, ...],
    lists: tuple[str, ...],
    trials: int | None,
    ranges: tuple[str, ...],
    linear_ranges: tuple[str, ...],
    seed: int,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Train a run for each combination of values of recipe keys, and print the best one.

    Trials are compared by their mean Dice on the validation images; the test images are not used.
    OUTPUT gets a run per trial, the table trials.csv, and the best recipe as best.yaml.

    Ctrl-C saves the training; the same command continues it and skips the finished trials. A
    larger N adds random trials to a search.
    """
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.search import SearchCallbacks, search_recipes
    from pleura.training.search_space import SearchOptions, trial_values

    require_one_process("trials")
    options = SearchOptions(
        grid=dict(_key_and_list(text) for text in _different(lists, "--grid")),
        ranges=dict(_key_and_range(text) for text in _different(ranges, "--range")),
        linear_ranges=dict(
            _key_and_range(text) for text in _different(linear_ranges, "--linear-range")
        ),
        trials=trials,
        seed=seed,
        progress=not quiet,
        initial_weights=initial_weights,
    )
    count = len(trial_values(options))
    progress = _TrialProgress(count, quiet)
    announced = announce_runs(lambda run: f"{run.folder.name} of {count}", quiet)
    result = search_recipes(
        images,
        masks,
        output,
        recipe_of(recipe, initial_weights, overrides),
        options,
        callbacks=SearchCallbacks(
            progress.on_trial, announced + TrainingCallbacks(on_start=progress.on_start)
        ),
    )
    write_json(json_file, result.to_dict())
    return _print(result, [images, masks], silent=quiet or str(json_file) == "-")


def _different(texts: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Require that no key is given twice: the last one would replace the others."""
    keys = [text.partition("=")[0] for text in texts]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise click.UsageError(f"{option} has the key {twice} twice: give all its values at once")
    return texts


def _key_and_list(text: str) -> tuple[str, list[Any]]:
    """Return the key of ``--grid`` and its values, which are the items of a YAML list."""
    from pleura.training.recipe_text import parse_recipe_text

    key, equals, values = text.partition("=")
    if not (key and equals and values):
        raise click.UsageError(f"--grid is KEY=VALUE,VALUE, not {text!r}")
    return key, list(parse_recipe_text(f"[{values}]", f"--grid {key}"))


def _key_and_range(text: str) -> tuple[str, tuple[float, float]]:
    """Return the key of ``--range`` and its limits; whole numbers are int."""
    key, _, limits = text.partition("=")
    low, _, high = limits.partition("..")
    try:
        return key, (_number(low), _number(high))
    except ValueError as error:
        raise click.UsageError(f"a range is KEY=LOW..HIGH, not {text!r}") from error


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


class _TrialProgress:
    """Prints the score of each trial that this command trains, and the time left."""

    def __init__(self, count: int, quiet: bool) -> None:
        self._count = count
        self._quiet = quiet
        self._start: float | None = None
        self._trained = 0
        self._best: SearchTrial | None = None

    def on_start(self, _: Run) -> None:
        """Start the clock at the first training."""
        self._start = self._start or time.monotonic()

    def on_trial(self, trial: SearchTrial) -> None:
        """Print a trial, unless an earlier command trained it."""
        best = self._best
        if best is None or trial.score > best.score:
            best = self._best = trial
        if self._start is None or self._quiet:
            return
        self._trained += 1
        seconds = (time.monotonic() - self._start) / self._trained
        left = _clock(seconds * (self._count - trial.number))
        text = "diverged" if trial.diverged else f"validation Dice {trial.score:.4f}"
        echo(
            f"{trial.run.folder.name} of {self._count}: {text}, best {best.score:.4f} "
            f"({best.run.folder.name})" + f", about {left} left" * (trial.number < self._count),
            err=True,
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"


def _print(result: RecipeSearch, data: list[Path], *, silent: bool) -> int:
    """Print the trials and the files; return the exit code."""
    if not result.finished:
        echo(
            f"stopped after {len(result.trials)} of {result.count} trials and saved; repeat the "
            "command to continue",
            err=True,
        )
        return 130
    if silent:
        return 0
    print_table(*result.table())
    best, folder = result.best, result.folder
    echo(f"trials  {folder / 'trials.csv'}")
    if best is not None:
        words = shlex.join(map(str, ["pleura", "evaluate", best.run.folder, *data]))
        echo(f"best    {folder / 'best.yaml'}\nrun     {best.run.folder}\nnext    {words}")
    return 0
