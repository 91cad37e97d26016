"""Report of a comparison of predicted masks with reference masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pleura.errors import PleuraError
from pleura.evaluation.alignment import canonical_orders
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.matching import match_cases, match_folders
from pleura.evaluation.model import CaseArrays
from pleura.formats.read import read
from pleura.masks.labels import read_labels
from pleura.report.page import Page, PagePicture
from pleura.report.scores import scores_page, worst_slice


def write_comparison_report(
    path: str | Path,
    comparison: Comparison,
    predicted: str | Path,
    reference: str | Path,
    images: str | Path | None = None,
    *,
    command: str = "",
) -> None:
    """Write the HTML report of a comparison.

    Parameters
    ----------
    path:
        The file to write.
    comparison:
        The scores, as `compare` returned them.
    predicted, reference:
        The masks that were compared.
    images:
        The scans, for pictures of the cases; None leaves the pictures out.
    command:
        The command line that the report shows.

    Raises
    ------
    ScanError, DataError
        Masks or images cannot be read, or the file cannot be written.
    """
    page = comparison_page(comparison, Path(predicted), Path(reference), images, command)
    page.write(Path(path))


def comparison_page(
    comparison: Comparison,
    predicted: Path,
    reference: Path,
    images: str | Path | None = None,
    command: str = "",
) -> Page:
    """Return the page that `write_comparison_report` writes."""
    facts = (("predicted", predicted.name), ("reference", reference.name))
    pictures = {}
    if images is not None:
        pictures = _pictures(comparison.cases, predicted, reference, Path(images))
    return scores_page("Comparison with reference masks", comparison, facts, pictures, command)


def _pictures(
    cases: Sequence[str], predicted: Path, reference: Path, images: Path
) -> dict[str, PagePicture]:
    """Return a picture of each case whose image can be read and fits the masks."""
    masks = {case: files for case, *files in match_cases(predicted, reference)}
    if images.is_file():
        image_files = dict.fromkeys(cases, images)
    else:
        image_files = {case: image for case, image, _ in match_folders(images, reference).pairs}
    pictures = {
        case: _picture(case, image_files[case], *masks[case])
        for case in cases
        if case in image_files
    }
    return {case: picture for case, picture in pictures.items() if picture is not None}


def _picture(case: str, image: Path, predicted: Path, reference: Path) -> PagePicture | None:
    try:
        scan = read(image)
    except PleuraError:
        return None
    scans = scan, read_labels(predicted), read_labels(reference)
    orders = canonical_orders(*scans)
    arrays = [order.apply(file.hu()) for order, file in zip(orders, scans, strict=True)]
    if arrays[0].shape != arrays[1].shape:
        return None
    return worst_slice(CaseArrays(case, arrays[0], arrays[1], arrays[2]))
