"""`pleura info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pleura.cli.common import PATH, echo, json_option, progress_bar, quiet_option, write_json

if TYPE_CHECKING:
    from pleura.formats.find import ScanEntry
    from pleura.scan.scan import Scan

_EPILOG = """\
\b
Examples:
  pleura info chest.nii.gz
  pleura info dicom_folder/
  pleura info cohort/ --json cohort.json

Exit code 1 where something that looks like a scan cannot be read.
"""


@click.command("info", epilog=_EPILOG)
@click.argument("path", type=PATH)
@json_option
@quiet_option
def command(path: Path, json_file: Path | None, quiet: bool) -> int:
    """List the scans in a file or folder with series, grid, units and warnings."""
    from pleura.formats.find import find_scans

    scans = find_scans(path)
    rows = []
    with progress_bar("reading", quiet) as progress:
        for i, scan in enumerate(scans):
            rows.append(_describe(scan))
            progress(i + 1, len(scans))
    write_json(json_file, {"path": path.name, "scans": rows})
    if str(json_file) != "-":
        for row in rows:
            _print(row)
        readable = sum(row["error"] is None for row in rows)
        echo(f"{readable} of {len(rows)} scans can be read")
    return 0 if all(row["error"] is None for row in rows) else 1


def _describe(entry: ScanEntry) -> dict[str, Any]:
    """Return the properties of a scan, or the error of reading it."""
    from pleura.errors import PleuraError, first_line

    row: dict[str, Any] = {
        "name": entry.name,
        "description": entry.description,
        "chosen": entry.chosen,
    }
    try:
        if entry.error is not None or entry.load is None:
            return {**row, "error": str(entry.error)}
        return {**row, **_properties(entry.load("auto"))}
    except PleuraError as error:
        return {**row, "error": str(error)}
    # A damaged file may raise any error, which must not hide the other scans.
    except Exception as error:  # noqa: BLE001
        return {**row, "error": f"unexpected {type(error).__name__}: {first_line(error)}"}


def _properties(scan: Scan) -> dict[str, Any]:
    geometry = scan.geometry
    return {
        "error": None,
        "format": scan.format,
        "shape": geometry.shape,
        "spacing_mm": geometry.spacing if geometry.spacing_known else None,
        "orientation": geometry.orientation if geometry.orientation_known else None,
        "grid": str(geometry),
        "units": str(scan.intensity),
        "decisions": [
            {"topic": d.topic, "choice": d.choice, "reason": d.reason, "warning": d.warning}
            for d in scan.decisions
        ],
    }


def _print(row: dict[str, Any]) -> None:
    echo(row["name"], bold=True, nl=False)
    if row["error"] is not None:
        echo(f"  {row['description']}", nl=True)
        echo("  " + row["error"].replace("\n", "\n  "), fg="red")
        return
    note = "" if row["chosen"] else "  (not chosen: the study has a better series)"
    echo(f"  {row['format']}; {row['grid']}; {row['units']}{note}")
    for decision in row["decisions"]:
        text = f"{decision['topic']}: {decision['choice']} ({decision['reason']})"
        echo(
            f"  {'warning  ' if decision['warning'] else ''}{text}",
            fg="yellow" if decision["warning"] else None,
        )
