"""`pleura sample`."""

from __future__ import annotations

from pathlib import Path

import click

from pleura.cli.common import PATH, echo

_EPILOG = """\
\b
Examples:
  pleura sample sample/
  pleura segment sample/ct.nii.gz -o lungs.nii.gz --preview
  pleura compare lungs.nii.gz sample/lungs.nii.gz
"""


@click.command("sample", epilog=_EPILOG)
@click.argument("folder", type=PATH)
def command(folder: Path) -> None:
    """Write a small chest CT and its reference mask to FOLDER, to try pleura with."""
    from pleura.files.sample import copy_sample

    for path in copy_sample(folder):
        echo(str(path))
