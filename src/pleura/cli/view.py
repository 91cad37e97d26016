"""`pleura view`."""

from __future__ import annotations

import secrets
import signal
import threading
import webbrowser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pleura.cli.common import PATH, echo
from pleura.errors import PleuraError

if TYPE_CHECKING:
    from pleura.corrections.cases import ReviewCase

_EPILOG = """\
\b
Examples:
  pleura view out/                        results of `pleura segment`, worst flags first
  pleura view out/ --scans cohort/        the same, where the scans have moved
  pleura view runs/first                  a training, as it goes
  pleura view chest.nii.gz lungs.nii.gz
  pleura view chest.nii.gz lungs.nii.gz --reference expert.nii.gz
  pleura view --open                      an empty page: drop a scan on it, get its lungs

Needs `pip install "pleura[view]"`. Ctrl-C ends it. Corrections are new files, named .corrected.
"""


@click.command("view", epilog=_EPILOG)
@click.argument("path", type=PATH, required=False)
@click.argument("mask", type=PATH, required=False)
@click.option("--open", "empty", is_flag=True, help="Start without a scan: drop one on the page.")
@click.option(
    "--model", type=PATH, help="Model for scans that are dropped; the shipped one if unset."
)
@click.option("--reference", type=PATH, help="Another mask of the scan to hold this one against.")
@click.option("--scans", type=PATH, help="What was segmented, if it has moved.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve at; 0.0.0.0 or :: serves all.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="A free one if unset.")
@click.option("--no-browser", is_flag=True, help="Print the address alone.")
def command(
    path: Path | None,
    mask: Path | None,
    empty: bool,
    model: Path | None,
    reference: Path | None,
    scans: Path | None,
    host: str,
    port: int,
    no_browser: bool,
) -> None:
    """Look at scans and their masks in the browser, and correct them.

    PATH is a scan, a folder of results, or a training's run folder. What runs there is shown as it
    goes.

    A scan that is dropped on the page gets its lungs. The page is served on this machine alone and
    asks nothing of the network.
    """
    if (path is None) != empty:
        raise click.UsageError("give a scan, a folder of results, or --open")
    from pleura.corrections.cases import case_from_files, cases_from_results
    from pleura.files.temporary import new_folder, temporary_folder
    from pleura.viewer.progress import is_run, progress_of

    try:
        import uvicorn

        from pleura.viewer.addresses import (
            addresses_of,
            hosts_of,
            listening_at,
            located,
            write_opener,
        )
        from pleura.viewer.dropped import Dropped
        from pleura.viewer.protocol import TimedProtocol
        from pleura.viewer.server import STATIC, make_app
    except ImportError as error:
        raise PleuraError(
            "the viewer is not installed", where=None, hint='pip install "pleura[view]"'
        ) from error
    if not (STATIC / "viewer.js").exists():
        raise PleuraError(
            "the viewer's page was not built",
            where=STATIC,
            hint="install Node.js 18 or newer, then install pleura from its source again",
        )
    folder = path if path is not None and path.is_dir() and mask is None else None
    more: Callable[[], list[ReviewCase]] | None = None
    if folder is not None and (is_run(folder) or progress_of(folder) is not None):
        more = partial(_results, folder, scans)
        cases = more()
    elif folder is not None and next(folder.rglob("*_lungs.json"), None):
        cases = cases_from_results(folder, scans)
    else:
        cases = [] if path is None else [case_from_files(path, mask, reference)]
    with temporary_folder() as scratch, listening_at(host, port, folder or path) as listening:
        at, token = listening.getsockname()[1], secrets.token_urlsafe(24)
        places = [f"http://{located(name, at)}/?token={token}" for name in addresses_of(host)]
        echo(f"{len(cases)} scan{'' if len(cases) == 1 else 's'} at {places[0]}")
        for place in places[1:]:
            echo(f"from other machines: {place}")
        if not no_browser:
            opener = write_opener(scratch, places[0])
            threading.Thread(target=webbrowser.open, args=(opener,), daemon=True).start()
        dropped = Dropped(new_folder(), model)
        hosts = sorted(hosts_of(host, at))
        app = make_app(cases, token, hosts, dropped, folder=folder, more=more)
        settings = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            log_level="error",
            access_log=False,
            server_header=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=3,
        )
        _end_by_terminal()
        uvicorn.Server(settings).run([listening])


def _end_by_terminal() -> None:
    """Let a closed terminal end the server as SIGTERM does, which uvicorn handles between tasks."""
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        signal.signal(hang_up, lambda *_: signal.raise_signal(signal.SIGTERM))


def _results(folder: Path, scans: Path | None) -> list[ReviewCase]:
    """Return what a batch has left so far, which may be nothing."""
    from pleura.corrections.cases import cases_from_results

    return cases_from_results(folder, scans) if next(folder.rglob("*_lungs.json"), None) else []
