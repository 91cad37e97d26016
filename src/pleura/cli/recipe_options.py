"""Options of the commands that train several networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from pleura.cli.common import Command, echo
from pleura.cli.types import WholeNumber

if TYPE_CHECKING:
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.recipe import Recipe
    from pleura.training.run import Run


def recipe_options(command: Command) -> Command:
    """Add the options ``--recipe``, ``--from`` and ``--set`` to a command."""
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a value of the recipe, such as training.epochs=5; repeatable.",
    )(command)
    command = click.option(
        "--from",
        "initial_weights",
        metavar="MODEL",
        help="Start each training from these weights: a run, a model file, or `default`, the model "
        "of this package. They must not have been trained on these images.",
    )(command)
    return click.option(
        "--recipe",
        "-r",
        help="Name, or path of a .yaml file.  "
        "[default: exercise, or with --from that of the weights]",
    )(command)


def recipe_of(name: str | None, initial_weights: str | None, overrides: Sequence[str]) -> Recipe:
    """Return the recipe of these options."""
    from pleura.training.initial_weights import fine_tuning_recipe
    from pleura.training.recipe_loading import load_recipe, override_recipe

    if name is None and initial_weights is not None:
        return override_recipe(fine_tuning_recipe(initial_weights), overrides)
    return load_recipe(name or "exercise", overrides)


def folds_options(command: Command) -> Command:
    """Add the options ``--folds`` and ``--group`` to a command."""
    command = click.option(
        "--group",
        metavar="CSV|REGEX",
        help="Patients: a .csv file with the columns name and patient, or a regular expression on "
        "the file name, whose first group is the patient.  [default: each image or volume; of "
        "DICOM, the patient in the header]",
    )(command)
    return click.option(
        "--folds", type=WholeNumber(3), default=5, show_default=True, help="Number of folds."
    )(command)


def patient_overrides(group: str | None) -> list[str]:
    """Return overrides of a recipe with the patients of ``--group``."""
    if group is None:
        return []
    is_table = group.lower().endswith(".csv")
    table, pattern = (group, None) if is_table else (None, group)
    return [
        f"split.patient_file={json.dumps(table)}",
        f"split.patient_pattern={json.dumps(pattern)}",
    ]


def announce_runs(name: Callable[[Run], str], quiet: bool) -> TrainingCallbacks:
    """Return callbacks that print a line before each training.

    Parameters
    ----------
    name:
        Returns the text that identifies a run.
    quiet:
        Print nothing.
    """
    from pleura.training.callbacks import TrainingCallbacks

    def on_start(run: Run) -> None:
        if not quiet:
            sizes = run.record["subsets"]
            counts = ", ".join(f"{size} {subset}" for subset, size in sizes.items())
            echo(f"{name(run)}: {counts} images", err=True)

    return TrainingCallbacks(on_start=on_start)


def require_one_process(trainings: str) -> None:
    """Refuse to train several networks under torchrun.

    Raises
    ------
    click.UsageError
        Several processes were started.
    """
    from pleura.training.processes import is_distributed

    if is_distributed():
        raise click.UsageError(
            f"the {trainings} are trained in one process: start pleura without torchrun"
        )
