"""`pleura view`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from pleura.cli.common import PATH, say

if TYPE_CHECKING:
    from pleura.viewer.cases import ViewCase

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
@click.option("--host", default="127.0.0.1", show_default=True, help="Where others may reach it.")
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
    from pleura.errors import PleuraError
    from pleura.viewer.cases import results, single
    from pleura.viewer.progress import is_run, progress_of

    try:
        import uvicorn

        from pleura.viewer.dropped import Dropped
        from pleura.viewer.server import STATIC, make_app
    except ImportError as error:
        raise PleuraError(
            "the viewer is not installed", where=None, fix='pip install "pleura[view]"'
        ) from error
    if not (STATIC / "viewer.js").exists():
        raise PleuraError(
            "the viewer's page was not built",
            where=STATIC,
            fix="install Node.js 18 or newer, then install pleura from its source again",
        )
    folder = path if path is not None and path.is_dir() and mask is None else None
    more: Callable[[], list[ViewCase]] | None = None
    if folder is not None and (is_run(folder) or progress_of(folder) is not None):
        more = partial(_results, folder, scans)
        cases = more()
    elif folder is not None and next(folder.rglob("*_lungs.json"), None):
        cases = results(folder, scans)
    else:
        cases = [] if path is None else single(path, mask, reference)
    listening = socket.socket()
    if os.name != "nt":  # where it would let two programs have one port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        _bind(listening, host, port, folder or path)
    except OSError as error:
        listening.close()
        raise PleuraError(
            f"nothing can be served at {host}:{port} ({error.strerror})",
            where=None,
            fix="leave out --port, which finds a free one, or name another",
        ) from error
    at, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    names = {f"{name}:{at}" for name in _names(host)}
    address = f"http://{host}:{at}/?token={token}"
    say(f"{len(cases)} scan{'' if len(cases) == 1 else 's'} at {address}")
    if not no_browser:
        threading.Timer(0.5, webbrowser.open, (address,)).start()
    with TemporaryDirectory(prefix="pleura-") as scratch:
        app = make_app(
            cases, token, sorted(names), Dropped(Path(scratch), model), folder=folder, more=more
        )
        uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run([listening])


def _results(folder: Path, scans: Path | None) -> list[ViewCase]:
    """Return what a batch has left so far, which may be nothing."""
    from pleura.viewer.cases import results

    return results(folder, scans) if next(folder.rglob("*_lungs.json"), None) else []


def _bind(listening: socket.socket, host: str, port: int, what: Path | None) -> None:
    """Bind to a port that is the same for the same folder, if it is free and none was asked for.

    What a browser keeps of strokes that were not saved, it keeps by host and port.
    """
    if port == 0 and what is not None:
        digest = hashlib.sha256(str(what.absolute()).encode()).digest()
        with contextlib.suppress(OSError):
            listening.bind((host, 49152 + int.from_bytes(digest[:2], "big") % 16384))
            return
    listening.bind((host, port))


def _names(host: str) -> set[str]:
    """Return the names that a browser may call this machine by."""
    names = {host.lower(), "127.0.0.1", "localhost"}
    if host == "0.0.0.0":  # noqa: S104
        here = socket.gethostname()
        names |= {here.lower(), socket.getfqdn().lower()}
        with contextlib.suppress(OSError):
            names |= set(socket.gethostbyname_ex(here)[2])
    return names
