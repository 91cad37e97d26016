"""The page's server: loopback, a token, and nothing but the cases that it was given."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pleura.corrections.cases import ReviewCase
from pleura.corrections.saving import save_correction
from pleura.errors import PleuraError
from pleura.files.temporary import new_folder
from pleura.formats.write import write_volume
from pleura.masks.labels import read_mask
from pleura.scan.geometry import Geometry
from pleura.viewer.dropped import Dropped
from pleura.viewer.guard import Guard
from pleura.viewer.progress import progress_of

STATIC = Path(__file__).with_name("static")
LARGEST = 1 << 30
"""Bytes of what may be sent: a mask of 2000 slices of 512x512, unpacked."""


def make_app(
    cases: list[ReviewCase],
    token: str,
    hosts: Sequence[str],
    dropped: Dropped | None = None,
    *,
    folder: Path | None = None,
    more: Callable[[], Sequence[ReviewCase]] | None = None,
) -> Starlette:
    """Make the application; ``hosts`` are what a browser may call it, as ``127.0.0.1:8000``.

    With the host ``*``, every IP address is accepted too.
    With ``dropped`` scans can be dropped on the page: their lungs are found, and ``cases`` grows.
    ``folder`` is of a batch or a training that may be running; ``more`` finds the cases that it has
    added.
    """
    answers = _Answers(cases, folder, more)
    routes: list[BaseRoute] = [
        Route("/", answers.index),
        Route("/api/cases", answers.listed),
        Route("/api/progress", answers.progress),
        Route("/api/cases/{index}/{kind}.nii", answers.volume),
        Route("/api/cases/{index}/corrected", answers.corrected, methods=["PUT"]),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
    ]
    if dropped is not None:
        drops = _Drops(cases, dropped)
        routes += [
            Route("/api/dropped/{drop}/{name}", drops.taken, methods=["PUT"]),
            Route("/api/dropped/{drop}", drops.segmented, methods=["POST"]),
        ]
    guard = Middleware(Guard, token=token, hosts=frozenset(hosts))
    return Starlette(routes=routes, middleware=[guard])


class _Answers:
    """What the page asks about the cases."""

    def __init__(
        self,
        cases: list[ReviewCase],
        folder: Path | None,
        more: Callable[[], Sequence[ReviewCase]] | None,
    ) -> None:
        self.cases, self.folder, self.more = cases, folder, more
        self.completed = self._completed()
        self.lock = threading.Lock()

    def _completed(self) -> int:
        told = progress_of(self.folder) if self.folder is not None else None
        return 0 if told is None else int(told["completed"])

    def _add(self) -> None:
        """Add what a running batch has added; what is listed keeps its place."""
        with self.lock:
            completed = self._completed()
            if self.more is None or completed == self.completed:
                return
            known = {case.name for case in self.cases}
            try:
                self.cases += [case for case in self.more() if case.name not in known]
            except PleuraError:  # the next look may find them
                return
            self.completed = completed

    async def progress(self, request: Request) -> Response:
        told = None
        if self.folder is not None:
            told = await run_in_threadpool(progress_of, self.folder)
        return JSONResponse(told)

    async def index(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def listed(self, request: Request) -> Response:
        await run_in_threadpool(self._add)
        return JSONResponse([_told(case) for case in self.cases])

    async def volume(self, request: Request) -> Response:
        case, kind = self._case(request), request.path_params["kind"]
        stamp = _stamp(case)  # before the mask is read: a later one is another's
        try:
            path = await run_in_threadpool(_nifti, case, kind)
        except PleuraError as error:
            return _failed(error)
        return _TemporaryFile(path, headers={"ETag": stamp})

    async def corrected(self, request: Request) -> Response:
        case, content = self._case(request), bytearray()
        async for block in request.stream():
            content += block
            if len(content) > LARGEST:
                return _TOO_LARGE
        return await run_in_threadpool(
            self._save, case, bytes(content), request.headers.get("if-match")
        )

    def _save(self, case: ReviewCase, content: bytes, stamp: str | None) -> Response:
        with self.lock:
            if stamp is not None and stamp != _stamp(case):
                return _SAVED_ELSEWHERE
            try:
                record = save_correction(case, content)
            except PleuraError as error:
                return _failed(error)
            return JSONResponse({**record, "stamp": _stamp(case)})

    def _case(self, request: Request) -> ReviewCase:
        index = _number(request, "index")
        if index >= len(self.cases):
            raise HTTPException(404)
        return self.cases[index]


class _Drops:
    """Scans that are dropped on the page."""

    def __init__(self, cases: list[ReviewCase], dropped: Dropped) -> None:
        self.cases, self.dropped = cases, dropped

    async def taken(self, request: Request) -> Response:
        drop, whole = _number(request, "drop"), False
        place = self.dropped.place(drop, request.path_params["name"])
        if place.exists():
            return _SENT_TWICE
        try:
            with place.open("wb") as file:
                async for block in request.stream():
                    if not self.dropped.has_room(len(block)):
                        return _TOO_LARGE
                    file.write(block)
            whole = True
        finally:
            if not whole:
                self.dropped.forget(place)
        return JSONResponse({})

    async def segmented(self, request: Request) -> Response:
        try:
            case = await run_in_threadpool(self.dropped.segment, _number(request, "drop"))
        except PleuraError as error:
            return _failed(error)
        self.cases.append(case)
        return JSONResponse({"index": len(self.cases) - 1})


class _TemporaryFile(FileResponse):
    """A file that is removed with its folder, whether or not all of it was sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            shutil.rmtree(Path(self.path).parent, ignore_errors=True)


def _number(request: Request, name: str) -> int:
    """Return a number of the path; of up to 15 digits, as JavaScript's numbers are exact."""
    text = str(request.path_params[name])
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise HTTPException(404)
    return int(text)


def _failed(error: PleuraError) -> Response:
    return JSONResponse({"error": str(error)}, 422)


_SAVED_ELSEWHERE = JSONResponse(
    {
        "error": "this scan was corrected in another window meanwhile; what you drew is kept in "
        "this browser: reload the page to choose"
    },
    409,
)
_SENT_TWICE = JSONResponse({"error": "two of these files have one name; give a zip of them"}, 409)
_TOO_LARGE = JSONResponse({"error": "too large for the page: use `pleura segment`"}, 413)


def _told(case: ReviewCase) -> dict[str, Any]:
    return {
        "name": case.name,
        "mask": case.mask_path is not None,
        "reference": case.reference_path is not None,
        "corrected": case.is_corrected,
        "draft": _draft(case),
        "report": case.report,
    }


def _draft(case: ReviewCase) -> str:
    """Return under what the browser keeps strokes that are not saved: no name, and no other's."""
    path = case.mask_path or Path(case.name)
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]


def _stamp(case: ReviewCase) -> str:
    """Return what changes whenever the mask that is shown does."""
    path = case.latest_mask_path
    return "" if path is None or not path.exists() else str(path.stat().st_mtime_ns)


def _nifti(case: ReviewCase, kind: str) -> Path:
    """Write what is asked of a case to a NIfTI file for the page; the caller deletes its folder."""
    scan = case.read_scan()
    if kind == "scan":
        return _written(scan.hu(), scan.geometry)
    path = {"mask": case.latest_mask_path, "reference": case.reference_path}.get(kind)
    if path is None:
        raise HTTPException(404)
    return _written(read_mask(path, scan).labels, scan.geometry)


def _written(array: np.ndarray[Any, Any], geometry: Geometry) -> Path:
    """Write into a folder of its own, which nobody else may read."""
    path = new_folder() / "volume.nii"
    write_volume(path, array, geometry)
    return path
