"""`pleura report`."""

from __future__ import annotations

from pathlib import Path

import click

from pleura.cli.common import PATH, echo

_EPILOG = """\
\b
Examples:
  pleura report out/
  pleura report out/ -o cohort.html
"""


@click.command("report", epilog=_EPILOG)
@click.argument("folder", type=PATH)
@click.option("--output", "-o", type=PATH, help="Page to write; FOLDER/report.html if unset.")
def command(folder: Path, output: Path | None) -> None:
    """Draw the page of what `pleura segment` left in a FOLDER, by one job or by many shards."""
    from pleura.cohort.tables import read_summaries
    from pleura.report.cohort import cohort_page

    rows = read_summaries(folder)
    target = output or folder / "report.html"
    cohort_page(rows, folder).write(target)
    failed = sum(row.status == "failed" for row in rows)
    echo(f"{len(rows)} scans, {failed} failed: {target}")
