"""Whether a set of images and masks is fit to train on, and what to know about it first."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from pleura.dataset.duplicates import find_near_duplicates, pixel_hash, thumbnail
from pleura.dataset.label_errors import Probability, SuspectedLabel, find_label_errors
from pleura.dataset.pairs import (
    Pair,
    Pairing,
    check_sizes,
    expand_slices,
    match_folders,
    read_image_2d,
    read_mask_2d,
    read_pair,
)
from pleura.dataset.volumes import stated_values
from pleura.errors import PleuraError, ScanError
from pleura.intensity.decision import decide_units_from_levels
from pleura.intensity.estimate import UnitsEstimate
from pleura.intensity.levels import Levels, measure_levels
from pleura.intensity.mapping import IntensityMapping
from pleura.intensity.units import estimate_units_from_levels
from pleura.typing import AnyArray

T = TypeVar("T")
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something about a set: an error keeps it from training, a warning from honest numbers."""

    severity: Severity
    message: str
    files: tuple[Path, ...]
    hint: str


@dataclass(frozen=True)
class LungFraction:
    """The part of each mask that is lung, over the set's readable masks."""

    smallest: float
    median: float
    largest: float
    empty: int


@dataclass(frozen=True)
class CheckReport:
    """What is known about a set; sizes and dtypes with the number of images that have them."""

    images: Path
    masks: Path
    pairs: int
    readable: int
    sizes: Mapping[str, int]
    dtypes: Mapping[str, int]
    values: tuple[float, float] | None
    lung: LungFraction | None
    units: UnitsEstimate
    findings: tuple[Finding, ...]
    suspects: tuple[SuspectedLabel, ...] = ()

    @property
    def fit_to_train(self) -> bool:
        """Whether no error was found."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        report = {**asdict(replace(self, suspects=())), "fit_to_train": self.fit_to_train}
        report["images"], report["masks"] = str(self.images), str(self.masks)
        for finding in report["findings"]:
            finding["files"] = [str(path) for path in finding["files"]]
        report["suspects"] = [
            {
                "name": one.name,
                "image": str(one.pair.image),
                "mask": str(one.pair.mask),
                "score": one.score,
                "reasons": one.reasons,
            }
            for one in self.suspects
        ]
        return report


@dataclass(frozen=True)
class _Look:
    """What is kept of a pair in place of its pixels; None where a file could not be read."""

    pair: Pair
    levels: Levels | None = None
    size: str = ""
    dtype: str = ""
    image_print: bytes | None = None
    mask_print: bytes | None = None
    thumbnail: NDArray[np.float32] | None = None
    lung: float | None = None
    errors: tuple[PleuraError, ...] = ()


def check(
    images: str | Path,
    masks: str | Path,
    *,
    probability: Probability | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Read every pair of two folders, past bad files, and report what is found.

    Masks that look wrong are ranked; with the ``probability`` of a model's engine, by its word too.
    ``progress`` is called with the number of pairs read and of all pairs.

    Raises
    ------
    DataError
        A folder is unreadable or holds no picture.
    """
    images, masks = Path(images), Path(masks)
    pairing = match_folders(images, masks)
    looks: list[_Look] = []
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        for i, pair in enumerate(pairing.pairs):
            looks.extend(_look_at(one) for one in _slices_of(pair))
            if progress is not None:
                progress(i + 1, len(pairing.pairs))
    seen = [look for look in looks if look.levels is not None]
    levels = [look.levels for look in seen if look.levels is not None]
    stated = _stated([look.pair.image for look in seen])
    units = estimate_units_from_levels(levels, stated)
    line = _line(units)
    other = {seen[i].pair.name for i in units.differing}
    readable = [x.pair for x in looks if not x.errors and x.pair.name not in other]
    suspects, turned = ([], []) if line is None else find_label_errors(readable, line, probability)
    sizes = dict(Counter(look.size for look in seen).most_common())
    dtypes = dict(Counter(look.dtype for look in seen).most_common())
    return CheckReport(
        images=images,
        masks=masks,
        pairs=len(looks),
        readable=sum(not look.errors for look in looks),
        sizes=sizes,
        dtypes=dtypes,
        values=(min(x.minimum for x in levels), max(x.maximum for x in levels)) if levels else None,
        lung=_lung_fraction([look.lung for look in looks if look.lung is not None]),
        units=units,
        findings=(
            *_pairing_findings(pairing),
            *_reading_findings(looks),
            *_volume_findings(noted),
            *_units_findings(units, levels, [look.pair.image for look in seen]),
            *_twin_findings(looks),
            *_empty_findings(looks, masks),
            *_near_twin_findings(looks),
            *_turned_findings(turned),
            *_suspect_findings(suspects),
            *_variety_findings(sizes, dtypes),
        ),
        suspects=tuple(suspects),
    )


