"""`pleura check`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    images_argument,
    json_option,
    masks_argument,
    progress_bar,
    quiet_option,
    write_json_option,
)

if TYPE_CHECKING:
    from pleura.dataset.checks import CheckReport, Finding

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}

_EPILOG = """\
\b
Examples:
  pleura check images/ masks/
  pleura check images/ masks/ --json check.json
  pleura check images/ masks/ --model default --pictures suspects.png --suspects suspects.txt

Exit code 1 where an error keeps the data from being trained on.
"""


@click.command("check", epilog=_EPILOG)
@images_argument
@masks_argument
@click.option("--model", help="Also ask a model file, or `default`, about each mask.")
@click.option("--pictures", type=PATH, help="Draw the masks that look wrong into one picture.")
@click.option("--suspects", type=PATH, help="Write their names, one a line, for train --exclude.")
@json_option
@quiet_option
def command(
    images: Path,
    masks: Path,
    model: str | None,
    pictures: Path | None,
    suspects: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """Tell whether the data is fit to train on: pairs, sizes, values, masks, duplicates, units.

    Masks that look wrong are listed, worst first, each with its reasons.
    """
    from pleura.dataset.checks import check
    from pleura.scan.pictures import write_atomically

    probability = None
    if model is not None:
        from pleura.engine.engine import Engine, model_path

        probability = Engine(model_path(model)).probability
    with progress_bar("checking", quiet, "pairs") as progress:
        report = check(images, masks, probability=probability, progress=progress)
    if suspects is not None:
        text = "".join(f"{one.name}\n" for one in report.suspects)
        write_atomically(suspects, lambda file: file.write(text.encode()))
    if pictures is not None:
        _draw(report, pictures)
    write_json_option(json_file, report.to_dict())
    if str(json_file) != "-":
        _print(report)
    return 0 if report.fit_to_train else 1


def _draw(report: CheckReport, path: Path) -> None:
    from pleura.dataset.pairs import Pair, read_pair
    from pleura.figures.masks import contact_sheet, overlay, save_figure

    drawn, titles = [], []
    for one in report.suspects[:_DRAWN]:
        index = int(one.name.rpartition("#")[2]) if "#" in one.name else None
        image, mask = read_pair(Pair(one.name, one.image, one.mask, index))
        drawn.append(overlay(image, mask))
        titles.append(one.name)
    if drawn:
        save_figure(contact_sheet(drawn, titles), path)
    else:
        click.echo("no mask looks wrong: nothing is drawn", err=True)


_DRAWN = 40


def _print(report: CheckReport) -> None:
    click.echo(f"pairs    {report.pairs} ({report.readable} readable)")
    click.echo(f"sizes    {_counts(report.sizes)}")
    click.echo(f"dtypes   {_counts(report.dtypes)}")
    if report.values is not None:
        click.echo(f"values   {report.values[0]:g} to {report.values[1]:g}")
    if report.lung is not None:
        lung = report.lung
        click.echo(
            f"lung     {lung.median:.1%} of an image (median; {lung.smallest:.1%} to "
            f"{lung.largest:.1%}); {lung.empty} empty masks"
        )
    click.echo(f"units    {report.units.reason}")
    for finding in report.findings:
        _print_finding(finding)
    verdict = "fit to train on" if report.fit_to_train else "not fit to train on: see the errors"
    click.secho(verdict, fg="green" if report.fit_to_train else "red", bold=True)


def _print_finding(finding: Finding) -> None:
    names = [path.name for path in finding.files]
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    label = click.style(f"{finding.severity:<8} ", fg=_COLOURS[finding.severity])
    click.echo(f"{label} {finding.what}" + (f"\n          files: {listed}" if names else ""))
    click.echo(f"          to do: {finding.fix}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} ({n})" for what, n in counts.items()) or "none"
