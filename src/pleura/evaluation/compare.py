"""Masks of any tool held against references, in 2-D or 3-D."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pleura.errors import DataError
from pleura.evaluation.metrics import accuracy, dice, iou
from pleura.evaluation.statistics import Difference, Spread, paired, spread
from pleura.evaluation.surface import distance_metrics, largest_missed
from pleura.files.hashing import hash_files
from pleura.files.listing import list_below
from pleura.files.tables import csv_text
from pleura.formats.matching import Matching, case_name, match_files
from pleura.formats.pictures import SUFFIXES as PICTURES
from pleura.formats.read import VOLUMES, scan_name
from pleura.masks.labels import PLAIN, read_labels
from pleura.scan.geometry import Reorientation
from pleura.scan.labels import LEFT, RIGHT
from pleura.scan.scan import Scan
from pleura.typing import BoolArray, Progress

SMALLER_IS_BETTER = ("hd", "hd95", "mean_distance", "largest_missed", "volume_error")
SIGNED = "volume_difference"


@dataclass(frozen=True)
class Score:
    """One region of one case. ``unit`` is mm, or px where the spacing is not known.

    ``outcome``: ``both`` have lung; ``neither`` (no metric is defined: left out of every mean);
    ``missed`` (nothing found) and ``invented`` (nothing there): overlaps are 0 and distances the
    grid's diagonal, so neither can make a mean look better. ``volumes`` are those of prediction and
    reference, in mm3 or voxels; where the case is ``flat``, one slice, areas.
    """

    case: str
    patient: str
    region: str
    unit: str
    outcome: str
    metrics: Mapping[str, float]
    volumes: tuple[float, float] = (0.0, 0.0)
    flat: bool = False


@dataclass(frozen=True)
class Comparison:
    """All scores, and their spread by region and metric; ``fingerprint`` is that of the files.

    ``labels`` tells how the labels of masks were interpreted, other than 1 right and 2 left lung or
    1 both, with the number of masks; of a text that begins with "warning", masks should be checked.
    """

    scores: tuple[Score, ...]
    fingerprint: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)

    def of(self, region: str) -> list[Score]:
        """Return the scores of a region that have metrics."""
        return [s for s in self.scores if s.region == region and s.outcome != "neither"]

    @property
    def regions(self) -> list[str]:
        """The regions that were scored, both lungs first."""
        return list(dict.fromkeys(score.region for score in self.scores))

    def spreads(self, region: str) -> dict[str, Spread]:
        """Return every metric of a region over its cases."""
        scores = self.of(region)
        if not scores:
            return {}
        patients = [score.patient for score in scores]
        return {
            name: spread([score.metrics[name] for score in scores], patients, _worst(name))
            for name in scores[0].metrics
        }

    def outcomes(self, region: str) -> dict[str, int]:
        """Count the outcomes of a region."""
        found = [score.outcome for score in self.scores if score.region == region]
        return {name: found.count(name) for name in ("both", "neither", "missed", "invented")}

    def by_group(self, groups: Mapping[str, str]) -> dict[str, Comparison]:
        """Return the cases of each group apart, such as of each scanner; ``groups`` by case.

        A case that is in no group is in ``(not given)``.
        """
        found: dict[str, list[Score]] = {}
        for score in self.scores:
            found.setdefault(groups.get(score.case) or "(not given)", []).append(score)
        return {name: Comparison(tuple(found[name])) for name in sorted(found)}

    def summary(self) -> dict[str, Any]:
        """Return outcomes and spreads by region, as what JSON can hold."""
        return {
            region: {
                "outcomes": self.outcomes(region),
                "metrics": {k: asdict(v) for k, v in self.spreads(region).items()},
            }
            for region in self.regions
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        return {
            "fingerprint": self.fingerprint,
            "labels": dict(self.labels),
            "summary": self.summary(),
            "cases": [asdict(score) for score in self.scores],
        }

    def to_csv(self) -> str:
        """Return a row a case and region."""
        names = list(dict.fromkeys(name for score in self.scores for name in score.metrics))
        rows = []
        for one in self.scores:
            cells = [f"{one.metrics[name]:.6g}" if name in one.metrics else "" for name in names]
            rows.append([one.case, one.patient, one.region, one.unit, one.outcome, *cells])
        return csv_text(["case", "patient", "region", "unit", "outcome", *names], rows)


def compare(
    predicted: str | Path,
    reference: str | Path,
    *,
    patients: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Hold masks against references: two files, or two folders matched by name.

    ``patients`` maps cases to patients; else each case is one of its own.

    Raises
    ------
    ScanError, DataError
        A mask cannot be read, has no partner, or lies on another grid.
    """
    pairs = match_masks(Path(predicted), Path(reference))
    scores: list[Score] = []
    labels: Counter[str] = Counter()
    for i, (name, first, second) in enumerate(pairs):
        found, wanted = read_labels(first), read_labels(second)
        scores += _score_case(name, (patients or {}).get(name, name), found, wanted)
        for kind, mask in (("prediction", found), ("reference", wanted)):
            (decision,) = mask.decisions
            if decision.warning or decision.reason != PLAIN:
                warning = "warning: " if decision.warning else ""
                labels[f"{warning}{kind}: {decision.choice} ({decision.reason})"] += 1
        if progress is not None:
            progress(i + 1, len(pairs))
    files = fingerprint(file for _, *both in pairs for file in both)
    return Comparison(tuple(scores), files, dict(labels))


