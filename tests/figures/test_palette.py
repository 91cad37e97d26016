import re
from pathlib import Path

import pytest

import pleura
from pleura.figures import palette

PACKAGE = Path(pleura.__file__).parent
COLOURS = {n: v for n, v in vars(palette).items() if n.isupper() and isinstance(v, str)}


def test_rgb_of_a_colour():
    assert palette.rgb("#e69f00") == (230, 159, 0)


def test_each_meaning_has_its_own_colour():
    assert len(set(COLOURS.values())) == len(COLOURS)


NAMES = {
    "right": palette.RIGHT_LUNG,
    "left": palette.LEFT_LUNG,
    "reference": palette.REFERENCE,
    "difference": palette.DIFFERENCE,
    "training": palette.TRAINING,
    "validation": palette.VALIDATION,
    "prediction": palette.PREDICTION,
    "hyperinflated": palette.HYPERINFLATED,
    "normally-aerated": palette.NORMALLY_AERATED,
    "poorly-aerated": palette.POORLY_AERATED,
    "not-aerated": palette.NOT_AERATED,
}


@pytest.mark.parametrize(
    ("sheet", "required"),
    [
        ("figures/design.css", NAMES.keys()),
        ("report/page.css", set()),
        ("viewer/web/style.css", set()),
    ],
)
def test_style_sheets_repeat_the_palette(sheet, required):
    text = (PACKAGE / sheet).read_text(encoding="utf-8")
    found = dict(re.findall(rf"--({'|'.join(NAMES)}): (#\w+)", text))
    assert required <= found.keys()
    assert found == {name: NAMES[name] for name in found}
