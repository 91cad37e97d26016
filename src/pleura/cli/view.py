"""`pleura view`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import PATH, echo, roi_option, units_option
from pleura.cli.types import WholeNumber
from pleura.names import counted

if TYPE_CHECKING:
    from pleura.intensity.mapping import UnitsOption
    from pleura.masks.selection import RoiSelection

_EPILOG = """\
\b
Examples:
  pleura view out/                        results of `pleura segment`, most flags first
  pleura view out/ --scans cohort/        the same, if the scans were moved
  pleura view out/ --select volumes/a     the same, with this scan first
  pleura view runs/first                  the progress of a training
  pleura view chest.nii.gz lungs.nii.gz
  pleura view chest.nii.gz lungs.nii.gz --reference expert.nii.gz
  pleura view --open                      an empty page: drop a scan on it to segment it

Needs `pip install "pleura[view]"`. Ctrl-C stops the server. Corrected masks are new files, named
.corrected.
"""


@click.command("view", epilog=_EPILOG)
@click.argument("path", type=PATH, required=False)
@click.argument("mask", type=PATH, required=False)
@click.option("--open", "empty", is_flag=True, help="Open an empty page, to drop scans on.")
@click.option(
    "--model",
    type=PATH,
    help="Model that segments scans dropped on the page.  [default: the default model]",
)
@click.option("--reference", type=PATH, help="Reference mask of the scan, to compare MASK with.")
@click.option("--scans", type=PATH, help="Folder or manifest that was segmented, if it was moved.")
@click.option(
    "--select",
    "selected",
    metavar="NAME",
    default="",
    help="Scan of a folder of results to open first.  [default: the one with most flags]",
)
@roi_option
@units_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve at; 0.0.0.0 or :: serves at all addresses.",
)
@click.option("--port", type=WholeNumber(0, 65535), default=0, help="Port.  [default: a free port]")
@click.option("--no-browser", is_flag=True, help="Print the address without opening a browser.")
def command(
    path: Path | None,
    mask: Path | None,
    empty: bool,
    model: Path | None,
    reference: Path | None,
    scans: Path | None,
    selected: str,
    roi: RoiSelection | None,
    units: UnitsOption,
    window: tuple[float, float] | None,
    host: str,
    port: int,
    no_browser: bool,
) -> None:
    """Review scans and their masks in the browser, and correct the masks.

    PATH is a scan, a folder of results of `pleura segment`, or the run folder of a training. The
    page shows the progress of a running cohort or training.

    A scan that is dropped on the page is segmented. By default the page is served to this machine
    only, and it loads nothing from the network.
    """
    if (path is None) != empty:
        raise click.UsageError("pass a scan, a folder of results, or --open")
    from pleura.intensity.window import units_or_window
    from pleura.viewer.view import ViewerOptions, open_viewer

    # Clients can cause warnings; only the application configures loggers, which is the command.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    options = ViewerOptions(model, host, port, selected, units_or_window(units, window), roi)
    with open_viewer(path, mask, reference=reference, scans=scans, options=options) as viewer:
        count = len(viewer.cases)
        echo(f"{counted(count, 'scan')} at {viewer.url}")
        for url in viewer.urls[1:]:
            echo(f"from other machines: {url}")
        if not no_browser:
            viewer.open_browser()
        viewer.serve()
