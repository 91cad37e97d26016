"""Options and tables of the commands that score masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.cells import cell_len, set_cell_size

from pleura.cli.common import PATH, Command, echo
from pleura.names import printable

if TYPE_CHECKING:
    from pleura.evaluation.cases import CaseTable
    from pleura.evaluation.comparison import Comparison


def cases_option(command: Command) -> Command:
    """Add the option ``--cases`` to a command."""
    return click.option(
        "--cases",
        type=PATH,
        help="CSV with one row per case: name, patient (for confidence intervals), other columns.",
    )(command)


def by_option(command: Command) -> Command:
    """Add the option ``--by`` to a command."""
    return click.option(
        "--by", metavar="COLUMN", help="Column of --cases; also print the scores of each group."
    )(command)


def case_table(path: Path | None, by: str | None) -> CaseTable:
    """Return the table of `--cases`, grouped by the column of `--by`."""
    from pleura.evaluation.cases import CaseTable, read_case_table

    if path is not None:
        return read_case_table(path, by)
    if by is not None:
        raise click.UsageError("--by is a column of a table: add --cases FILE.csv")
    return CaseTable()


_SHOWN = (
    "dice",
    "iou",
    "surface_dice_2",
    "hd95",
    "assd",
    "volume_difference",
    "largest_missed_area",
)
"""Metrics that are printed; JSON and CSV have all."""


def print_scores(comparison: Comparison) -> None:
    """Print the most important metrics with their units, by region and by group of cases."""
    from pleura.evaluation.comparison import SUMMARY_COLUMNS

    if len(comparison.cases) == 1:
        _print_case(comparison)
    else:
        for region in comparison.regions:
            _print_region(comparison, region)
    groups = comparison.by_group()
    for region in (comparison.main_region, *_classes(comparison)) if groups else ():
        prefix = f"{region}: " if _classes(comparison) else ""
        for metric in ("dice", "hd95"):
            rows = [
                [f"{name} ({len(part.defined(region))})", *part.summary_row(region, metric)[1:]]
                for name, part in groups.items()
                if part.defined(region)
            ]
            title = f"{prefix}{comparison.metric_label(metric)}, by group"
            if rows:
                print_table([title, *SUMMARY_COLUMNS[1:]], rows)
    if len({score.unit for score in comparison.scores}) > 1:
        echo("the spacing of some cases is unknown: their lengths and areas are in pixels")
    echo("all metrics: --json FILE")


def _classes(comparison: Comparison) -> list[str]:
    """Return the names of several classes; empty for lungs."""
    lungs = {"lungs", "right", "left"}
    return [] if comparison.main_region in lungs else comparison.regions[1:]


def _print_case(comparison: Comparison) -> None:
    """Print the metrics of one case, one column per region."""
    from pleura.evaluation.comparison import outcomes_text

    (case,) = comparison.cases
    text = outcomes_text(comparison.outcome_counts(), comparison.main_region)
    echo(f"case {case}: {text.removeprefix('1 ')}")
    regions = [region for region in comparison.regions if comparison.defined(region)]
    if not regions:
        return
    rows = []
    for metric in _metrics(comparison, comparison.main_region):
        unit = comparison.display_unit(metric)
        values = (comparison.defined(region)[0].metrics[metric] for region in regions)
        rows.append([comparison.metric_label(metric), *map(unit.format, values)])
    print_table(["metric", *regions], rows)


def _print_region(comparison: Comparison, region: str) -> None:
    """Print the statistics of the metrics of a region over the cases."""
    from pleura.evaluation.comparison import SUMMARY_COLUMNS, outcomes_text

    echo(f"{region}: {outcomes_text(comparison.outcome_counts(region), region)}")
    if comparison.defined(region):
        rows = [comparison.summary_row(region, m) for m in _metrics(comparison, region)]
        print_table(list(SUMMARY_COLUMNS), rows)


def _metrics(comparison: Comparison, region: str) -> list[str]:
    first = comparison.defined(region)[0]
    return [metric for metric in _SHOWN if metric in first.metrics]


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table without wrapping lines; the first column is on the left."""
    table = [header, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        first, *others = (set_cell_size(c, w) for c, w in zip(row, widths, strict=True))
        aligned = [cell.rstrip().rjust(len(cell)) for cell in others]
        echo("  ".join([first, *aligned]).rstrip())
