"""DICOM codes of classes, by which other programs identify the structures of a mask."""

from __future__ import annotations

from pleura.scan.labels import Label

ClassCode = tuple[str, str, str]
"""Coding scheme, code value and meaning."""

_ORGAN: ClassCode = ("SCT", "123037004", "Anatomical structure")
_ALTERED: ClassCode = ("SCT", "49755003", "Morphologically Altered Structure")
_TISSUE: ClassCode = ("SCT", "85756007", "Tissue")
_KNOWN_NAMES = {
    "right lung": "3341006",
    "left lung": "44029006",
    "lung": "39607008",
    "lungs": "39607008",
    "middle lobe of right lung": "72481006",
    "trachea": "44567001",
    "heart": "80891009",
    "aorta": "15825003",
    "esophagus": "32849002",
    "liver": "10200004",
    "spinal cord": "2748008",
}
_KNOWN_LESIONS = {
    "lesion": "52988006",
    "lesions": "52988006",
    "nodule": "27925004",
    "mass": "4147007",
    "neoplasm": "108369006",
    "tumor": "108369006",
    "pleural effusion": "60046008",
    "effusion": "60046008",
}
"""SNOMED CT codes of names of classes (PS3.16 CID 7151 and 7159)."""


def class_codes(label: Label) -> tuple[ClassCode, ClassCode]:
    """Return the category and the type of a class: by its code, or else by its name."""
    known = (_KNOWN_NAMES | _KNOWN_LESIONS).get(label.name.casefold())
    code = label.code or (("SCT", known, label.name.capitalize()) if known else _TISSUE)
    return (_ALTERED if code[1] in _KNOWN_LESIONS.values() else _ORGAN), code
