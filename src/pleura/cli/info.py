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

    found = find_scans(path)
    rows = []
    with progress_bar("reading", quiet) as progress:
        for i, one in enumerate(found):
            rows.append(_describe(one))
            progress(i + 1, len(found))
    write_json(json_file, {"path": path.name, "scans": rows})
    if str(json_file) != "-":
        for row in rows:
            _print(row)
        readable = sum(row["error"] is None for row in rows)
        echo(f"{readable} of {len(rows)} scans can be read")
    return 0 if all(row["error"] is None for row in rows) else 1


def _describe(found: ScanEntry) -> dict[str, Any]:
    """Return what a scan is, or why it cannot be read; one bad file does not stop the rest."""
    from pleura.errors import PleuraError, first_line

    row: dict[str, Any] = {
        "name": found.name,
        "description": found.description,
        "chosen": found.chosen,
    }
    try:
        if found.error is not None or found.load is None:
            return {**row, "error": str(found.error)}
        return {**row, **_facts(found.load("auto"))}
    except PleuraError as error:
        return {**row, "error": str(error)}
    # The boundary of a file: whatever a damaged one raises is its row.
    except Exception as error:  # noqa: BLE001
        return {**row, "error": f"unexpected {type(error).__name__}: {first_line(error)}"}


def _facts(scan: Scan) -> dict[str, Any]:
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
    aside = "" if row["chosen"] else "  (not chosen: a better series of the same study is there)"
    echo(f"  {row['format']}; {row['grid']}; {row['units']}{aside}")
    for decision in row["decisions"]:
        text = f"{decision['topic']}: {decision['choice']} ({decision['reason']})"
        echo(
            f"  {'warning  ' if decision['warning'] else ''}{text}",
            fg="yellow" if decision["warning"] else None,
        )
