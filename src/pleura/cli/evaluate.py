"""`pleura evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from rich.table import Table

from pleura.cli.common import (
    PATH,
    command_line,
    echo,
    images_argument,
    json_option,
    masks_argument,
    progress_bar,
    quiet_option,
    roi_option,
    stdout_console,
    units_option,
    write_json,
)
from pleura.cli.scores import by_option, case_table, cases_option, print_scores
from pleura.cli.types import Number, choice
from pleura.names import counted

if TYPE_CHECKING:
    from pleura.evaluation.cases import Subset
    from pleura.intensity.mapping import IntensityMapping, UnitsOption
    from pleura.masks.selection import RoiSelection
    from pleura.training.run_evaluation import RunEvaluation

_EPILOG = """\
\b
Examples:
  pleura evaluate runs/first images/ masks/
  pleura evaluate runs/first images/ masks/ --subset validation --report report.html
  pleura evaluate runs/first other/images other/masks --subset all -o other/evaluation
  pleura evaluate default scans/ masks/ --report report.html
  pleura evaluate mine.onnx scans/ masks/ --cases cases.csv --by scanner
"""


@click.command("evaluate", epilog=_EPILOG)
@click.argument("model", type=PATH, metavar="MODEL_OR_RUN")
@images_argument
@masks_argument
@click.option(
    "--subset",
    type=choice(["test", "validation", "training", "all"]),
    default="test",
    show_default=True,
    help="Subset of the split of a run to evaluate; `all` is every pair.",
)
@click.option(
    "--output",
    "-o",
    "folder",
    type=PATH,
    help="Folder to write the evaluation of a run to.  [default: RUN/evaluation-SUBSET]",
)
@click.option("--report", type=PATH, help="Also write an HTML report to this file.")
@cases_option
@by_option
@roi_option
@units_option
@click.option(
    "--scale-factor",
    type=Number(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Factor by which HU were multiplied to get the stored values, for a model.",
)
@json_option
@quiet_option
def command(
    model: Path,
    images: Path,
    masks: Path,
    subset: Subset,
    folder: Path | None,
    report: Path | None,
    cases: Path | None,
    by: str | None,
    roi: RoiSelection | None,
    units: UnitsOption,
    window: tuple[float, float] | None,
    scale_factor: float,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Evaluate a MODEL file, `default` or a RUN on IMAGES with reference MASKS.

    A run is evaluated on a subset of its own split: loss, accuracy, IoU and Dice on the grid of the
    network and on the grid of each image. A model is evaluated with the whole segmentation, from
    intensity units to postprocessing. Both evaluations include surface distances, confidence
    intervals over patients, thresholds and calibration.
    """
    from pleura.evaluation.model import calibration_text
    from pleura.intensity.window import units_or_window
    from pleura.report.evaluation import EvaluationOptions, evaluate_and_report
    from pleura.training.run_files import is_run

    evaluates_run = is_run(model)
    if evaluates_run and (units, window, scale_factor) != ("auto", None, 1.0):
        raise click.UsageError(
            "--units, --window and --scale-factor are for models: omit them for a run"
        )
    if not evaluates_run and (folder is not None or subset != "test"):
        raise click.UsageError("--subset and --output are for runs: pass --report for a model")
    table = case_table(cases, by)
    options = EvaluationOptions(
        table,
        subset,
        folder,
        units_or_window(units, window) if scale_factor == 1 else _scaled(scale_factor),
        roi,
        report,
        command_line(),
    )
    with progress_bar("evaluating", quiet, "cases") as progress:
        evaluation = evaluate_and_report(model, images, masks, options, progress)
    write_json(json_file, evaluation.to_dict())
    if str(json_file) == "-":
        return
    if evaluates_run:
        stdout_console().print(_grid_table(cast("RunEvaluation", evaluation)), highlight=False)
        written = folder or model / f"evaluation-{subset}"
        echo(f"cases and figures in {written}")
    print_scores(evaluation)
    echo(calibration_text(evaluation.calibration))


def _scaled(factor: float) -> IntensityMapping:
    from pleura.intensity.mapping import IntensityMapping

    return IntensityMapping(factor, 0, f"{factor:g} * HU")


def _grid_table(evaluation: RunEvaluation) -> Table:
    from pleura.training.run_evaluation import GRID_COLUMNS

    table = Table(
        title=f"{counted(len(evaluation.cases), 'image')} ({evaluation.subset}): "
        f"loss {evaluation.loss:.4f}, accuracy {evaluation.accuracy:.4f}",
        title_justify="left",
        caption="* the threshold of the run"
        + (", and of each class" if evaluation.class_thresholds else ""),
        caption_justify="left",
    )
    for column in GRID_COLUMNS:
        table.add_column(column, justify="left" if column == "grid" else "right")
    for row in evaluation.grid_rows():
        table.add_row(*row)
    return table
