"""What several commands share: arguments, JSON output, progress bars."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pleura.errors import DataError
from pleura.scan.pictures import write_atomically

if TYPE_CHECKING:
    from pleura.evaluation.compare import Comparison
    from pleura.evaluation.statistics import Spread
    from pleura.training.recipe import Recipe

PATH = click.Path(path_type=Path)

console, output = Console(stderr=True), Console()

images_argument = click.argument("images", type=PATH)
masks_argument = click.argument("masks", type=PATH)
optional_masks_argument = click.argument("masks", type=PATH, required=False)
json_option = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the result as JSON too; - for standard output.",
)
units_option = click.option(
    "--units",
    type=click.Choice(["auto", "hu", "offset", "grey", "inverted"]),
    default="auto",
    show_default=True,
    help="What the values are: HU, HU plus 1024, or grey with air dark or bright.",
)
cases_option = click.option(
    "--cases",
    type=PATH,
    help="CSV with a row a case: name, patient (intervals are over patients), anything else.",
)
by_option = click.option("--by", metavar="COLUMN", help="Also score the groups of this column.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print no progress.")


def write_json_option(target: Path | None, content: dict[str, Any]) -> None:
    """Write a command's result where `--json` says."""
    if target is None:
        return
    text = json.dumps(content, indent=2) + "\n"  # ASCII: any terminal and pipe takes it
    if str(target) == "-":
        sys.stdout.write(text)
    elif target.exists() and not target.is_file():
        target.write_text(text)  # a pipe or device, which must not be replaced by a file
    else:
        write_atomically(target, lambda file: file.write(text.encode()))


class _Speed(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g} {self.unit}/s")


@contextmanager
def progress_bar(label: str, quiet: bool, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error; yields a function of (done, total)."""
    bar = new_progress(quiet, *([_Speed(unit)] if unit else []))
    with bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def new_progress(quiet: bool, *extra: ProgressColumn) -> Progress:
    """Return a bar with count, extra columns, time taken and time left; only on a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *extra,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )


def need_masks(masks: Path | None, recipe: Recipe) -> None:
    """Hold a command to MASKS unless the recipe names its own data below IMAGES."""
    if masks is None and not recipe.data:
        raise click.UsageError("MASKS is missing: the recipe names no data of its own")


@dataclass(frozen=True)
class CaseTable:
    """What a user's CSV says of the cases, by name with and without suffix."""

    patients: Mapping[str, str] | None = None
    groups: Mapping[str, str] | None = None


def read_case_table(path: Path | None, by: str | None) -> CaseTable:
    """Read ``--cases``, and of it the column that ``--by`` names.

    Raises
    ------
    DataError
        The file cannot be read, or lacks a column.
    """
    from pleura.scan.io import scan_name

    if path is None:
        if by is not None:
            raise click.UsageError("--by names a column of a table: add --cases FILE.csv")
        return CaseTable()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("the table cannot be read", where=path, fix="give a CSV file") from error
    columns = set(rows[0]) if rows else set()
    missing = sorted({"name", *([by] if by else [])} - columns)
    if missing:
        raise DataError(
            f"no column {' and '.join(missing)} (there are {', '.join(sorted(map(str, columns)))})",
            where=path,
            fix="name the columns in the first row, the cases' file names in 'name'",
        )

    def column(key: str) -> dict[str, str]:
        keyed = [(row["name"], row[key] or "") for row in rows]
        return {name: v for n, v in keyed for name in (n, scan_name(Path(n)))}

    return CaseTable(
        column("patient") if "patient" in columns else None, column(by) if by else None
    )


def print_scores(found: Comparison, groups: Mapping[str, str] | None = None) -> None:
    """Print a table a region; with ``groups`` of cases, Dice and HD95 of each too."""
    from pleura.evaluation.compare import outcomes_text

    for region in found.regions:
        unit = next(s.unit for s in found.scores if s.region == region)
        told = outcomes_text(found.outcomes(region))
        output.print(f"{region}: {told}; lengths in {unit}", highlight=False)
        output.print(_spread_table("metric", found.spreads(region)))
    if groups is not None:
        parts = found.by_group(groups)
        for metric in ("dice", "hd95"):
            every = {name: part.spreads("lungs").get(metric) for name, part in parts.items()}
            kept = {name: one for name, one in every.items() if one is not None}
            output.print(_spread_table(f"{metric} of lungs, by group", kept))


def _spread_table(first: str, rows: Mapping[str, Spread]) -> Table:
    from pleura.evaluation.statistics import interval_text

    table = Table(first, "mean", "95 % interval", "SD", "median", "worst", "cases", box=None)
    for name, one in rows.items():
        mean, sd, median, worst = (f"{v:.4g}" for v in (one.mean, one.sd, one.median, one.worst))
        interval = interval_text(one.interval)
        table.add_row(name, mean, interval, sd, median, worst, str(one.cases))
    return table


def command_line() -> str:
    """Return the command as it was given, with file names alone: pages are passed on."""
    words = [Path(word).name if "/" in word or "\\" in word else word for word in sys.argv[1:]]
    return shlex.join(["pleura", *words])
