"""`pleura check`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
    progress_bar,
    quiet_option,
    write_json,
)
from pleura.errors import DataWarning

if TYPE_CHECKING:
    from pleura.dataset.checks import CheckReport, Finding
    from pleura.dataset.label_errors import Probability
    from pleura.training.loop import StepReport

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}

_EPILOG = """\
\b
Examples:
  pleura check images/ masks/
  pleura check images/ masks/ --json check.json
  pleura check images/ masks/ --model default --report suspects.html --suspects suspects.txt
  pleura check images/ masks/ --cross-validate 3 --recipe quick --pictures suspects.png

Exit code 1 where an error keeps the data from being trained on.
"""


@click.command("check", epilog=_EPILOG)
@images_argument
@masks_argument
@click.option("--model", help="Also ask a model file, or `default`, about each mask.")
@click.option(
    "--cross-validate",
    "folds",
    type=click.IntRange(3),
    metavar="FOLDS",
    help="Also ask networks trained without the mask, one a fold; as long as as many trainings.",
)
@click.option("--recipe", default="quick", show_default=True, help="Of --cross-validate.")
@click.option("--report", type=PATH, help="Write a page of the masks that look wrong (.html).")
@click.option("--pictures", type=PATH, help="Draw the masks that look wrong into one picture.")
@click.option("--suspects", type=PATH, help="Write their names, one a line, for train --exclude.")
@json_option
@quiet_option
def command(
    images: Path,
    masks: Path,
    model: str | None,
    folds: int | None,
    recipe: str,
    report: Path | None,
    pictures: Path | None,
    suspects: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Tell whether the data is fit to train on: pairs, sizes, values, masks, duplicates, units.

    Masks that look wrong are listed, worst first, each with its reasons.
    """
    from pleura.dataset.checks import check
    from pleura.files.atomic import write_text
    from pleura.files.temporary import temporary_folder

    if model is not None and folds is not None:
        raise click.UsageError("--model and --cross-validate both ask about each mask: take one")
    with temporary_folder() as folder:
        probability = _asked(model, folds, recipe, images, masks, folder, quiet)
        with progress_bar("checking", quiet, "pairs") as progress:
            found = check(images, masks, probability=probability, progress=progress)
    if suspects is not None:
        text = "".join(f"{one.name}\n" for one in found.suspects)
        write_text(suspects, text)
    if pictures is not None:
        _draw(found, pictures)
    if report is not None:
        from pleura.report.check import check_page

        check_page(found, command_line()).write(report)
    write_json(json_file, found.to_dict())
    if str(json_file) != "-":
        _print(found)
    return 0 if found.fit_to_train else 1


def _asked(
    model: str | None,
    folds: int | None,
    recipe: str,
    images: Path,
    masks: Path,
    folder: Path,
    quiet: bool,
) -> Probability | None:
    """Return who is asked about each mask, if anyone."""
    if model is not None:
        from pleura.engine.engine import Engine, model_path

        engine = Engine(model_path(model))
        return lambda _, hu: engine.probability(hu)
    if folds is None:
        return None
    from pleura.training.cross_validation import cross_validate
    from pleura.training.loop import TrainingCallbacks
    from pleura.training.recipe import load_recipe

    loaded = load_recipe(recipe)
    done = 0
    with progress_bar("training", quiet, "steps") as progress:

        def on_step(step: StepReport) -> None:
            nonlocal done
            done += 1
            progress(done, folds * step.epochs * step.steps)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # `check` reports it itself
            return cross_validate(
                images, masks, loaded, folds, folder, TrainingCallbacks(on_step=on_step)
            )


def _draw(report: CheckReport, path: Path) -> None:
    from pleura.dataset.pairs import read_pair
    from pleura.figures.masks import contact_sheet, overlay, save_figure

    drawn, titles = [], []
    for one in report.suspects[:_DRAWN]:
        image, mask = read_pair(one.pair)
        drawn.append(overlay(image, mask))
        titles.append(one.name)
    if drawn:
        save_figure(contact_sheet(drawn, titles), path)
    else:
        echo("no mask looks wrong: nothing is drawn", err=True)


_DRAWN = 40


def _print(report: CheckReport) -> None:
    echo(f"pairs    {report.pairs} ({report.readable} readable)")
    echo(f"sizes    {_counts(report.sizes)}")
    echo(f"dtypes   {_counts(report.dtypes)}")
    if report.values is not None:
        echo(f"values   {report.values[0]:g} to {report.values[1]:g}")
    if report.lung is not None:
        lung = report.lung
        echo(
            f"lung     {lung.median:.1%} of an image (median; {lung.smallest:.1%} to "
            f"{lung.largest:.1%}); {lung.empty} empty masks"
        )
    echo(f"units    {report.units.reason}")
    for finding in report.findings:
        _print_finding(finding)
    verdict = "fit to train on" if report.fit_to_train else "not fit to train on: see the errors"
    echo(verdict, fg="green" if report.fit_to_train else "red", bold=True)


def _print_finding(finding: Finding) -> None:
    names = [path.name for path in finding.files]
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    echo(f"{finding.severity:<8} ", fg=_COLOURS[finding.severity], nl=False)
    echo(f" {finding.message}" + (f"\n          files: {listed}" if names else ""))
    echo(f"          hint: {finding.hint}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} ({n})" for what, n in counts.items()) or "none"