def outcomes_text(counted: Mapping[str, int]) -> str:
    """Say how many cases had which outcome."""
    told = {
        "both": "with lung in both masks",
        "neither": "without lung in either",
        "missed": "missed",
        "invented": "invented",
    }
    return ", ".join(f"{counted[name]} {text}" for name, text in told.items() if counted[name])


def fingerprint(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the names and contents of files, in their order."""
    return hash_files(files, names=True)


def differences(first: Comparison, second: Comparison, region: str) -> dict[str, Difference]:
    """Compare two models by the cases that both have: second less first.

    Where nothing is there, to find nothing is right: it counts as such beside what was invented.

    Raises
    ------
    DataError
        The cases differ, or none of them holds anything.
    """
    one, two = ({s.case: s for s in c.scores if s.region == region} for c in (first, second))
    names = [name for name in one if name in two and (one[name].metrics or two[name].metrics)]
    if one.keys() != two.keys() or not names:
        raise DataError(
            f"the two comparisons share {len(names)} cases that hold lung",
            where=region,
            hint="compare both models on the same references",
        )
    metrics = next(filter(None, (one[name].metrics for name in names)), two[names[0]].metrics)
    return {
        metric: paired(
            [one[name].metrics.get(metric, _perfect(metric)) for name in names],
            [two[name].metrics.get(metric, _perfect(metric)) for name in names],
            [one[name].patient for name in names],
        )
        for metric in metrics
    }


def _perfect(metric: str) -> float:
    return 0.0 if metric in (*SMALLER_IS_BETTER, SIGNED) else 1.0


def _worst(metric: str) -> Callable[[Iterable[float]], float]:
    if metric == SIGNED:
        return partial(max, key=abs)
    return max if metric in SMALLER_IS_BETTER else min


def match_masks(
    predicted: Path, reference: Path, kind: str = "prediction"
) -> list[tuple[str, Path, Path]]:
    """Return (case, predicted, reference) by name; a suffix such as ``_lungs`` does not count.

    ``kind`` is what the first are called in an error.

    Raises
    ------
    DataError
        A folder holds no mask, a name is not unique, or a reference has no prediction.
    """
    if predicted.is_file() and reference.is_file():
        return [(scan_name(reference), predicted, reference)]
    found = match_below(predicted, reference)
    for first, second, *_ in found.ambiguous:
        raise DataError(
            f"two files of the case '{case_name(first)}': {first.name} and {second.name}",
            where=first.parent,
            hint="keep one per case",
        )
    missing = [path.relative_to(reference).as_posix() for path in found.second_alone]
    if missing:
        raise DataError(
            f"{len(missing)} reference(s) without {kind}: {', '.join(missing[:5])}",
            where=predicted,
            hint="add them; an empty mask where nothing was found"
            if kind == "prediction"
            else "add them, or take these references out",
        )
    return sorted(found.pairs)


def match_below(first: Path, second: Path) -> Matching:
    """Match the images and masks below two folders (`match_files`), whatever is missing.

    Raises
    ------
    DataError
        A folder is missing, or holds no image and no mask.
    """
    return match_files(_files_below(first), _files_below(second), (first, second))


def _files_below(folder: Path) -> list[Path]:
    endings = (*VOLUMES, *PICTURES)
    if not folder.is_dir():
        raise DataError("no such folder", where=folder, hint="give two folders, or two files")
    listing = list_below(folder, outside=True)
    for error in listing.left_out:
        raise DataError(error.message, where=error.where, hint=error.hint)
    found = [
        path
        for path in listing.files
        if path.name.lower().endswith(endings) and "_preview" not in path.name
    ]
    if not found:
        raise DataError("no mask here", where=folder, hint=f"give files in {', '.join(endings)}")
    return found


def _score_case(name: str, patient: str, found: Scan, wanted: Scan) -> list[Score]:
    first, second = orders_of(found, wanted)
    grid, own = first.apply_to(found.geometry), second.apply_to(wanted.geometry)
    if not grid.fits(own):
        raise DataError(
            f"the two masks lie on different grids: {grid.difference(own)}",
            where=found.source,
            hint="bring the prediction onto the reference's grid first",
        )
    steps = next((g.steps for g in (own, grid) if g.spacing_known), None)
    labels = first.apply(found.hu()), second.apply(wanted.hu())
    return score_case(name, patient, *labels, steps)


def score_case(
    name: str,
    patient: str,
    found: NDArray[Any],
    wanted: NDArray[Any],
    spacing: Sequence[float] | None,
) -> list[Score]:
    """Score labels (slices, rows, columns) against a reference of the same shape.

    Right and left are scored too where both have them; ``spacing`` in mm, None where not known.
    """
    regions = {"lungs": (found > 0, wanted > 0)}
    if _sided(found, wanted):
        regions |= {
            side: (found == label, wanted == label)
            for side, label in (("right", RIGHT), ("left", LEFT))
        }
    return [_score(name, patient, region, masks, spacing) for region, masks in regions.items()]


def _sided(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    """Tell whether both tell sides; a prediction of one label that covers both sides does not."""
    if not {RIGHT, LEFT} <= set(np.unique(wanted)):
        return False
    labels = set(np.unique(found))
    if RIGHT in labels and LEFT not in labels and (found[wanted == LEFT] == RIGHT).mean() > 0.5:
        return False
    return labels <= {0, RIGHT, LEFT}


def orders_of(*scans: Scan) -> list[Reorientation]:
    """Return what makes the arrays of scans and masks canonical axial slices.

    One of which nobody knows how it lies is taken to be stored as one that says so: a TIFF that was
    written of a NIfTI is.
    """
    known = [s.geometry.to_canonical() for s in scans if s.geometry.orientation_known]
    return [
        known[0] if known and not s.geometry.orientation_known else s.geometry.to_canonical()
        for s in scans
    ]


def _score(
    name: str,
    patient: str,
    region: str,
    masks: tuple[BoolArray, BoolArray],
    spacing: Sequence[float] | None,
) -> Score:
    found, wanted = masks
    outcome = {
        (True, True): "both",
        (False, False): "neither",
        (False, True): "missed",
        (True, False): "invented",
    }[bool(found.any()), bool(wanted.any())]
    unit = "px" if spacing is None else "mm"
    if outcome == "neither":
        return Score(name, patient, region, unit, outcome, {})
    steps = (1.0, 1.0, 1.0) if spacing is None else spacing
    flat = len(wanted) == 1
    if flat:
        found, wanted, steps = found[0], wanted[0], steps[1:]
    both, a, b = (int(np.count_nonzero(m)) for m in (found & wanted, found, wanted))
    voxel = float(np.prod(steps))
    return Score(
        name,
        patient,
        region,
        unit,
        outcome,
        {
            "dice": dice(wanted, found),
            "iou": iou(wanted, found),
            "precision": both / a if a else 0.0,
            "recall": both / b if b else 0.0,
            "accuracy": accuracy(wanted, found),
            **distance_metrics(wanted, found, steps),
            "volume_difference": (a - b) * voxel,
            "volume_error": abs(a - b) * voxel,
            "largest_missed": largest_missed(wanted, found, steps),
        },
        (a * voxel, b * voxel),
        flat,
    )