def _slices_of(pair: Pair) -> list[Pair]:
    """Return a pair for each slice of a volume; the pair itself where it cannot be read."""
    return _try(lambda: list(expand_slices(pair)), []) or [pair]


def _look_at(pair: Pair) -> _Look:
    errors: list[PleuraError] = []
    image: AnyArray | None
    mask: NDArray[np.uint8] | None
    if pair.index is None:
        image = _try(lambda: read_image_2d(pair.image), errors)
        mask = _try(lambda: read_mask_2d(pair.mask), errors)
    else:
        image, mask = _try(lambda: read_pair(pair), errors) or (None, None)
    if image is not None and mask is not None:
        sizes = image.shape, mask.shape
        _try(lambda: check_sizes(pair, *sizes), errors)
    look = _Look(pair, errors=tuple(errors))
    if image is not None:
        look = replace(
            look,
            levels=measure_levels(_stated_image(pair, image)),
            size="x".join(str(side) for side in image.shape),
            dtype=str(image.dtype),
            image_print=pixel_hash(image),
            thumbnail=thumbnail(image),
        )
    if mask is not None:
        look = replace(look, mask_print=pixel_hash(mask), lung=float(mask.mean()))
    return look


def _stated_image(pair: Pair, image: AnyArray) -> AnyArray:
    """Return an image in the values that its file states: those of volumes are read in HU."""
    if pair.index is None:
        return image
    values: AnyArray = stated_values(pair.image)[pair.index]
    return values


def _try(read: Callable[[], T], errors: list[PleuraError]) -> T | None:
    try:
        return read()
    except PleuraError as error:
        errors.append(error)
        return None


def _lung_fraction(fractions: Sequence[float]) -> LungFraction | None:
    if not fractions:
        return None
    return LungFraction(min(fractions), median(fractions), max(fractions), fractions.count(0))


def _pairing_findings(pairing: Pairing) -> Iterator[Finding]:
    for files in pairing.ambiguous:
        what = f"{len(files)} files share the name '{files[0].stem}'"
        yield Finding("error", what, files, "keep one file a name")
    for files, kind in ((pairing.unmatched_images, "mask"), (pairing.unmatched_masks, "image")):
        if files:
            yield Finding(
                "error",
                f"{_count(files, 'file')} without {kind}",
                files,
                f"add each missing {kind} under the same name, or move its partner away",
            )


def _reading_findings(looks: Sequence[_Look]) -> Iterator[Finding]:
    """Tell errors with one way out together."""
    by_hint: dict[str, list[tuple[PleuraError, Path]]] = {}
    for look in looks:
        for error in look.errors:
            path = look.pair.mask if error.where == str(look.pair.mask) else look.pair.image
            by_hint.setdefault(error.hint, []).append((error, path))
    for hint, errors in by_hint.items():
        what = errors[0][0].message
        if len(errors) > 1:
            what = f"{len(errors)} files with an error of one kind; the first: {what}"
        yield Finding("error", what, tuple(path for _, path in errors), hint)


def _volume_findings(noted: Sequence[warnings.WarningMessage]) -> Iterator[Finding]:
    for text in dict.fromkeys(str(one.message) for one in noted):
        yield Finding("warning", text, (), "look at the file: `pleura info`, `pleura view`")


def _stated(images: Sequence[Path]) -> bool:
    """Tell whether the files state that their values are HU, as DICOM does."""
    return bool(images) and all(path.suffix.lower() == ".dcm" for path in images)


def _units_findings(
    units: UnitsEstimate, levels: Sequence[Levels], images: Sequence[Path]
) -> Iterator[Finding]:
    if not images:
        return
    try:
        decided = decide_units_from_levels(levels, _stated(images), units)
    except ScanError as error:
        yield Finding("warning", error.message, (), f"`segment` refuses such images: {error.hint}")
    else:
        if decided.warning or units.noise is not None:
            yield Finding("warning", units.reason, (), _units_fix(units))
    if units.differing:
        files = tuple(images[i] for i in units.differing)
        yield Finding(
            "warning",
            f"{_count(files, 'image')} in other units than the rest of the set",
            files,
            "export them again in the units of the others, or leave them out",
        )


def _units_fix(units: UnitsEstimate) -> str:
    if units.kind == "HU":
        return "expect scans from elsewhere to look different: they carry no such noise"
    if units.kind == "mixed":
        return "bring all images to HU before you train"
    if units.scale is None or units.offset is None:
        return "train for this set alone, or export the CT values themselves (16-bit TIFF)"
    if units.wraparound is not None:
        return "export it again as signed integers"
    sign = "-" if units.offset > 0 else "+"
    inverse = f"stored {sign} {abs(units.offset):.6g}" if units.offset else "stored"
    if units.scale != 1:
        inverse = f"{f'({inverse})' if units.offset else inverse} / {units.scale:.4g}"
    return f"train for this set alone, or convert it: HU = {inverse}"


