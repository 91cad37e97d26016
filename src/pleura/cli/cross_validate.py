"""`pleura cross-validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    command_line,
    echo,
    images_argument,
    json_option,
    masks_argument,
    silent_option,
    stderr_console,
    write_json,
)
from pleura.cli.scores import print_scores
from pleura.cli.types import WholeNumber
from pleura.names import counted
from pleura.training.progress_bar import new_progress_bar

if TYPE_CHECKING:
    from pleura.training.callbacks import TrainingCallbacks
    from pleura.training.cross_validation import CrossValidation
    from pleura.training.recipe import Recipe
    from pleura.training.run import Run

_EPILOG = """\
\b
Examples:
  pleura cross-validate images/ masks/ -o folds/ --group patients.csv
  pleura cross-validate images/ masks/ -o folds/ --group '^([A-Z]+-[0-9]+)_' --recipe quick
  pleura cross-validate images/ masks/ -o folds/ --folds 10 --set training.epochs=20
  pleura cross-validate images/ masks/ -o folds/ --group patients.csv --report folds.html
  pleura cross-validate images/ masks/ -o folds/ --group patients.csv --from default
  pleura segment chest.nii.gz -o lungs.nii.gz --model folds/model.onnx
"""


@click.command("cross-validate", epilog=_EPILOG)
@images_argument
@masks_argument
@click.option("--output", "-o", type=PATH, required=True, help="Folder to write to.")
@click.option(
    "--folds", type=WholeNumber(3), default=5, show_default=True, help="Number of trainings."
)
@click.option(
    "--group",
    metavar="CSV|REGEX",
    help="Patients: a .csv file with the columns name and patient, or a regular expression on the "
    "file name, whose first group is the patient.  [default: each image or volume]",
)
@click.option(
    "--recipe",
    "-r",
    help="Name, or path of a .yaml file.  [default: exercise, or with --from that of the weights]",
)
@click.option(
    "--from",
    "initial_weights",
    metavar="MODEL",
    help="Start each training from these weights: a run, a model file, or `default`, the model of "
    "this package. They must not have been trained on these images.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the recipe, such as training.epochs=5; repeatable.",
)
@click.option("--report", type=PATH, help="Also write an HTML report to this file.")
@json_option
@silent_option
def command(
    images: Path,
    masks: Path,
    output: Path,
    folds: int,
    group: str | None,
    recipe: str | None,
    initial_weights: str | None,
    overrides: tuple[str, ...],
    report: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Train one network per fold, and evaluate each image with the network of its fold.

    All images of a patient are in one fold. The network of a fold is trained without the images of
    the fold; its threshold is chosen on a tenth of the images, of patients that are neither in the
    fold nor in the training. OUTPUT gets the runs, the predicted masks, their scores, and the
    ensemble of all networks as model.onnx.

    Ctrl-C saves the training; the same command continues it and skips the finished folds.
    """
    from pleura.evaluation.model import CaseArrays, EvaluationCallbacks
    from pleura.report.images import PageImage
    from pleura.report.scores import worst_slice
    from pleura.training.cross_validation import CrossValidationOptions, cross_validate
    from pleura.training.processes import is_distributed

    if is_distributed():
        raise click.UsageError(
            "the folds are trained in one process: start pleura without torchrun"
        )
    pictures: dict[str, PageImage] = {}
    bar = new_progress_bar(stderr_console(), hidden=quiet)
    evaluating = bar.add_task("evaluating", total=None)

    def on_progress(done: int, total: int) -> None:
        bar.start()  # not before: each training shows its own bar
        bar.update(evaluating, completed=done, total=total)

    def on_case(arrays: CaseArrays) -> None:
        if report is not None:
            pictures[arrays.case] = worst_slice(arrays)

    try:
        result = cross_validate(
            images,
            masks,
            output,
            _recipe(recipe, initial_weights, [*overrides, *_patients(group)]),
            CrossValidationOptions(folds, not quiet, initial_weights),
            callbacks=_callbacks(folds, quiet),
            evaluation_callbacks=EvaluationCallbacks(on_progress, on_case),
        )
    finally:
        bar.stop()
    if report is not None and result.evaluation is not None:
        from pleura.report.evaluation import evaluation_page

        evaluation_page(result.evaluation, pictures, command=command_line()).write(report)
    write_json(json_file, result.to_dict())
    return _print(result, silent=quiet or str(json_file) == "-")


def _recipe(name: str | None, initial_weights: str | None, overrides: list[str]) -> Recipe:
    from pleura.training.initial_weights import fine_tuning_recipe
    from pleura.training.recipe_loading import load_recipe, override_recipe

    if name is None and initial_weights is not None:
        return override_recipe(fine_tuning_recipe(initial_weights), overrides)
    return load_recipe(name or "exercise", overrides)


def _patients(group: str | None) -> list[str]:
    """Return overrides of a recipe with the patients of ``--group``."""
    if group is None:
        return []
    is_table = group.lower().endswith(".csv")
    table, pattern = (group, None) if is_table else (None, group)
    return [
        f"split.patient_file={json.dumps(table)}",
        f"split.patient_pattern={json.dumps(pattern)}",
    ]


def _callbacks(folds: int, quiet: bool) -> TrainingCallbacks:
    """Return callbacks that print the fold of each training."""
    from pleura.training.callbacks import TrainingCallbacks

    def on_start(run: Run) -> None:
        if not quiet:
            sizes = run.record["subsets"]
            counts = ", ".join(f"{size} {subset}" for subset, size in sizes.items())
            echo(f"{run.folder.name} of {folds}: {counts} images", err=True)

    return TrainingCallbacks(on_start=on_start)


def _print(result: CrossValidation, *, silent: bool) -> int:
    """Print the scores and the files; return the exit code."""
    if result.evaluation is None:
        done = sum(run.finished for run in result.runs)
        echo(
            f"stopped after {counted(done, 'finished fold')} of {result.folds} and saved; repeat "
            "the command to continue",
            err=True,
        )
        return 130
    if silent:
        return 0
    print_scores(result.evaluation)
    echo(
        f"thresholds  {'; '.join(map(_thresholds, result.runs))}\n"
        f"masks       {result.folder / 'masks'}\n"
        f"scores      {result.folder / 'cases.csv'}"
        + (f"\nmodel       {result.model}" if result.model else "")
    )
    return 0


def _thresholds(run: Run) -> str:
    """Return the threshold of a run, or of each of its classes, as text."""
    if not run.classes:
        return f"{run.threshold:g}"
    return ", ".join(f"{label.name} {label.threshold:g}" for label in run.classes)
