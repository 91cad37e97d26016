"""`pleura evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

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
    from pleura.evaluation.evaluate import Evaluation

_EPILOG = """\
\b
Examples:
  pleura evaluate runs/first images/ masks/
  pleura evaluate runs/first images/ masks/ --part validation --json validation.json
  pleura evaluate runs/first other/images other/masks --part all -o other/evaluation
"""


@click.command("evaluate", epilog=_EPILOG)
@click.argument("run", type=PATH)
@images_argument
@masks_argument
@click.option(
    "--part",
    type=click.Choice(["test", "validation", "train", "all"]),
    default="test",
    show_default=True,
    help="Part of the run's own split; `all` takes every pair.",
)
@click.option("--output", "-o", type=PATH, help="Folder to write to; RUN/evaluation-PART if unset.")
@json_option
@quiet_option
def command(
    run: Path,
    images: Path,
    masks: Path,
    part: str,
    output: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Judge a RUN on the test images of its split: loss, accuracy, IoU and Dice.

    IoU and Dice are means over images, on the network's grid and on each image's own.
    """
    from pleura.evaluation.evaluate import evaluate
    from pleura.training.run import open_run

    opened = open_run(run)
    with progress_bar("evaluating", quiet) as progress:
        found = evaluate(
            opened,
            images,
            masks,
            part=part,  # type: ignore[arg-type]
            output=output,
            progress=progress,
        )
    write_json_option(json_file, found.to_dict())
    if str(json_file) != "-":
        Console(highlight=False).print(_table(found))
        click.echo(f"cases and pictures in {output or run / f'evaluation-{part}'}")


def _table(found: Evaluation) -> Table:
    table = Table(
        title=f"{len(found.cases)} images ({found.part}): loss {found.loss:.4f}, "
        f"accuracy {found.accuracy:.4f}",
        title_justify="left",
    )
    for column in ("grid", "threshold", "mean IoU", "median", "worst", "mean Dice", "both empty"):
        table.add_column(column, justify="left" if column == "grid" else "right")
    for grid in found.grids:
        for threshold in found.thresholds:
            overlap = found.summary(grid, threshold)
            dice = found.summary(grid, threshold, "dice")
            table.add_row(
                grid,
                f"{threshold:g}" + ("*" if threshold == found.threshold else ""),
                *(f"{v:.4f}" for v in (overlap.mean, overlap.median, overlap.worst, dice.mean)),
                str(overlap.undefined),
            )
    table.caption = "* the run's own threshold"
    table.caption_justify = "left"
    return table
