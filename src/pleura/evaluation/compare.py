"""Compare predicted masks, of any tool, with reference masks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pleura.evaluation.alignment import align
from pleura.evaluation.cases import Case, CaseTable
from pleura.evaluation.comparison import Comparison
from pleura.evaluation.matching import match_cases, match_images
from pleura.evaluation.scores import Score, score_masks
from pleura.files.hashing import hash_files
from pleura.masks.labels import PLEURA_LABELS
from pleura.masks.mask import Mask
from pleura.masks.pairs import read_mask_pair
from pleura.masks.selection import RoiSelection
from pleura.scan.bit_field import MAX_OVERLAPPING
from pleura.scan.labels import Label
from pleura.typing import Progress, StrPath

_logger = logging.getLogger(__name__)


def compare(
    predicted: StrPath,
    reference: StrPath,
    *,
    cases: CaseTable | None = None,
    images: StrPath | None = None,
    roi: RoiSelection | None = None,
    classes: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compare predicted masks with reference masks: two files, or two folders matched by name.

    Parameters
    ----------
    predicted, reference:
        Mask files in any format, or folders of them.
    cases:
        Patients and groups of the cases; by default each case is one patient.
    images:
        The scan, or the folder of the scans, on whose grids contours are drawn.
    roi:
        Structures or labels to compare, as for `read_mask`; by default the lungs.
    classes:
        Labels of several classes by name, such as ``{"lung": 1, "lesion": 2}``, which are scored
        each by itself. In DICOM and .seg.nrrd files they are the structures of these names. Other
        labels are an error.
    progress:
        Called with the number of cases that are done, and of all cases.

    Returns
    -------
    Comparison
        Scores of both lungs, and of each lung where both masks distinguish them; or of all classes
        together, and of each.

    Raises
    ------
    ScanError, DataError
        A mask cannot be read, has no partner, or is on another grid; or contours cannot be drawn,
        since there is no scan.

    Warns
    -----
    DataWarning
        Some cases are not in ``cases``.
    """
    table = cases or CaseTable()
    pairs = match_cases(Path(predicted), Path(reference))
    table.warn_unknown(name for name, *_ in pairs)
    image_files = {} if images is None else match_images(Path(images), Path(reference), pairs)
    labels = classes_to_compare(classes or {})
    scores: list[Score] = []
    decisions: Counter[str] = Counter()
    for i, (name, *files) in enumerate(pairs):
        masks = read_mask_pair(*files, image=image_files.get(name), roi=roi, classes=labels)
        scores += _score_files(table.case(name), *masks)
        for kind, mask in zip(("prediction", "reference"), masks, strict=True):
            for decision in mask.decisions:
                if decision.warning or decision.reason != PLEURA_LABELS:
                    warning = "warning: " if decision.warning else ""
                    decisions[f"{warning}{kind}: {decision.choice} ({decision.reason})"] += 1
        if progress is not None:
            progress(i + 1, len(pairs))
    _logger.info("Compared %d cases", len(pairs))
    for text in decisions:
        if text.startswith("warning"):
            _logger.warning("%s", text.removeprefix("warning: "))
    digest = hash_files((file for _, *files in pairs for file in files), names=True)
    return Comparison(tuple(scores), digest, dict(decisions), classes or {})


def classes_to_compare(classes: Mapping[str, int]) -> tuple[Label, ...]:
    """Return classes of which each is read by itself, as far as a mask has bits for them.

    So structures of a file may overlap, and each is scored as a whole.
    """
    overlap = len(classes) <= MAX_OVERLAPPING
    return tuple(Label(value, name, overlap=overlap) for name, value in classes.items())


def _score_files(case: Case, prediction: Mask, reference: Mask) -> list[Score]:
    aligned = align(
        prediction,
        reference,
        "the two masks",
        "resample the prediction to the grid of the reference",
    )
    labels = aligned.first.apply(prediction.labels), aligned.second.apply(reference.labels)
    classes = reference.regions if reference.classes else None
    return score_masks(case, *labels, aligned.spacing, classes)
