"""What scans lie below a folder: every volume, picture, and DICOM series, readable or not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pleura.errors import DataError, PleuraError, ScanError
from pleura.files.listing import Listing, check_path, list_below
from pleura.formats.pictures import SUFFIXES as PICTURES
from pleura.formats.read import VOLUMES, read, scan_name, with_units
from pleura.intensity.mapping import UnitsOption
from pleura.names import safe_name, short_hash
from pleura.scan.scan import Decision, Scan

if TYPE_CHECKING:
    from pleura.formats.dicom.frames import Frame, SkippedFile
    from pleura.formats.dicom.read import DicomContents
    from pleura.formats.dicom.volume import DicomVolume

Load = Callable[[UnitsOption], Scan]

_BY_SUFFIX = (*VOLUMES, *PICTURES, ".zip")
"""Endings of files that are a scan each."""


@dataclass(frozen=True)
class ScanEntry:
    """A scan below a folder: ``name`` is its path there, without suffix and patient's names.

    ``chosen`` is False for a series beside a better one of the same study. ``load`` is None where
    ``error`` says why it cannot be read. Can be pickled, and so be read by another process.
    """

    name: str
    source: Path
    description: str
    load: Load | None = None
    error: PleuraError | None = None
    chosen: bool = True
    files: tuple[Path, ...] = ()
    """All that its voxels hang on."""


def find_scans(path: str | Path) -> list[ScanEntry]:
    """Find every scan in a file, or below a folder, by headers alone; sorted by name.

    Raises
    ------
    ScanError, DataError
        There is no such file or folder, or it holds no file.
    """
    path = Path(path)
    check_path(path)
    folder = path if path.is_dir() else path.parent
    listing = list_below(path) if path.is_dir() else Listing((path,))
    files = listing.files
    if not files and not listing.left_out:
        raise DataError("the folder holds no file", where=path, hint="check the path")
    by_suffix = [f for f in files if f.name.lower().endswith(_BY_SUFFIX)]
    found = [_by_suffix(file, folder) for file in by_suffix]
    found.extend(_left_out(listing.left_out, folder))
    others = sorted(set(files) - set(by_suffix))
    if others:
        from pleura.formats.dicom.read import find_volumes

        found.extend(_in_dicom(find_volumes(others), folder, listing.left_out))
    if not found and not path.is_dir():
        found = [_by_suffix(path, folder)]  # reading it says why it is no scan
    return sorted(_told_apart(found), key=lambda one: one.name)


def _left_out(errors: Sequence[ScanError], folder: Path) -> Iterator[ScanEntry]:
    """Yield what cannot be reached: a scan each by its ending, other files of a folder as one."""
    others: dict[tuple[Path, str], list[ScanError]] = {}
    for error in errors:
        file = Path(error.where or folder)
        alone = file.name.lower().endswith(_BY_SUFFIX)
        others.setdefault((file if alone else file.parent, error.message), []).append(error)
    for (_, what), some in others.items():
        file = Path(some[0].where or folder)
        name = file.with_name(scan_name(file))
        told = what if len(some) == 1 else f"{what}, and {len(some) - 1} more beside it"
        error = ScanError(told, where=file, hint=some[0].hint)
        yield ScanEntry(_mirrored(name, folder, set()), file, "link", error=error)


def _told_apart(found: Sequence[ScanEntry]) -> Iterator[ScanEntry]:
    """Give scans of one name names of their own: a result never takes another's place."""
    found = [replace(one, name=safe_name(one.name)) for one in found]
    times = Counter(one.name.lower() for one in found)
    taken: Counter[str] = Counter()
    for one in found:
        if times[one.name.lower()] == 1:
            yield one
            continue
        name = f"{one.name}-{short_hash(one.source.name + one.description)}"
        taken[name.lower()] += 1
        number = taken[name.lower()]
        yield replace(one, name=name if number == 1 else f"{name}-{number}")


def _by_suffix(file: Path, folder: Path) -> ScanEntry:
    name = file.relative_to(folder).with_name(scan_name(file)).as_posix()
    return ScanEntry(name, file, file.suffix[1:], partial(_read, file), files=with_companions(file))


