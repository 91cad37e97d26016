"""Find all scans below a folder: volumes, images and DICOM series, readable or not."""

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
from pleura.formats.read import read
from pleura.formats.registry import SCAN_SUFFIXES, scan_name
from pleura.intensity.window import Units
from pleura.names import printable, safe_name, short_hash
from pleura.scan.scan import Decision, Scan
from pleura.scan.units import with_units
from pleura.typing import StrPath

if TYPE_CHECKING:
    from pleura.formats.dicom.frames import Frame, SkippedFile
    from pleura.formats.dicom.read import DicomContents
    from pleura.formats.dicom.volume import DicomVolume

Load = Callable[[Units], Scan]


@dataclass(frozen=True, repr=False)
class ScanEntry:
    """A scan below a folder, recognised by suffix or DICOM headers; can be pickled.

    Parameters
    ----------
    name:
        Its path below the folder, without suffix and names of patients.
    source:
        The file or folder of the scan.
    description:
        Suffix of the file, or a summary of the DICOM series.
    load:
        Reads the scan; None if it cannot be read.
    error:
        Why it cannot be read.
    chosen:
        False for a series of a study with a preferred one.
    files:
        All files that its voxels depend on.
    """

    name: str
    source: Path
    description: str
    load: Load | None = None
    error: PleuraError | None = None
    chosen: bool = True
    files: tuple[Path, ...] = ()

    def __repr__(self) -> str:
        # Without `load`, whose headers contain the names of patients.
        state = "" if self.chosen else "; not chosen"
        state = state if self.error is None else f"; error: {self.error.message}"
        return f"ScanEntry({printable(self.name)}; {printable(self.description)}{state})"


def find_scans(path: StrPath) -> list[ScanEntry]:
    """Find all scans in a file or below a folder; only headers are read.

    Parameters
    ----------
    path:
        A file or a folder.

    Returns
    -------
    list of ScanEntry
        Sorted by name.

    Raises
    ------
    ScanError, DataError
        The path does not exist, or the folder contains no file.
    """
    path = Path(path)
    check_path(path)
    folder = path if path.is_dir() else path.parent
    listing = list_below(path) if path.is_dir() else Listing((path,))
    files = listing.files
    if not files and not listing.unreachable:
        raise DataError("the folder contains no files", where=path, hint="check the path")
    by_suffix = [f for f in files if f.name.lower().endswith(SCAN_SUFFIXES)]
    entries = [_single_file_entry(file, folder) for file in by_suffix]
    entries.extend(_unreachable_entries(listing.unreachable, folder))
    others = sorted(set(files) - set(by_suffix))
    if others:
        from pleura.formats.dicom.read import find_volumes

        entries.extend(_dicom_entries(find_volumes(others), folder, listing.unreachable))
    if not entries and not path.is_dir():
        entries = [_single_file_entry(path, folder)]  # reading it raises the error
    return sorted(_with_unique_names(entries), key=lambda entry: entry.name)


def _unreachable_entries(errors: Sequence[ScanError], folder: Path) -> Iterator[ScanEntry]:
    """Yield one entry per unreachable file of a scan, and one for the other files of a folder."""
    groups: dict[tuple[Path, str], list[ScanError]] = {}
    for error in errors:
        file = Path(error.where or folder)
        is_scan = file.name.lower().endswith(SCAN_SUFFIXES)
        groups.setdefault((file if is_scan else file.parent, error.message), []).append(error)
    for (_, message), group in groups.items():
        file = Path(group[0].where or folder)
        name = file.with_name(scan_name(file))
        if len(group) > 1:
            message += f", and {len(group) - 1} more in the same folder"  # noqa: PLW2901
        error = ScanError(message, where=file, hint=group[0].hint)
        yield ScanEntry(_relative_name(name, folder, set()), file, "link", error=error)


def _with_unique_names(entries: Sequence[ScanEntry]) -> Iterator[ScanEntry]:
    """Give entries of the same name different names, so that no result overwrites another one."""
    entries = [replace(entry, name=safe_name(entry.name)) for entry in entries]
    counts = Counter(entry.name.lower() for entry in entries)
    used: Counter[str] = Counter()
    for entry in entries:
        if counts[entry.name.lower()] == 1:
            yield entry
            continue
        name = f"{entry.name}-{short_hash(entry.source.name + entry.description)}"
        used[name.lower()] += 1
        number = used[name.lower()]
        yield replace(entry, name=name if number == 1 else f"{name}-{number}")


def _single_file_entry(file: Path, folder: Path) -> ScanEntry:
    name = file.relative_to(folder).with_name(scan_name(file)).as_posix()
    return ScanEntry(name, file, file.suffix[1:], partial(_read, file), files=files_of_volume(file))


