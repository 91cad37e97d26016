"""Every scan below a folder to its mask: goes on past bad ones, skips what is done."""

from __future__ import annotations

import csv
import io
import json
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pleura
from pleura.engine.engine import cores
from pleura.errors import DataError, PleuraError
from pleura.measurement.measure import measure
from pleura.scan.find import Found, find_scans
from pleura.scan.hounsfield import UnitsOption
from pleura.scan.io import read
from pleura.scan.pictures import TIFF, write_atomically, write_picture
from pleura.scan.slices import flipped
from pleura.scan.write import write_mask
from pleura.segmentation.segment import Segmentation, Segmenter

Format = Literal["same", "nifti", "nrrd", "mha", "tiff", "png", "npy", "dicom-seg", "rtstruct"]
Status = Literal["done", "skipped", "failed"]

INPUTS = "inputs.txt"
"""In a folder of results: from which file or folder they were made, as a path from there."""

SUFFIX: dict[str, str] = {
    "nifti": ".nii.gz",
    "nrrd": ".nrrd",
    "mha": ".mha",
    "tiff": ".tif",
    "png": ".png",
    "npy": ".npy",
    "dicom-seg": ".dcm",
    "rtstruct": ".rtstruct.dcm",
}


@dataclass(frozen=True)
class Row:
    """What became of one scan; a row of ``summary.csv``."""

    name: str
    status: Status
    mask: str = ""
    right_ml: float | None = None
    left_ml: float | None = None
    flags: str = ""
    warnings: str = ""
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is written of each scan."""

    format: Format = "same"
    units: UnitsOption = "auto"
    overwrite: bool = False
    preview: bool = False
    binary: bool = False
    measure: bool = False
    flip: bool = False
    """Of scans that carry no orientation: the patient's left is on the picture's left."""


def segment_all(
    path: str | Path,
    output: str | Path,
    make_segmenter: Callable[[int], Segmenter],
    wanted: Wanted = Wanted(),
    *,
    jobs: int = 1,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Segment every scan in a file or below a folder; of several series of a study, the best.

    Each scan leaves its mask and, last, a report of the same name. A scan whose report is there is
    skipped. ``summary.csv`` is written anew after each scan, so it is whole at any time.

    Parameters
    ----------
    path:
        A scan, or a folder of scans.
    output:
        Folder to write to; folders below ``path`` are mirrored.
    make_segmenter:
        Makes a `Segmenter` of so many threads; called once a job.
    wanted:
        Format, units, and whether what is there is replaced.
    jobs:
        Scans at a time; they share the cores.
    shard:
        ``(3, 40)``: of all scans the third fortieth alone, which leaves ``summary-3-of-40.csv``.
    progress:
        Called with the number of scans that are through, and of all.

    Raises
    ------
    ScanError, DataError
        There is nothing at ``path``.
    """
    part, parts = shard
    summary = "summary.csv" if parts == 1 else f"summary-{part}-of-{parts}.csv"
    output = Path(output)
    inside = output.resolve()
    found = [
        one
        for one in find_scans(path)
        if one.chosen and not one.source.resolve().is_relative_to(inside)
    ][part - 1 :: parts]
    _remember_inputs(output, Path(path))
    rows: dict[str, Row] = {}
    with _pool(make_segmenter, jobs) as (executor, segmenters):

        def work(one: Found) -> Row:
            segmenter = segmenters.get()
            try:
                return _segment_one(one, output, segmenter, wanted)
            finally:
                segmenters.put(segmenter)

        futures: list[Future[Row]] = [executor.submit(work, one) for one in found]
        try:
            for future in as_completed(futures):
                row = future.result()
                rows[row.name] = row
                _write_summary(output / summary, sorted(rows.values(), key=lambda r: r.name))
                if progress is not None:
                    progress(len(rows), len(found))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    return sorted(rows.values(), key=lambda row: row.name)


def _remember_inputs(output: Path, inputs: Path) -> None:
    text = os.path.relpath(inputs.resolve(), output.resolve())
    write_atomically(output / INPUTS, lambda file: file.write(text.encode()))


