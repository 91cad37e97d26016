"""One scan of a cohort, by whoever works on it: a thread here, or a worker of a cluster."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pleura
from pleura.cohort.stores import OutputStore, RemoteScan, StoreError
from pleura.cohort.summary import Row, Status, lungs_of
from pleura.cohort.tasks import Task
from pleura.engine.engine import model_path
from pleura.engine.runtimes import Precision, Runtime
from pleura.errors import DataError, PleuraError
from pleura.files.hashing import hash_files
from pleura.files.listing import check_path, files_below
from pleura.files.records import parse_record, write_json
from pleura.formats.find import ScanEntry, with_companions
from pleura.formats.pictures import TIFF, write_picture
from pleura.formats.read import read
from pleura.formats.write import check_can_write, write_labels
from pleura.intensity.mapping import UnitsOption
from pleura.measurement.measure import measure
from pleura.names import printable, short_hash
from pleura.scan.orientation import flipped
from pleura.scan.scan import Scan
from pleura.segmentation.result import Segmentation
from pleura.segmentation.segmenter import Segmenter

Format = Literal["same", "nifti", "nrrd", "mha", "tiff", "png", "npy", "dicom-seg", "rtstruct"]

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
class Settings:
    """With what scans are segmented, and what is written of each."""

    model: str | None = None
    threads: int | None = None
    precision: Precision = "auto"
    threshold: float | None = None
    sides: bool = True
    runtime: Runtime = "openvino"
    format: Format = "same"
    units: UnitsOption = "auto"
    overwrite: bool = False
    preview: bool = False
    binary: bool = False
    measure: bool = False
    flip: bool = False
    """Of scans that carry no orientation: the patient's left is on the picture's left."""
    anonymous: bool = False
    """Name results by hashes, and leave paths of scans out of them."""
    pleura: str = pleura.__version__

    def of(self, task: Task) -> Settings:
        """Return them as the scan's own options have it."""
        flip = self.flip if task.flip is None else task.flip
        return replace(self, units=task.units or self.units, flip=flip)

    def segmenter(self) -> Segmenter:
        """Load the model.

        Raises
        ------
        ModelError
            It cannot be loaded.
        """
        return Segmenter(**self._own())

    def _own(self) -> dict[str, Any]:
        """Return what a segmenter hangs on."""
        names = ("model", "threads", "precision", "threshold", "sides", "runtime")
        return {name: getattr(self, name) for name in names}


_idle: dict[tuple[Settings, int], queue.SimpleQueue[Segmenter]] = {}
_idle_lock = threading.Lock()


@contextmanager
def borrowed(settings: Settings) -> Iterator[Segmenter]:
    """Lend a segmenter of this process: a model is loaded once for each scan at a time."""
    file = model_path(settings.model)
    stamp = file.stat().st_mtime_ns if file.is_file() else 0  # exported anew, it is another model
    with _idle_lock:
        key = Settings(**settings._own()), stamp
        idle = _idle.setdefault(key, queue.SimpleQueue())
    try:
        segmenter = idle.get_nowait()
    except queue.Empty:
        segmenter = settings.segmenter()
    try:
        yield segmenter
    finally:
        idle.put(segmenter)


def forget_segmenters() -> None:
    """Let go of the models that were lent."""
    _idle.clear()


def segment_task(task: Task, output: OutputStore, settings: Settings) -> Row:
    """Segment one scan into a folder of results, or find that this was done.

    What is wrong with the scan is a row. Other errors are raised: another try may help.

    Raises
    ------
    StoreError
        A store cannot be reached.
    PleuraError
        This worker's pleura is not that of the settings.
    """
    if settings.pleura != pleura.__version__:
        raise PleuraError(
            f"a worker has pleura {pleura.__version__}, and the batch is of {settings.pleura}",
            where=None,
            hint="install the same version everywhere",
        )
    settings = settings.of(task)
    try:
        with borrowed(settings) as segmenter:
            row = _segment(task, output, segmenter, settings)
    except StoreError:
        raise
    except PleuraError as error:
        row = Row(task.name, "failed", error=printable(f"{error.message}; {error.hint}"))
    return replace(row, patient=task.patient, source=task.path)


def _segment(task: Task, output: OutputStore, segmenter: Segmenter, settings: Settings) -> Row:
    target = target_of(task, settings)
    report, preview = f"{task.name}_lungs.json", f"{task.name}_lungs_preview.png"
    asked = {**_asked(segmenter, settings), "series": task.series, "stack": task.stack}
    whole = output.has(target) and (not settings.preview or output.has(preview))
    if whole and not settings.overwrite:
        done = _finished(task, target, output.read(report), asked)
        if done is not None:
            return done
    told_input = _input(task)
    output.remove(report)  # an old one beside a new mask would lie
    names = [target, preview, report]
    with opened(task, settings.units, settings.flip) as scan, output.writing(names) as folder:
        decisions = (*scan.decisions, *check_can_write(folder / target, scan))
        name = PurePosixPath(task.name).name if settings.anonymous else scan.name
        result = segmenter.segment(replace(scan, name=name, decisions=decisions), warn=False)
        write_labels(folder / target, result, binary=settings.binary)
        if settings.preview:
            write_picture(folder / preview, result.preview_image())
        told = {
            **reported(result, measures=settings.measure),
            "options": asked,
            "fingerprint": told_input,
        }
        told |= {"mask": PurePosixPath(target).name, "source": task.path}
        write_json(folder / report, told)
    return _row(task.name, target, told, "done")