def files_of_volume(file: Path) -> tuple[Path, ...]:
    """Return a file and, for a header, the files of the same stem that may contain the voxels."""
    if not file.name.lower().endswith((".mhd", ".nhdr", ".hdr", ".img")):
        return (file,)
    stem = scan_name(file)
    others = (f for f in file.parent.iterdir() if f != file and f.name.partition(".")[0] == stem)
    return (file, *sorted(f for f in others if f.is_file()))


def files_of(scan: Scan) -> set[Path]:
    """Return the files that a scan is read from, resolved."""
    return {file.resolve() for file in scan.origin.files}


def _read(file: Path, units: Units) -> Scan:
    return read(file, units=units)


def _dicom_entries(
    contents: DicomContents, folder: Path, unreachable: Sequence[ScanError]
) -> Iterator[ScanEntry]:
    from pleura.formats.dicom.frames import SkippedFile
    from pleura.formats.dicom.selection import StudyIndex, selection_decisions, study_key

    chosen: dict[tuple[str, str], DicomVolume] = {}
    for volume in contents.volumes:  # best first
        chosen.setdefault(study_key(volume.first), volume)
    rejected_firsts = [rejected.frames[0] for rejected in contents.rejected]
    firsts = (*(volume.first for volume in contents.volumes), *rejected_firsts)
    folders = Counter(frame.path.parent for frame in firsts)
    studies = StudyIndex(contents)
    damaged = [skipped for skipped in contents.skipped if skipped.damaged]
    unreachable_files = [
        SkippedFile(Path(e.where or folder), e.message, damaged=True) for e in unreachable
    ]
    for volume in contents.volumes:
        name = _dicom_name(volume.first, folder, only=folders[volume.first.path.parent] == 1)
        best = chosen[study_key(volume.first)] is volume
        decisions: tuple[Decision, ...] = ()
        if best:
            decisions = selection_decisions(volume, *studies.others(volume), warn=False)
        volume_folders = {frame.path.parent for frame in volume.present}
        possible_slices = tuple(
            skipped
            for skipped in (*damaged, *unreachable_files)
            if skipped.path.parent in volume_folders
            and not skipped.path.name.lower().endswith(SCAN_SUFFIXES)
        )
        yield ScanEntry(
            name,
            volume.first.path.parent,
            volume.describe(),
            partial(_read_volume, volume, Path(name).name, decisions, possible_slices),
            chosen=best,
            files=volume.files,
        )
    patient_words = {word for volume in contents.volumes for word in _words(volume.first.patient)}
    for rejected, first in zip(contents.rejected, rejected_firsts, strict=True):
        name = _dicom_name(first, folder, only=folders[first.path.parent] == 1)
        source = Path(rejected.error.where or folder)
        description = f"series {first.series_number}; DICOM"
        yield ScanEntry(name, source, description, error=rejected.error)
    for skipped in damaged:
        message = f"the file may be a damaged slice: {skipped.reason}"
        error = ScanError(message, where=skipped.path, hint="copy or export the file again")
        yield ScanEntry(
            _relative_name(skipped.path, folder, patient_words), skipped.path, "DICOM", error=error
        )


def _read_volume(
    volume: DicomVolume,
    name: str,
    decisions: tuple[Decision, ...],
    skipped: tuple[SkippedFile, ...],
    units: Units,
) -> Scan:
    from pleura.formats.dicom.read import read_volume

    scan = read_volume(volume, name, volume.first.path.parent, skipped)
    return with_units(replace(scan, decisions=(*decisions, *scan.decisions)), units)


def _dicom_name(frame: Frame, folder: Path, *, only: bool) -> str:
    """Return the name of a series: its relative folder, if it is the ``only`` series there."""
    name = _relative_name(frame.path.parent, folder, _words(frame.patient))
    if name == "." or not only:
        digest = short_hash(frame.series_instance_uid + frame.sop_instance_uid)
        unique = f"series-{frame.series_number}-{digest}"
        return unique if name == "." else f"{name}/{unique}"
    return name


def _relative_name(path: Path, folder: Path, patient_words: set[str]) -> str:
    """Return a path relative to the folder; parts with words of a patient's name become hashes."""
    try:
        parts = path.relative_to(folder).parts
    except ValueError:
        parts = (path.name,)
    return (
        "/".join(short_hash(part) if _words(part) & patient_words else part for part in parts)
        or "."
    )


def _words(text: str) -> set[str]:
    """Return the words and numbers of two or more characters in a name."""
    return {word for word in re.split(r"[\W_]+", text.lower()) if len(word) > 1}
