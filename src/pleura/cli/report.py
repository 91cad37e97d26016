"""`pleura report`."""

from __future__ import annotations

from pathlib import Path

import click

from pleura.cli.common import PATH, echo
from pleura.names import counted

_EPILOG = """\
\b
Examples:
  pleura report out/
  pleura report out/ -o cohort.html
  pleura report out/ --methods              text for the methods section of a publication
"""


@click.command("report", epilog=_EPILOG)
@click.argument("folder", type=PATH)
@click.option("--output", "-o", type=PATH, help="HTML file.  [default: FOLDER/report.html]")
@click.option(
    "--methods",
    is_flag=True,
    help="Print a description of the methods for a publication instead of writing the report.",
)
def command(folder: Path, output: Path | None, methods: bool) -> None:
    """Write the HTML report of a FOLDER that `pleura segment` wrote, by one job or many shards."""
    if methods:
        from pleura.report.methods import methods_paragraph

        if output is not None:
            raise click.UsageError("--methods prints text: omit --output")
        echo(methods_paragraph(folder))
        return
    from pleura.cohort.tables import read_summaries
    from pleura.report.cohort import write_cohort_report

    path = output or folder / "report.html"
    write_cohort_report(path, folder)
    results = read_summaries(folder)
    failed = sum(result.status == "failed" for result in results)
    echo(f"{counted(len(results), 'scan')}, {failed} failed: {path}")