@contextmanager
def opened(task: Task, units: UnitsOption, flip: bool) -> Iterator[Scan]:
    """Give the scan, wherever it lies; its voxels can be read for as long as this lasts.

    ``flip`` is of scans that do not say how they lie.
    """
    with _as_stored(task, units) as scan:
        yield flipped(scan) if flip and not scan.geometry.orientation_known else scan


@contextmanager
def _as_stored(task: Task, units: UnitsOption) -> Iterator[Scan]:
    if isinstance(task.source, ScanEntry):
        if task.source.load is None:
            raise task.source.error or DataError("no scan", where=task.name, hint="look at it")
        yield task.source.load(units)
    elif isinstance(task.source, RemoteScan):
        with task.source.fetched(PurePosixPath(task.name).name) as path:
            yield read(path, series=task.series, stack=task.stack, units=units)
    else:
        yield read(task.source, series=task.series, stack=task.stack, units=units)


def reported(result: Segmentation, *, measures: bool) -> dict[str, Any]:
    """Return the report of a scan as what JSON can hold, with measures if wanted."""
    told = result.to_dict()
    if measures:
        told["measurements"] = measure(result.scan, result).to_dict()
    return told


def _asked(segmenter: Segmenter, settings: Settings) -> dict[str, Any]:
    """Return the settings that a result hangs on: if one changes, the scan is segmented anew."""
    names = ("sides", "units", "format", "binary", "measure", "flip", "pleura")
    return {
        "model": segmenter.engine.metadata.summary(),
        "threshold": segmenter.threshold,
        **{name: getattr(settings, name) for name in names},
    }


def _input(task: Task) -> dict[str, Any]:
    """Return what tells the scan from another one, or from itself once it was changed."""
    if isinstance(task.source, RemoteScan):
        return {"store": task.source.identity()}
    files = _files(task)
    return {"files": _stamps(files), "sha256": hash_files(files)}


def _unchanged(task: Task, before: Mapping[str, Any]) -> bool:
    """Tell whether the scan is what it was: by sizes and times, or where they differ by content."""
    if not isinstance(task.source, RemoteScan):
        stamps = _stamps(_files(task))
        if stamps == before["files"]:
            return True
        if [stamp[:2] for stamp in stamps] != [stamp[:2] for stamp in before["files"]]:
            return False
    now = _input(task)
    key = "store" if "store" in now else "sha256"
    return bool(now[key] == before[key])


def _files(task: Task) -> list[Path]:
    if isinstance(task.source, RemoteScan):
        return []
    if isinstance(task.source, ScanEntry) and task.source.error is not None:
        raise task.source.error
    if isinstance(task.source, ScanEntry) and task.source.files:
        return list(task.source.files)
    source = task.source.source if isinstance(task.source, ScanEntry) else task.source
    check_path(source)
    return list(with_companions(source)) if source.is_file() else files_below(source)


def _stamps(files: list[Path]) -> list[list[str | int]]:
    """Return hashed name, size and time of each file; a name may be a patient's."""
    return [[short_hash(f.name), f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def target_of(task: Task, settings: Settings) -> str:
    """Return the name of a scan's mask, below the output."""
    return f"{task.name}_lungs{_suffix(task.filename, settings.format)}"


def _suffix(filename: str, wanted: Format) -> str:
    if wanted != "same":
        return SUFFIX[wanted]
    for ends, suffix in (
        ((".nrrd", ".nhdr"), ".nrrd"),
        ((".mha", ".mhd"), ".mha"),
        (TIFF, ".tif"),
        ((".png", ".jpg", ".jpeg"), ".png"),
        ((".npy",), ".npy"),
    ):
        if filename.lower().endswith(ends):
            return suffix
    return ".nii.gz"


def _finished(task: Task, target: str, report: bytes | None, asked: Any) -> Row | None:
    """Return the row of an earlier result of the same; None where there is none that is whole."""
    try:
        told = parse_record(report or b"")
        same = told["options"] == asked and _unchanged(task, told["fingerprint"])
        return _row(task.name, target, told, "skipped") if same else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _row(name: str, target: str, told: dict[str, Any], status: Status) -> Row:
    ml = told["volume_ml"] or {}
    return Row(
        name,
        status,
        PurePosixPath(target).name,
        ml.get("right"),
        ml.get("left"),
        "; ".join(told["flags"]),
        "; ".join(d["topic"] for d in told["decisions"] if d["warning"]),
        round(sum(told["seconds"].values()), 2),
        lungs=lungs_of(told),
    )


def settings_of(changes: Mapping[str, Any]) -> Settings:
    """Return settings with those of a command that they know."""
    known = asdict(Settings())
    return Settings(**{key: value for key, value in changes.items() if key in known})
