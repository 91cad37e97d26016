"""The web application: serves the page and the cases, saves corrections, segments uploads."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pleura.cohort.tables import read_summaries
from pleura.corrections.cases import ReviewCase
from pleura.corrections.saving import read_changed_slices, save_correction
from pleura.errors import PleuraError
from pleura.figures.palette import label_kind
from pleura.files.temporary import new_folder
from pleura.formats.write import write_volume
from pleura.masks.mask import flag_title
from pleura.measurement.measure import AERATION, LOW_ATTENUATION
from pleura.report.cohort import cohort_page
from pleura.report.page import content_security_policy
from pleura.scan.bit_field import highest_class
from pleura.scan.geometry import Geometry
from pleura.typing import AnyArray
from pleura.viewer.access import AccessControl
from pleura.viewer.case_list import CaseList
from pleura.viewer.uploads import Uploads

STATIC = Path(__file__).with_name("static")
"""Folder of the built page."""

MAX_MASK_BYTES = 1 << 30
"""Size of a corrected mask: 2000 slices of 512x512 voxels, with margin."""


def create_app(
    cases: CaseList, token: str, hosts: Iterable[str], uploads: Uploads | None = None
) -> Starlette:
    """Create the web application.

    Parameters
    ----------
    cases:
        The cases that the page lists.
    token, hosts:
        See `pleura.viewer.access.AccessControl`.
    uploads:
        Stores and segments scans that are dropped on the page; None refuses uploads.
    """
    case_routes = _CaseRoutes(cases)
    routes: list[BaseRoute] = [
        Route("/", case_routes.page),
        Route("/report", case_routes.report),
        Route("/api/cases", case_routes.list_cases),
        Route("/api/failures", case_routes.list_failures),
        Route("/api/limits", case_routes.limits),
        Route("/api/progress", case_routes.progress),
        Route("/api/cases/{index}/{kind}.nii", case_routes.volume),
        Route("/api/cases/{index}/corrected", case_routes.save, methods=["PUT"]),
        Route("/api/cases/{index}/changed-slices", case_routes.changed_slices),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
    ]
    if uploads is not None:
        upload_routes = _UploadRoutes(cases, uploads)
        routes += [
            Route("/api/uploads/{upload}/{name}", upload_routes.store, methods=["PUT"]),
            Route("/api/uploads/{upload}", upload_routes.segment, methods=["POST"]),
        ]
    access = Middleware(AccessControl, token=token, hosts=frozenset(hosts))
    return Starlette(routes=routes, middleware=[access])


class _CaseRoutes:
    """Requests about the cases of the page."""

    def __init__(self, cases: CaseList) -> None:
        self.cases = cases
        self._saving = threading.Lock()

    async def page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def report(self, request: Request) -> Response:
        folder = self.cases.folder
        if folder is None:
            raise HTTPException(404)
        try:
            page = await run_in_threadpool(_cohort_report, folder)
        except PleuraError as error:
            return _error_response(str(error), 404)
        policy = f"{content_security_policy()}; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    async def list_cases(self, request: Request) -> Response:
        await run_in_threadpool(self.cases.refresh)
        return JSONResponse([_case_to_dict(case) for case in self.cases])

    async def list_failures(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.cases.failures))

    async def limits(self, request: Request) -> Response:
        folder = self.cases.folder
        has_report = folder is not None and any(folder.glob("summary*.csv"))
        limits = {"aeration": AERATION, "low_attenuation": LOW_ATTENUATION[0]}
        return JSONResponse(limits | {"has_report": has_report})

    async def progress(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.cases.progress))

    async def volume(self, request: Request) -> Response:
        case, kind = self._case(request), request.path_params["kind"]
        etag = _etag(case)  # before reading: a mask that is saved meanwhile has another one
        try:
            path, headers = await run_in_threadpool(_write_nifti, case, kind)
        except PleuraError as error:
            return _error_response(str(error), 422)
        return _TemporaryFileResponse(path, headers={"ETag": etag, **headers})

    async def changed_slices(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_changed_slices, self._case(request)))

    async def save(self, request: Request) -> Response:
        case, content = self._case(request), bytearray()
        async for block in request.stream():
            content += block
            if len(content) > MAX_MASK_BYTES:
                return _error_response("the mask is larger than 1 GiB", 413)
        etag = request.headers.get("if-match")
        return await run_in_threadpool(self._save, case, bytes(content), etag)

    def _save(self, case: ReviewCase, content: bytes, etag: str | None) -> Response:
        with self._saving:
            if etag is not None and etag != _etag(case):
                return _error_response(
                    "this mask was changed in another window; your changes are kept in this "
                    "browser. hint: reload the page to choose a version",
                    409,
                )
            try:
                record = save_correction(case, content)
            except PleuraError as error:
                return _error_response(str(error), 422)
            return JSONResponse({**record, "etag": _etag(case)})

    def _case(self, request: Request) -> ReviewCase:
        index = _integer(request, "index")
        if index >= len(self.cases):
            raise HTTPException(404)
        return self.cases[index]


class _UploadRoutes:
    """Requests that upload a scan and segment it."""

    def __init__(self, cases: CaseList, uploads: Uploads) -> None:
        self.cases, self.uploads = cases, uploads

    async def store(self, request: Request) -> Response:
        upload, is_complete = _integer(request, "upload"), False
        path = self.uploads.path_of(upload, request.path_params["name"])
        if path.exists():
            return _error_response(
                "two files have the same name. hint: drop a zip archive of the files", 409
            )
        try:
            with path.open("wb") as file:
                async for block in request.stream():
                    if not self.uploads.reserve(len(block)):
                        return _error_response(
                            "the uploads are too large. hint: use `pleura segment`", 413
                        )
                    file.write(block)
            is_complete = True
        finally:
            if not is_complete:
                self.uploads.discard(path)
        return JSONResponse({})

    async def segment(self, request: Request) -> Response:
        try:
            case = await run_in_threadpool(self.uploads.segment, _integer(request, "upload"))
        except PleuraError as error:
            return _error_response(str(error), 422)
        return JSONResponse({"index": self.cases.append(case)})


class _TemporaryFileResponse(FileResponse):
    """A file that is removed with its folder after the response, even if sending it fails."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            shutil.rmtree(Path(self.path).parent, ignore_errors=True)


