"""Selection of the structures or labels of a mask file, by name, code or number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

from pleura.errors import DataError
from pleura.formats.segments import Segment, SegmentFile
from pleura.names import counted, did_you_mean, shorten_list
from pleura.scan.labels import BOTH, LEFT, RIGHT, Label

LabelPreset = Literal["totalsegmentator", "lungmask", "moose"]
"""Name of a tool whose lobes become right and left lung."""

RoiSelection: TypeAlias = Mapping[str, int] | LabelPreset
"""Labels by the name, code (``SCT:3341006``) or number of structures, or the name of a tool."""

PRESETS: tuple[LabelPreset, ...] = get_args(LabelPreset)


class Scheme(NamedTuple):
    """Labels of lobes that a tool writes: which are of the right lung, which of the left."""

    name: str
    right: tuple[int, ...]
    left: tuple[int, ...]

    def label_by_value(self) -> dict[int, int]:
        """Return the label of each value."""
        return dict.fromkeys(self.right, RIGHT) | dict.fromkeys(self.left, LEFT)


SCHEMES: dict[LabelPreset, Scheme] = {
    "totalsegmentator": Scheme("lobes of TotalSegmentator", (12, 13, 14), (10, 11)),
    "lungmask": Scheme("lobes of lungmask", (3, 4, 5), (1, 2)),
    "moose": Scheme("lobes of MOOSE", (3, 4, 5), (1, 2)),
}
"""Lobes in label maps of TotalSegmentator 2 (class map ``total``), of lungmask 0.2 (model
``LTRCLobes``) and of MOOSE 2 (``clin_ct_lungs``, in ``moosez/constants.py``)."""

_LUNG_CODES = ("SCT:39607008", "SRT:T-28000")
_SIDE_CODES = {RIGHT: ("SCT:24028007", "SRT:G-A100"), LEFT: ("SCT:7771000", "SRT:G-A101")}
_CODES = {RIGHT: ("SCT:3341006",), LEFT: ("SCT:44029006",)}
_BOTH_CODES = ("SCT:74101002",)
_LOBE_CODES = {
    RIGHT: ("SCT:42400003", "SCT:72481006", "SCT:266005"),
    LEFT: ("SCT:44714003", "SCT:41224006"),
}
_ANY_LOBE_CODES = ("SCT:45653009", "SCT:90572001", "SCT:40020002")
"""SNOMED CT codes of lungs, lobes and sides (PS3.16 CID 4031, CID 244), and retired codes."""

_SIDE_WORDS = {RIGHT: ("r", "right", "rt"), LEFT: ("l", "left", "lt")}
_NAMES = {
    side: {f"lung{word}" for word in words} | {f"{word}lung" for word in words}
    for side, words in _SIDE_WORDS.items()
}
_BOTH_NAMES = {"lung", "lungs", "bothlungs", "lungsboth", "totallung", "lungtotal"}
_LOBE_NAMES = {
    side: {
        name
        for lobe in ("upper", "middle", "lower")
        for name in (
            f"lung{lobe}lobe{word}",
            f"{word}{lobe}lobe",
            f"{lobe}lobe{word}",
            f"lung{word[0]}{lobe[0]}l",
            f"{word[0]}{lobe[0]}l",
        )
    }
    for side, word in ((RIGHT, "right"), (LEFT, "left"))
}
"""Names of AAPM TG-263, of TotalSegmentator, and common ones, without case and punctuation."""


class Selection(NamedTuple):
    """Structures by label, whether the lungs are separate, and why these were selected."""

    segments: dict[int, list[Segment]]
    sides: bool
    reason: str
    warning: bool = False


def parse_roi(text: str) -> dict[str, int]:
    """Return the labels by name in a text such as ``Lung_R=1,Lung_L=2``.

    Raises
    ------
    DataError
        The text has another form.
    """
    parts = re.findall(r"\s*(.+?)\s*=\s*(\d{1,6})\s*(?:,|$)", text)
    if not parts or not re.fullmatch(r"(\s*.+?\s*=\s*\d{1,6}\s*(,|$))+", text):
        raise DataError(
            f"'{text}' is not a selection of structures",
            where=None,
            hint="pass names with labels, such as Lung_R=1,Lung_L=2",
        )
    return check_roi({name: int(label) for name, label in parts})


def check_roi(roi: Mapping[str, int]) -> dict[str, int]:
    """Return a selection whose labels are from 1 to 255.

    Raises
    ------
    DataError
        The selection is empty, or a label is out of range.
    """
    wrong = [f"{name}={label}" for name, label in roi.items() if not 1 <= label <= 255]
    if wrong or not roi:
        raise DataError(
            f"labels must be from 1 to 255: {shorten_list(wrong)}"
            if wrong
            else "the selection of structures is empty",
            where=None,
            hint="pass names with labels, such as Lung_R=1,Lung_L=2",
        )
    return dict(roi)


def labels_of(roi: RoiSelection | None) -> set[int]:
    """Return the labels of a selection; empty without one."""
    if roi is None:
        return set()
    return {*(SCHEMES[roi].label_by_value() if isinstance(roi, str) else roi).values()}


def selects_lungs(roi: RoiSelection | None) -> bool:
    """Return whether a selection is of both lungs; label 1 alone may be any structure."""
    return roi is None or labels_of(roi) == {RIGHT, LEFT}


def require_class_labels(roi: RoiSelection | None, classes: Sequence[Label]) -> None:
    """Refuse labels that are not those of classes.

    Raises
    ------
    DataError
        A label is not the value of a class.
    """
    unknown = sorted(labels_of(roi) - {label.value for label in classes})
    if unknown:
        known = ", ".join(f"{label.value} {label.name}" for label in classes)
        raise DataError(
            f"no class has the label {unknown[0]}",
            where=None,
            hint=f"select structures as the labels of the classes: {known}",
        )


def require_lung_labels(roi: RoiSelection | None) -> None:
    """Refuse labels other than those of lungs: 1 right and 2 left, or 1 both.

    Raises
    ------
    DataError
        A label is above 2.
    """
    if isinstance(roi, Mapping) and max(check_roi(roi).values()) > LEFT:
        raise DataError(
            "the labels of lungs are 1 and 2",
            where=", ".join(f"{name}={label}" for name, label in roi.items()),
            hint="select the right lung as 1 and the left lung as 2, or any one structure as 1",
        )


def select_segments(file: SegmentFile, roi: RoiSelection | None) -> Selection:
    """Select the structures of a file.

    Parameters
    ----------
    file:
        The file.
    roi:
        The requested structures; by default, or with the name of a tool, right and left lung,
        their lobes, or both lungs, by code or by name.

    Raises
    ------
    DataError
        A requested structure is missing, or several have its name; or the file has no lungs.
    """
    if roi is None or isinstance(roi, str):
        return _select_lungs(file)
    segments: dict[int, list[Segment]] = {}
    for name, label in check_roi(roi).items():
        segments.setdefault(label, []).extend(_find(file, name))
    return Selection(segments, LEFT in segments, "as requested")


def select_classes(file: SegmentFile, classes: Sequence[Label]) -> dict[str, int]:
    """Return a selection of the structures of a file that have the name or the code of a class.

    Names of the lungs stand for each other: the class ``right lung`` is the structure ``Lung_R``.

    Raises
    ------
    DataError
        No structure has the name of a class.
    """
    selection = {}
    for label in classes:
        code = "" if label.code is None else f"{label.code[0]}:{label.code[1]}"
        lungs = _find_lung(file, _key(label.name))
        for segment in file.segments:
            same_name = _key(segment.name) == _key(label.name)
            if same_name or code in segment.codes or segment in lungs:
                selection[str(segment.number)] = label.value
    if not selection:
        known = shorten_list([str(segment) for segment in file.segments], 10)
        names = shorten_list([label.name for label in classes], 10)
        raise DataError(
            f"the {file.kind} has no structure with the name of a label ({names})",
            where=file.origin.path,
            hint=f"use the names of its structures in the recipe key data.labels: {known}",
        )
    return selection


def select_values(roi: RoiSelection, where: Path | None) -> dict[int, int]:
    """Return the label by value in a label map without names.

    Raises
    ------
    DataError
        A structure is requested by name.
    """
    if isinstance(roi, str):
        if roi not in SCHEMES:
            raise DataError(
                f"the labels of '{roi}' are unknown{did_you_mean(roi, PRESETS)}",
                where=None,
                hint=f"pass one of {', '.join(PRESETS)}",
            )
        return SCHEMES[roi].label_by_value()
    named = [name for name in roi if not name.isdecimal()]
    if named:
        raise DataError(
            f"the mask has no names of structures, such as {named[0]}",
            where=where,
            hint="pass the values in the file instead, such as 1=1,2=2",
        )
    return {int(value): label for value, label in check_roi(roi).items()}


def _find(file: SegmentFile, name: str) -> Sequence[Segment]:
    """Return the structures with a code, or the only one with a name or number."""
    coded = [s for s in file.segments if name.casefold() in {c.casefold() for c in s.codes}]
    if coded:
        return coded
    named = [s for s in file.segments if s.name == name]
    named = named or [s for s in file.segments if _key(s.name) == _key(name) != ""]
    if not named and name.isdecimal():
        named = [s for s in file.segments if s.number == int(name)]
    named = named or _find_lung(file, _key(name))
    if len(named) == 1:
        return named
    if named:
        raise _ambiguous(file, named)
    known = [str(segment) for segment in file.segments]
    raise DataError(
        f"the {file.kind} has no structure '{name}'{did_you_mean(name, known)}",
        where=file.origin.path,
        hint=f"pass one of {shorten_list(known, 20)}",
    )


def _find_lung(file: SegmentFile, key: str) -> list[Segment]:
    """Return the structures that are the lung, or the lungs, that a name stands for."""
    for side in (RIGHT, LEFT):
        if key in _NAMES[side]:
            return [s for s in file.segments if _is_lung(s, side)]
    return [s for s in file.segments if _is_both_lungs(s)] if key in _BOTH_NAMES else []


def _select_lungs(file: SegmentFile) -> Selection:
    whole = {side: [s for s in file.segments if _is_lung(s, side)] for side in (RIGHT, LEFT)}
    lobes = {side: [s for s in file.segments if _is_lobe(s, side)] for side in (RIGHT, LEFT)}
    both = [s for s in file.segments if _is_both_lungs(s)]
    for named in (*whole.values(), both):
        if len(named) > 1:
            raise _ambiguous(file, named)
    for sides, reason in ((whole, "the lungs of the file"), (lobes, "the lobes of the file")):
        if all(sides.values()):
            return Selection(sides, True, reason)
    if both:
        return Selection({BOTH: both}, False, "the lungs of the file, as one structure")
    one = {side: whole[side] or lobes[side] for side in (RIGHT, LEFT) if whole[side] or lobes[side]}
    if one:
        return Selection(one, True, "the file has only these parts of the lungs", warning=True)
    known = [str(segment) for segment in file.segments]
    raise DataError(
        f"the {file.kind} has no structure of the lungs: {shorten_list(known, 10)}",
        where=file.origin.path,
        hint=f"select structures by name and label, such as {known[0]}=1",
    )


def _ambiguous(file: SegmentFile, segments: Sequence[Segment]) -> DataError:
    numbers = [segment.number for segment in segments]
    names = list(dict.fromkeys(map(str, segments)))
    return DataError(
        f"{counted(len(segments), 'structure')} of the {file.kind} can be meant: "
        f"{' and '.join(names)} (numbers {', '.join(map(str, numbers))})",
        where=file.origin.path,
        hint=f"select one by its number, such as {numbers[0]}=1",
    )


def _is_lung(segment: Segment, side: int) -> bool:
    coded = _has(segment, _LUNG_CODES) and _has(segment, _SIDE_CODES[side])
    return coded or _has(segment, _CODES[side]) or _key(segment.name) in _NAMES[side]


def _is_lobe(segment: Segment, side: int) -> bool:
    coded = _has(segment, _ANY_LOBE_CODES) and _has(segment, _SIDE_CODES[side])
    return coded or _has(segment, _LOBE_CODES[side]) or _key(segment.name) in _LOBE_NAMES[side]


def has_lungs(file: SegmentFile) -> bool:
    """Return whether a structure of a file is a lung, a lobe, or both lungs."""
    return any(
        _is_both_lungs(s) or any(_is_lung(s, side) or _is_lobe(s, side) for side in (RIGHT, LEFT))
        for s in file.segments
    )


def _is_both_lungs(segment: Segment) -> bool:
    if _is_lung(segment, RIGHT) or _is_lung(segment, LEFT):
        return False
    return _has(segment, (*_LUNG_CODES, *_BOTH_CODES)) or _key(segment.name) in _BOTH_NAMES


def _has(segment: Segment, codes: Iterable[str]) -> bool:
    return not segment.codes.isdisjoint(codes)


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
