"""`pleura check`."""

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
    progress_bars,
    quiet_option,
    roi_option,
    write_json,
)
from pleura.cli.types import WholeNumber
from pleura.names import counted

if TYPE_CHECKING:
    from pleura.dataset.check_report import CheckReport, Finding
    from pleura.masks.selection import RoiSelection

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}

_EPILOG = """\
\b
Examples:
  pleura check images/ masks/
  pleura check images/ masks/ --json check.json
  pleura check images/ masks/ --recipe lesions.yaml   # masks with several labels
  pleura check images/ masks/ --roi Lung_R=1,Lung_L=2
  pleura check images/ masks/ --model default --report check.html --label-errors exclude.txt
  pleura check images/ masks/ --cross-validate 3 --recipe quick --figure label-errors.png

The exit code is 1 if an error prevents training on the data.
"""


@click.command("check", epilog=_EPILOG)
@images_argument
@masks_argument
@click.option("--model", help="Compare the masks with a model: a model file, or `default`.")
@click.option(
    "--cross-validate",
    "folds",
    type=WholeNumber(3),
    metavar="FOLDS",
    help="Compare each mask with a network not trained on it; trains one network per fold.",
)
@click.option(
    "--recipe",
    "-r",
    default="quick",
    show_default=True,
    help="Recipe of --cross-validate, and of the labels of masks with several classes.",
)
@click.option("--report", type=PATH, help="Write a report of suspected label errors (.html).")
@click.option(
    "--figure", "figure_file", type=PATH, help="Write a figure of the masks with suspected errors."
)
@click.option(
    "--label-errors",
    type=PATH,
    help="Write the names of suspected label errors, one per line, for train --exclude.",
)
@roi_option
@json_option
@quiet_option
def command(
    images: Path,
    masks: Path,
    model: str | None,
    folds: int | None,
    recipe: str,
    report: Path | None,
    figure_file: Path | None,
    label_errors: Path | None,
    roi: RoiSelection | None,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Check images and masks before training.

    The check covers names, sizes, values, intensity units, duplicates and label errors. Masks with
    suspected label errors are listed with reasons, highest score first. Needs
    `pip install "pleura[check]"`.
    """
    from pleura.training.check import CheckOptions, check

    if model is not None and folds is not None:
        raise click.UsageError("--model and --cross-validate exclude each other")
    options = CheckOptions(model, folds, recipe, roi)
    with progress_bars({"training": "steps", "checking": "pairs"}, quiet) as progress:
        checked = check(
            images,
            masks,
            options,
            progress=progress["checking"],
            training_progress=progress["training"],
        )
    if label_errors is not None:
        checked.write_label_errors(label_errors)
    if figure_file is not None:
        _write_figure(checked, figure_file)
    if report is not None:
        from pleura.report.check import write_check_report

        write_check_report(report, checked, command=command_line())
    write_json(json_file, checked.to_dict())
    if str(json_file) != "-":
        _print(checked)
    return 0 if checked.fit_to_train else 1


def _write_figure(report: CheckReport, path: Path) -> None:
    from pleura.figures.plots import save_figure
    from pleura.report.check import label_error_figure

    figure = label_error_figure(report)
    if figure is None:
        echo(f"no suspected label errors: {path} is not written", err=True)
    else:
        save_figure(figure, path)


def _print(report: CheckReport) -> None:
    from pleura.dataset.check_report import describe_model_input, format_counts

    echo(f"pairs    {report.pairs} ({report.readable} readable)")
    echo(f"sizes    {format_counts(report.sizes)}")
    echo(f"dtypes   {format_counts(report.dtypes)}")
    if report.values is not None:
        echo(f"values   {report.values[0]:g} to {report.values[1]:g}")
        echo(f"units    {report.units.reason}")
        echo(f"model    {describe_model_input(report.units)}")
    for label in report.labels:
        echo(f"label    {label}")
    if report.lung_fraction is not None and not report.labels:
        lung = report.lung_fraction
        echo(
            f"lung     {lung.median:.1%} of an image (median; {lung.minimum:.1%} to "
            f"{lung.maximum:.1%}); {counted(lung.empty, 'empty mask')}"
        )
    for finding in report.findings:
        _print_finding(finding)
    if report.fit_to_train:
        echo("fit to train on", fg="green", bold=True)
    else:
        echo("not fit to train on: correct the errors", fg="red", bold=True)


def _print_finding(finding: Finding) -> None:
    from pleura.names import shorten_list

    echo(f"{finding.severity:<8} ", fg=_COLOURS[finding.severity], nl=False)
    files = shorten_list([path.name for path in finding.files])
    echo(f" {finding.message}" + (f"\n          files: {files}" if files else ""))
    echo(f"          hint: {finding.hint}")
