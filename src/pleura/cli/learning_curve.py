"""`pleura learning-curve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    echo,
    images_argument,
    json_option,
    masks_argument,
    silent_option,
    stderr_console,
    write_json,
)
from pleura.cli.recipe_options import (
    announce_runs,
    folds_options,
    patient_overrides,
    recipe_of,
    recipe_options,
    require_one_process,
)
from pleura.cli.scores import print_table
from pleura.cli.types import WholeNumber
from pleura.training.progress_bar import new_progress_bar

if TYPE_CHECKING:
    from pleura.training.learning_curve import LearningCurve

_EPILOG = """\
\b
Examples:
  pleura learning-curve images/ masks/ -o curve/ --group patients.csv --patients 2,4,6,8
  pleura learning-curve images/ masks/ -o curve/ --group '^([A-Z]+-[0-9]+)_' --patients 1,3 -r quick
  pleura compare-recipes curve/patients-4 curve/patients-8
"""


@click.command("learning-curve", epilog=_EPILOG)
@images_argument
@masks_argument
@click.option("--output", "-o", type=PATH, required=True, help="Folder to write to.")
@click.option(
    "--patients",
    required=True,
    metavar="N,N,...",
    help="Numbers of training patients, such as 2,4,6,8.",
)
@folds_options
@recipe_options
@click.option(
    "--seed",
    type=WholeNumber(0),
    default=0,
    show_default=True,
    help="Seed of the random choice of training patients.",
)
@json_option
@silent_option
def command(
    images: Path,
    masks: Path,
    output: Path,
    patients: str,
    folds: int,
    group: str | None,
    recipe: str | None,
    initial_weights: str | None,
    overrides: tuple[str, ...],
    seed: int,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Cross-validate with several numbers of training patients, and print the scores of each.

    The folds are the same for all numbers, so that each patient is tested once per number, by a
    network that was not trained on it. OUTPUT gets a cross-validation per number,
    learning-curve.csv and learning-curve.png.

    Ctrl-C saves the training; the same command continues it and skips the finished trainings.
    Further numbers may be added.
    """
    from pleura.evaluation.model import EvaluationCallbacks
    from pleura.training.learning_curve import LearningCurveOptions, learning_curve

    require_one_process("folds")
    bar = new_progress_bar(stderr_console(), hidden=quiet)
    evaluating = bar.add_task("evaluating", total=None)

    def on_progress(done: int, total: int) -> None:
        bar.update(evaluating, completed=done, total=total)
        if done < total:
            bar.start()
        else:
            bar.stop()  # each training shows its own bar

    try:
        result = learning_curve(
            images,
            masks,
            output,
            recipe_of(recipe, initial_weights, [*overrides, *patient_overrides(group)]),
            LearningCurveOptions(_numbers(patients), folds, seed, not quiet, initial_weights),
            callbacks=announce_runs(
                lambda run: f"{run.folder.parent.name}, {run.folder.name} of {folds}", quiet
            ),
            evaluation_callbacks=EvaluationCallbacks(on_progress),
        )
    finally:
        bar.stop()
    write_json(json_file, result.to_dict())
    return _print(result, silent=quiet or str(json_file) == "-")


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--patients is N,N,..., not {text!r}") from error


def _print(result: LearningCurve, *, silent: bool) -> int:
    """Print the scores and the files; return the exit code."""
    from pleura.training.learning_curve import CURVE_COLUMNS

    if not result.finished:
        echo(
            f"stopped after {len(result.scores)} of {len(result.patients)} numbers of patients "
            "and saved; repeat the command to continue",
            err=True,
        )
        return 130
    if silent:
        return 0
    print_table(list(CURVE_COLUMNS), result.rows())
    echo(f"table   {result.folder / 'learning-curve.csv'}")
    echo(f"figure  {result.folder / 'learning-curve.png'}")
    return 0
