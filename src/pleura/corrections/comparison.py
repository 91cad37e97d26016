"""Compare two models on corrected scans and on the sample scan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pleura.corrections.cases import ReviewCase
from pleura.corrections.training_slices import read_labels_of
from pleura.evaluation.metrics import dice
from pleura.files.sample import SAMPLE
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.scan.scan import Scan
from pleura.segmentation.segmenter import Segmenter
from pleura.typing import Progress, StrPath

TOLERANCE = 0.005
"""A model is reported as worse on a scan if its Dice is lower by more than this."""


@dataclass(frozen=True)
class ScoreChange:
    """Dice coefficients of both lungs of one scan, by two models."""

    case: str
    before: float
    after: float

    @property
    def is_worse(self) -> bool:
        """Whether the second model is worse by more than ``TOLERANCE``."""
        return self.after < self.before - TOLERANCE


def compare_models(
    before: StrPath,
    after: StrPath,
    held_out: Sequence[ReviewCase] = (),
    progress: Progress | None = None,
) -> tuple[ScoreChange, ...]:
    """Return the Dice coefficients of two models on held-out corrected scans and on the sample.

    Parameters
    ----------
    before, after:
        Model files, or names of models.
    held_out:
        Corrected cases; the corrected masks are the reference.
    progress:
        Called with the number of segmented scans, and of all.

    Returns
    -------
    tuple of ScoreChange
        One per case, and last ``sample``, the scan that is installed with pleura.

    Raises
    ------
    ModelError, ScanError, DataError
        A model or a scan cannot be read.
    """
    n_scans = len(held_out) + 1
    scores: list[list[float]] = []
    for i, model in enumerate((before, after)):
        scores.append([])
        with Segmenter(model) as segmenter:
            for scan, reference in _references(held_out):
                mask = segmenter.segment(scan, warn=False)
                scores[i].append(dice(reference > 0, mask.labels > 0))
                if progress is not None:
                    progress(i * n_scans + len(scores[i]), 2 * n_scans)
    names = (*(case.name for case in held_out), "sample")
    return tuple(map(ScoreChange, names, *scores))


def _references(held_out: Sequence[ReviewCase]) -> Iterator[tuple[Scan, NDArray[np.uint8]]]:
    for case in held_out:
        scan, _, labels = read_labels_of(case)
        yield scan, labels
    scan = read(SAMPLE / "ct.nii.gz")
    yield scan, read_mask(SAMPLE / "lungs.nii.gz", scan).labels
