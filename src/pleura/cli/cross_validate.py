"""`pleura cross-validate`."""

from __future__ import annotations

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
    roi_option,
    roi_overrides,
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
from pleura.cli.scores import print_scores
from pleura.names import counted
from pleura.training.progress_bar import new_progress_bar

if TYPE_CHECKING:
    from pleura.masks.selection import RoiSelection
    from pleura.training.cross_validation import CrossValidation
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
@folds_options
@recipe_options
@click.option("--report", type=PATH, help="Also write an HTML report to this file.")
@roi_option
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
    roi: RoiSelection | None,
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

    require_one_process("folds")
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
            recipe_of(
                recipe,
                initial_weights,
                [*overrides, *patient_overrides(group), *roi_overrides(roi)],
            ),
            CrossValidationOptions(folds, not quiet, initial_weights),
            callbacks=announce_runs(lambda run: f"{run.folder.name} of {folds}", quiet),
            evaluation_callbacks=EvaluationCallbacks(on_progress, on_case),
        )
    finally:
        bar.stop()
    if report is not None and result.evaluation is not None:
        from pleura.report.evaluation import evaluation_page

        evaluation_page(result.evaluation, pictures, command=command_line()).write(report)
    write_json(json_file, result.to_dict())
    return _print(result, silent=quiet or str(json_file) == "-")


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