@contextmanager
def _pool(
    make_segmenter: Callable[[int], Segmenter], jobs: int
) -> Iterator[tuple[ThreadPoolExecutor, queue.SimpleQueue[Segmenter]]]:
    threads = max(1, cores() // jobs)
    segmenters: queue.SimpleQueue[Segmenter] = queue.SimpleQueue()
    for _ in range(jobs):
        segmenters.put(make_segmenter(threads))
    with ThreadPoolExecutor(jobs) as executor:
        yield executor, segmenters


def _segment_one(found: Found, output: Path, segmenter: Segmenter, wanted: Wanted) -> Row:
    target = output / f"{found.name}_lungs{_suffix(found, wanted.format)}"
    report = output / f"{found.name}_lungs.json"
    if found.error is not None:
        return _failed(found.name, found.error)
    try:
        asked = _asked(found, segmenter, wanted)
        preview = output / f"{found.name}_lungs_preview.png"
        whole = target.exists() and (preview.exists() or not wanted.preview)
        if whole and not wanted.overwrite:
            done = _finished(found.name, target, report, asked)
            if done is not None:
                return done
        scan = found.load(wanted.units) if found.load else read(found.source, units=wanted.units)
        if wanted.flip and not scan.geometry.orientation_known:
            scan = flipped(scan)
        result = segmenter.segment(scan)
        write_mask(target, result.mask, binary=wanted.binary)
        if wanted.preview:
            write_picture(preview, result.preview())
        told = {**reported(result, measures=wanted.measure), "asked": asked}
        text = json.dumps(told, indent=2) + "\n"
        write_atomically(report, lambda file: file.write(text.encode()))
        return _row(found.name, target, told, "done")
    except PleuraError as error:
        return _failed(found.name, error)
    # The batch's boundary: what nobody foresaw is a line too, and does not stop the rest.
    except Exception as error:  # noqa: BLE001
        return Row(found.name, "failed", error=f"unexpected {type(error).__name__}: {error}")


def reported(result: Segmentation, *, measures: bool) -> dict[str, Any]:
    """Return the report of a scan as what JSON can hold, with measures if wanted."""
    told = result.to_dict()
    if measures:
        told["measures"] = measure(result.mask.scan, result.mask).to_dict()
    return told


def _failed(name: str, error: PleuraError) -> Row:
    return Row(name, "failed", error=f"{error.what}; {error.fix}")


def _asked(found: Found, segmenter: Segmenter, wanted: Wanted) -> dict[str, Any]:
    """Return all that a result hangs on: if any of it changes, the scan is segmented anew."""
    files = [found.source] if found.source.is_file() else sorted(found.source.iterdir())
    return {
        "model": segmenter.engine.record.summary(),
        "threshold": segmenter.threshold,
        "sides": segmenter.sides,
        "units": wanted.units,
        "format": wanted.format,
        "binary": wanted.binary,
        "measure": wanted.measure,
        "flip": wanted.flip,
        "pleura": pleura.__version__,
        "input": [[f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file()],
    }


def _suffix(found: Found, wanted: Format) -> str:
    if wanted != "same":
        return SUFFIX[wanted]
    lower = found.source.name.lower()
    for ends, suffix in (
        ((".nrrd", ".nhdr"), ".nrrd"),
        ((".mha", ".mhd"), ".mha"),
        (TIFF, ".tif"),
        ((".png", ".jpg", ".jpeg"), ".png"),
        ((".npy",), ".npy"),
    ):
        if lower.endswith(ends):
            return suffix
    return ".nii.gz"


def _finished(name: str, target: Path, report: Path, asked: Any) -> Row | None:
    """Return the row of an earlier result of the same; None where there is none that is whole."""
    try:
        told: dict[str, Any] = json.loads(report.read_text("utf-8"))
        return _row(name, target, told, "skipped") if told["asked"] == asked else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(name: str, target: Path, told: dict[str, Any], status: Status) -> Row:
    ml = told["ml"] or {}
    return Row(
        name,
        status,
        target.name,
        ml.get("right"),
        ml.get("left"),
        "; ".join(told["flags"]),
        "; ".join(d["about"] for d in told["decisions"] if d["warning"]),
        round(sum(told["seconds"].values()), 2),
    )


def read_summaries(output: str | Path) -> list[Row]:
    """Return the rows of all summaries of a folder: of a scan, the last one that is no failure.

    Raises
    ------
    DataError
        There is none, or one is damaged.
    """
    from pydantic import TypeAdapter

    row_of = TypeAdapter(Row).validate_python
    rows: dict[str, Row] = {}
    paths = sorted(Path(output).glob("summary*.csv"), key=lambda path: path.stat().st_mtime_ns)
    for path in paths:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                found = [
                    row_of({k: v for k, v in cells.items() if v}) for cells in csv.DictReader(file)
                ]
        except (OSError, ValueError) as error:
            raise DataError(
                "the summary is damaged", where=path, fix="segment the folder again"
            ) from error
        for row in found:
            if row.status != "failed" or rows.get(row.name, row).status == "failed":
                rows[row.name] = row
    if not rows:
        raise DataError("no summary of `pleura segment` here", where=output, fix="name its -o")
    return [rows[name] for name in sorted(rows)]


def _write_summary(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in asdict(row).items()} for row in rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))
