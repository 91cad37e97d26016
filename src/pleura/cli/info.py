"""`pleura info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import (
    PATH,
    echo,
    json_option,
    progress_bar,
    quiet_option,
    units_option,
    write_json,
)
from pleura.names import counted

if TYPE_CHECKING:
    from pleura.formats.describe import ScanDescription
    from pleura.intensity.mapping import UnitsOption

_EPILOG = """\
\b
Examples:
  pleura info chest.nii.gz
  pleura info dicom_folder/
  pleura info cohort/ --json cohort.json

The exit code is 1 if a scan cannot be read.
"""


@click.command("info", epilog=_EPILOG)
@click.argument("path", type=PATH)
@units_option
@json_option
@quiet_option
def command(
    path: Path,
    units: UnitsOption,
    window: tuple[float, float] | None,
    json_file: Path | None,
    quiet: bool,
) -> int:
    """List the scans in a file or folder with series, grid, units and warnings."""
    from pleura.formats.describe import describe_scans
    from pleura.formats.read import read
    from pleura.intensity.window import units_or_window

    with progress_bar("reading", quiet) as progress:
        chosen_units = units_or_window(units, window)
        scans = describe_scans(path, units=chosen_units, progress=progress)
    if not scans:
        read(path)  # raises the reason
    write_json(json_file, {"path": path.name, "scans": [scan.to_dict() for scan in scans]})
    readable = sum(scan.error is None for scan in scans)
    if str(json_file) != "-":
        for scan in scans:
            _print(scan)
        echo(f"{readable} of {counted(len(scans), 'scan')} can be read")
    return 0 if readable == len(scans) else 1


def _print(scan: ScanDescription) -> None:
    echo(scan.name, bold=True, nl=False)
    if scan.error is not None:
        echo(f"  {scan.description}", nl=True)
        echo("  " + scan.error.replace("\n", "\n  "), fg="red")
        return
    note = "" if scan.chosen else "  (not chosen: the study has a better series)"
    echo(f"  {scan.format}; {scan.grid}; {scan.units}{note}")
    for decision in scan.decisions:
        if decision.warning:
            echo(f"  warning  {decision}", fg="yellow")
        else:
            echo(f"  {decision}")