def with_companions(file: Path) -> tuple[Path, ...]:
    """Return a file, and the others of its stem: of some formats they hold the voxels."""
    if not file.name.lower().endswith((".mhd", ".nhdr", ".hdr", ".img")):
        return (file,)
    stem = scan_name(file)
    beside = (f for f in file.parent.iterdir() if f != file and f.name.partition(".")[0] == stem)
    return (file, *sorted(f for f in beside if f.is_file()))


def files_of(scan: Scan) -> set[Path]:
    """Return the files that a scan is read from, resolved."""
    return {file.resolve() for file in scan.origin.files}


def _read(file: Path, units: UnitsOption) -> Scan:
    return read(file, units=units)


def _in_dicom(
    contents: DicomContents, folder: Path, left_out: Sequence[ScanError]
) -> Iterator[ScanEntry]:
    from pleura.formats.dicom.frames import SkippedFile
    from pleura.formats.dicom.selection import StudyIndex, selection_decisions, study_key

    chosen: dict[tuple[str, str], DicomVolume] = {}
    for stack in contents.volumes:  # best first
        chosen.setdefault(study_key(stack.first), stack)
    firsts = [one.frames[0] for one in contents.rejected]
    folders = Counter(f.path.parent for f in (*(s.first for s in contents.volumes), *firsts))
    relatives = StudyIndex(contents)
    damaged = [aside for aside in contents.skipped if aside.damaged]
    unreached = [
        SkippedFile(Path(one.where or folder), one.message, damaged=True) for one in left_out
    ]
    for stack in contents.volumes:
        name = _dicom_name(stack.first, folder, alone=folders[stack.first.path.parent] == 1)
        best = chosen[study_key(stack.first)] is stack
        decisions = selection_decisions(stack, *relatives.of(stack), warn=False) if best else ()
        around = {frame.path.parent for frame in stack.present}
        beside = tuple(
            aside
            for aside in (*damaged, *unreached)
            if aside.path.parent in around and not aside.path.name.lower().endswith(_BY_SUFFIX)
        )
        yield ScanEntry(
            name,
            stack.first.path.parent,
            stack.describe(),
            partial(_read_stack, stack, Path(name).name, decisions, beside),
            chosen=best,
            files=stack.files,
        )
    hidden = {word for stack in contents.volumes for word in _words(stack.first.patient)}
    for refused, first in zip(contents.rejected, firsts, strict=True):
        name = _dicom_name(first, folder, alone=folders[first.path.parent] == 1)
        where = Path(refused.error.where or folder)
        what = f"series {first.series_number}; DICOM"
        yield ScanEntry(name, where, what, error=refused.error)
    for aside in damaged:
        what = f"{aside.reason}: perhaps a slice"
        error = ScanError(what, where=aside.path, hint="copy or export it again")
        yield ScanEntry(_mirrored(aside.path, folder, hidden), aside.path, "DICOM", error=error)


def _read_stack(
    stack: DicomVolume,
    name: str,
    decisions: tuple[Decision, ...],
    damaged: tuple[SkippedFile, ...],
    units: UnitsOption,
) -> Scan:
    from pleura.formats.dicom.read import read_volume

    scan = read_volume(stack, name, stack.first.path.parent, damaged)
    return with_units(replace(scan, decisions=(*decisions, *scan.decisions)), units)


def _dicom_name(frame: Frame, folder: Path, *, alone: bool) -> str:
    """Mirror the series' folder, with a hash in place of any part that names the patient."""
    name = _mirrored(frame.path.parent, folder, _words(frame.patient))
    if name == "." or not alone:
        digest = short_hash(frame.series_instance_uid + frame.sop_instance_uid)
        unique = f"series-{frame.series_number}-{digest}"
        return unique if name == "." else f"{name}/{unique}"
    return name


def _mirrored(path: Path, folder: Path, hidden: set[str]) -> str:
    """Return a path below the folder, with a hash in place of each part that names a patient."""
    try:
        parts = path.relative_to(folder).parts
    except ValueError:
        parts = (path.name,)
    return "/".join(short_hash(part) if _words(part) & hidden else part for part in parts) or "."


def _words(text: str) -> set[str]:
    """Return the words and numbers of two signs or more in a name."""
    return {word for word in re.split(r"[\W_]+", text.lower()) if len(word) > 1}
