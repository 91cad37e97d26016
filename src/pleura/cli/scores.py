"""What the commands share that score masks: who is who, and the tables that they print."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Column, Table
from rich.text import Text

from pleura.cli.common import PATH, Command, echo, stdout_console
from pleura.errors import DataError
from pleura.names import printable

if TYPE_CHECKING:
    from pleura.evaluation.compare import Comparison
    from pleura.evaluation.statistics import Spread


def cases_option(command: Command) -> Command:
    """Add the option ``--cases`` to a command."""
    return click.option(
        "--cases",
        type=PATH,
        help="CSV with one row per case: name, patient (for confidence intervals), other columns.",
    )(command)


def by_option(command: Command) -> Command:
    """Add the option ``--by`` to a command."""
    return click.option("--by", metavar="COLUMN", help="Also score the groups of this column.")(
        command
    )


@dataclass(frozen=True)
class CaseTable:
    """What a user's CSV says of the cases, by name with and without suffix."""

    patients: Mapping[str, str] | None = None
    groups: Mapping[str, str] | None = None
    path: Path | None = None

    def warn(self, found: Comparison) -> None:
        """Say which cases the table does not know."""
        known = self.groups if self.patients is None else self.patients
        cases = list(dict.fromkeys(score.case for score in found.scores))
        unknown = [case for case in cases if known is not None and case not in known]
        if unknown:
            named = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
            echo(
                f"warning  {len(unknown)} of {len(cases)} cases are not in {self.path}: {named}; "
                "each counts as a patient of its own",
                fg="yellow",
                err=True,
            )


def read_case_table(path: Path | None, by: str | None) -> CaseTable:
    """Read ``--cases``, and of it the column that ``--by`` names.

    Raises
    ------
    DataError
        The file cannot be read, or lacks a column.
    """
    from pleura.formats.read import scan_name

    if path is None:
        if by is not None:
            raise click.UsageError("--by names a column of a table: add --cases FILE.csv")
        return CaseTable()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError("the table cannot be read", where=path, hint="give a CSV file") from error
    columns = set(rows[0]) if rows else set()
    missing = sorted({"name", *([by] if by else [])} - columns)
    if missing:
        raise DataError(
            f"no column {' and '.join(missing)} (there are {', '.join(sorted(map(str, columns)))})",
            where=path,
            hint="name the columns in the first row, the cases' file names in 'name'",
        )

    def column(key: str) -> dict[str, str]:
        keyed = [(row["name"], row[key] or "") for row in rows]
        return {name: v for n, v in keyed for name in (n, scan_name(Path(n)))}

    return CaseTable(
        column("patient") if "patient" in columns else None, column(by) if by else None, path
    )


def print_scores(found: Comparison, groups: Mapping[str, str] | None = None) -> None:
    """Print a table a region; with ``groups`` of cases, Dice and HD95 of each too."""
    from pleura.evaluation.compare import outcomes_text

    for region in found.regions:
        one = next(s for s in (*found.of(region), *found.scores) if s.region == region)
        told = outcomes_text(found.outcomes(region))
        size = f"{one.unit}{2 if one.flat else 3}"
        units = f"{one.unit}, {one.unit}2, {size}"
        stdout_console().print(f"{region}: {told}; in {units}", highlight=False)
        stdout_console().print(_spread_table("metric", found.spreads(region)))
    if groups is not None:
        parts = found.by_group(groups)
        for metric in ("dice", "hd95"):
            every = {name: part.spreads("lungs").get(metric) for name, part in parts.items()}
            kept = {name: one for name, one in every.items() if one is not None}
            stdout_console().print(_spread_table(f"{metric} of lungs, by group", kept))


def _spread_table(first: str, rows: Mapping[str, Spread]) -> Table:
    from pleura.evaluation.statistics import interval_text

    name_column = Column(first, no_wrap=True)
    table = Table(name_column, "mean", "95 % interval", "SD", "median", "worst", "cases", box=None)
    for name, one in rows.items():
        mean, sd, median, worst = (f"{v:.4g}" for v in (one.mean, one.sd, one.median, one.worst))
        interval = interval_text(one.interval)
        table.add_row(Text(printable(name)), mean, interval, sd, median, worst, str(one.cases))
    return table