def _twin_findings(looks: Sequence[_Look]) -> Iterator[Finding]:
    for twins in _alike(looks, lambda look: look.image_print):
        same = len({look.mask_print for look in twins}) == 1
        yield Finding(
            "warning",
            f"{len(twins)} images are the same, pixel for pixel; their masks "
            f"{'are too' if same else 'differ'}",
            tuple(look.pair.image for look in twins),
            "keep one of them: in two parts of a split they make the test dishonest",
        )
    for twins in _alike(looks, lambda look: look.mask_print if look.lung else None):
        if len({look.image_print for look in twins}) > 1:
            yield Finding(
                "warning",
                f"{len(twins)} masks are the same, pixel for pixel, on images that differ",
                tuple(look.pair.mask for look in twins),
                "look at them: a mask may have been saved under a wrong name",
            )


def _near_twin_findings(looks: Sequence[_Look]) -> Iterator[Finding]:
    """Tell images that are nearly the same; slices of one volume are expected to be."""
    seen = [look for look in looks if look.thumbnail is not None]
    pairs = [
        (seen[i].pair.image, seen[j].pair.image)
        for i, j in find_near_duplicates(
            [look.thumbnail for look in seen if look.thumbnail is not None]
        )
        if seen[i].pair.image != seen[j].pair.image and seen[i].image_print != seen[j].image_print
    ]
    if pairs:
        names = ", ".join(f"{a.name} and {b.name}" for a, b in pairs[:3])
        yield Finding(
            "warning",
            f"{len(pairs)} pairs of images nearly the same, as slices of one patient are: {names}",
            tuple(dict.fromkeys(path for pair in pairs for path in pair)),
            "keep such images in one part of the split (split.method=file)",
        )


def _turned_findings(turned: Sequence[Pair]) -> Iterator[Finding]:
    files = tuple(pair.image for pair in turned)
    if files:
        yield Finding(
            "note",
            f"{_count(files, 'slice')} upside down, or of patients who lay prone: "
            f"{', '.join(pair.name for pair in turned[:5])}",
            files,
            "turn them, if the pictures were saved so; nothing, if the patients lay so",
        )


def _alike(
    looks: Sequence[_Look], key: Callable[[_Look], bytes | None]
) -> Iterator[tuple[_Look, ...]]:
    groups: dict[bytes, list[_Look]] = {}
    for look in looks:
        mark = key(look)
        if mark is not None:
            groups.setdefault(mark, []).append(look)
    return (tuple(group) for group in groups.values() if len(group) > 1)


def _empty_findings(looks: Sequence[_Look], masks: Path) -> Iterator[Finding]:
    readable = [look for look in looks if look.lung is not None]
    empty = tuple(look.pair.mask for look in readable if look.lung == 0)
    if empty and len(empty) == len(readable):
        yield Finding(
            "error",
            "every mask is empty: there is no lung to learn",
            (masks,),
            "give masks with 0 outside and 255 (or 1) inside the lungs",
        )
    elif empty:
        hint = "nothing, if these slices show no lung"
        yield Finding("note", f"{_count(empty, 'mask')} without lung", empty, hint)


def _line(units: UnitsEstimate) -> IntensityMapping | None:
    if units.scale is None or units.offset is None:
        return None
    return IntensityMapping(units.scale, units.offset, wraparound=units.wraparound)


def _suspect_findings(suspects: Sequence[SuspectedLabel]) -> Iterator[Finding]:
    for suspect in suspects:
        what = f"{suspect.name} looks wrong: {'; '.join(suspect.reasons)}"
        hint = "look at it; draw it again, or leave it out with train --exclude"
        yield Finding("warning", what, (suspect.pair.mask,), hint)


def _variety_findings(sizes: Mapping[str, int], dtypes: Mapping[str, int]) -> Iterator[Finding]:
    if len(sizes) > 1:
        hint = "nothing: every image is brought to the network's grid"
        yield Finding("note", f"images of {len(sizes)} sizes: {_table(sizes)}", (), hint)
    if len(dtypes) > 1:
        hint = "nothing, if all were exported in the same units"
        yield Finding("note", f"images of {len(dtypes)} dtypes: {_table(dtypes)}", (), hint)


def _table(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _count(files: Sequence[Path], noun: str) -> str:
    return f"{len(files)} {noun}{'' if len(files) == 1 else 's'}"
