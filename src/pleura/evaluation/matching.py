"""Match predictions, references and images by the names of their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pleura.errors import DataError
from pleura.files.listing import describe_wrong_path, list_below
from pleura.formats.image_files import IMAGE_SUFFIXES
from pleura.formats.matching import Matching, case_name, match_files
from pleura.formats.read_segments import is_dicom_mask
from pleura.formats.registry import VOLUME_SUFFIXES, scan_name
from pleura.names import counted, shorten_list


def match_cases(
    predicted: Path, reference: Path, kind: str = "prediction"
) -> list[tuple[str, Path, Path]]:
    """Match two files, or the files of two folders by name.

    Parameters
    ----------
    predicted, reference:
        Two files or two folders; a suffix such as ``_lungs`` of a name is ignored.
    kind:
        Name of the predicted files in an error.

    Returns
    -------
    list of (str, Path, Path)
        Case, predicted file and reference file, sorted by case.

    Raises
    ------
    DataError
        A folder has no mask, a name is not unique, or a reference has no prediction.
    """
    if predicted.is_file() and reference.is_file():
        return [(scan_name(reference), predicted, reference)]
    matching = match_folders(predicted, reference)
    for first, second, *_ in matching.ambiguous:
        raise DataError(
            f"two files belong to the case '{case_name(first)}': {first.name} and {second.name}",
            where=first.parent,
            hint="keep one file per case",
        )
    missing = [path.relative_to(reference).as_posix() for path in matching.unmatched_second]
    if missing:
        raise DataError(
            f"{counted(len(missing), 'reference')} without {kind}: {shorten_list(missing)}",
            where=predicted,
            hint="add them; write an empty mask where no lung was found"
            if kind == "prediction"
            else "add them, or remove these references",
        )
    return sorted(matching.pairs)


def match_images(
    images: Path, reference: Path, pairs: Sequence[tuple[str, Path, Path]]
) -> dict[str, Path]:
    """Return the scan of each case that has one.

    Parameters
    ----------
    images:
        A scan, or a folder of scans.
    reference, pairs:
        Reference file or folder, and the cases that `match_cases` returned.
    """
    if reference.is_file():
        return {case: images for case, *_ in pairs}
    return {case: image for case, image, _ in match_folders(images, reference).pairs}


def match_folders(first: Path, second: Path) -> Matching:
    """Match the images and masks below two folders, including those without a partner.

    Raises
    ------
    DataError
        A folder is missing, or contains neither images nor masks.
    """
    return match_files(_files_below(first), _files_below(second), (first, second))


def _files_below(folder: Path) -> list[Path]:
    suffixes = (*VOLUME_SUFFIXES, *IMAGE_SUFFIXES)
    if not folder.is_dir():
        raise DataError(
            describe_wrong_path(folder, "folder"),
            where=folder,
            hint="pass two folders, or two files",
        )
    listing = list_below(folder, outside=True)
    for error in listing.unreachable:
        raise DataError(error.message, where=error.where, hint=error.hint)
    files = [
        path
        for path in listing.files
        if (path.name.lower().endswith(suffixes) and "_preview" not in path.name)
        or is_dicom_mask(path)
    ]
    if not files:
        raise DataError(
            "the folder contains no masks",
            where=folder,
            hint=f"pass a folder with files that end in {', '.join(suffixes)}, or DICOM masks",
        )
    return files
