"""Open the viewer from Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.errors import DataError, PleuraError
from pleura.intensity.window import Units
from pleura.masks.selection import RoiSelection
from pleura.typing import StrPath
from pleura.viewer.case_list import find_cases

if TYPE_CHECKING:
    from pleura.viewer.server import Viewer


@dataclass(frozen=True)
class ViewerOptions:
    """Options of the viewer's server.

    Parameters
    ----------
    model:
        Model that segments scans dropped on the page; None for the default model.
    host:
        Address to serve at; ``0.0.0.0`` or ``::`` for all addresses of this machine.
    port:
        Port; 0 selects a free one.
    selected:
        Name of the scan to open first, in a folder of results; empty for the one with most flags.
    units:
        Intensity units of the scan, as for `read`; a folder of results has a record of them.
    roi:
        Structures or labels of the masks to show, as for `read_mask`, with the labels 1 right and
        2 left lung, or 1 both.
    """

    model: StrPath | None = None
    host: str = "127.0.0.1"
    port: int = 0
    selected: str = ""
    units: Units = "auto"
    roi: RoiSelection | None = None


def view(
    path: StrPath | None = None,
    mask: StrPath | None = None,
    *,
    reference: StrPath | None = None,
    scans: StrPath | None = None,
    options: ViewerOptions = ViewerOptions(),
    open_browser: bool = True,
) -> Viewer:
    """Start the viewer in the background, to review masks and correct them in a browser.

    It serves until its ``close()``, or until the process ends.

    Parameters
    ----------
    path, mask, reference, scans, options:
        See `open_viewer`.
    open_browser:
        Open the page in the default browser.

    Returns
    -------
    Viewer
        A context manager; ``url`` is the address of the page.

    Raises
    ------
    DataError, PleuraError
        See `open_viewer`.
    """
    viewer = open_viewer(path, mask, reference=reference, scans=scans, options=options)
    viewer.start()
    if open_browser:
        viewer.open_browser()
    return viewer


def open_viewer(
    path: StrPath | None = None,
    mask: StrPath | None = None,
    *,
    reference: StrPath | None = None,
    scans: StrPath | None = None,
    options: ViewerOptions = ViewerOptions(),
) -> Viewer:
    """Return a viewer that listens and does not serve yet; `view` also starts it.

    Parameters
    ----------
    path:
        A scan; a folder of results of `pleura segment`; a run folder, to show its progress; or None
        for an empty page.
    mask, reference:
        Mask and reference mask of the scan.
    scans:
        Folder or manifest that was segmented, if it was moved.
    options:
        See `ViewerOptions`.

    Returns
    -------
    Viewer
        A context manager; its ``serve()`` serves in the foreground.

    Raises
    ------
    DataError
        A file or the scans are not found.
    PleuraError
        The viewer is not installed, or cannot listen at the address.
    """
    try:
        from pleura.viewer.server import Viewer
    except ImportError as error:
        raise PleuraError(
            "the viewer is not installed", where=None, hint='run pip install "pleura[view]"'
        ) from error
    path, mask, reference, scans = (
        None if p is None else Path(p) for p in (path, mask, reference, scans)
    )
    cases = find_cases(path, mask, reference, scans, options.units, options.roi)
    if options.selected and options.selected not in {case.name for case in cases}:
        raise DataError(
            f"there is no scan {options.selected}",
            where=path,
            hint="pass a name from the column `name` of summary.csv",
        )
    return Viewer(
        cases,
        path,
        host=options.host,
        port=options.port,
        model=options.model,
        selected=options.selected,
    )