def _cohort_report(folder: Path) -> str:
    return cohort_page(read_summaries(folder), folder, viewer="/").html()


def _integer(request: Request, name: str) -> int:
    """Return an integer of the path, of at most 15 digits, which JavaScript represents exactly."""
    text = str(request.path_params[name])
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise HTTPException(404)
    return int(text)


def _error_response(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status)


def _case_to_dict(case: ReviewCase) -> dict[str, Any]:
    return {
        "name": case.name,
        "has_mask": case.mask_path is not None,
        "has_reference": case.reference_path is not None,
        "is_corrected": case.is_corrected,
        "draft_key": _draft_key(case),
        "report": dict(case.report),
        "flag_titles": {name: flag_title(name) for name in case.report.get("flags", {})},
    }


def _changed_slices(case: ReviewCase) -> list[int]:
    path = case.corrected_path
    return (read_changed_slices(path) if path and case.is_corrected else None) or []


def _draft_key(case: ReviewCase) -> str:
    """Return the key of unsaved changes in the browser's storage, which reveals no path."""
    path = case.mask_path or Path(case.name)
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]


def _etag(case: ReviewCase) -> str:
    """Return a value that changes with the file of the latest mask."""
    path = case.latest_mask_path
    return "" if path is None or not path.exists() else str(path.stat().st_mtime_ns)


def _write_nifti(case: ReviewCase, kind: str) -> tuple[Path, dict[str, str]]:
    """Write the scan (HU) or a mask of a case to a NIfTI file; the caller removes its folder.

    Returns
    -------
    path, headers
        The file, and ``Spacing-Known``, 1 if the spacing of the scan is known. Of a mask with
        several classes, ``Classes`` are their names and colours in the style sheet, as JSON with
        percent encoding, in the order of the labels from 1.
    """
    scan = case.read_scan()
    headers = {"Spacing-Known": str(int(scan.geometry.spacing_known))}
    if kind == "scan":
        return _write_temporary(scan.hu(), scan.geometry), headers
    paths = {
        "mask": case.latest_mask_path,
        "original": case.mask_path,
        "reference": case.reference_path,
    }
    path = paths.get(kind)
    if path is None:
        raise HTTPException(404)
    mask = case.read_displayed(path, scan)
    labels = highest_class(mask.labels) if mask.overlap else mask.labels
    if mask.classes:
        classes = [[c.name, label_kind(i)] for i, c in enumerate(mask.classes, 1)]
        headers["Classes"] = quote(json.dumps(classes))
    return _write_temporary(labels, scan.geometry), headers


def _write_temporary(array: AnyArray, geometry: Geometry) -> Path:
    path = new_folder() / "volume.nii"
    write_volume(path, array, geometry)
    return path
