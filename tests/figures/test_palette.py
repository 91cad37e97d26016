import re
from pathlib import Path

import pytest

import pleura
from pleura.figures import palette

PACKAGE = Path(pleura.__file__).parent
COLOURS = {name: value for name, value in vars(palette).items() if name.isupper()}


def test_rgb_of_a_colour():
    assert palette.rgb("#e69f00") == (230, 159, 0)


def test_each_meaning_has_its_own_colour():
    assert len(set(COLOURS.values())) == len(COLOURS)


@pytest.mark.parametrize("sheet", ["report/page.html", "viewer/web/style.css"])
def test_style_sheets_repeat_the_palette(sheet):
    text = (PACKAGE / sheet).read_text(encoding="utf-8")
    names = {
        "right": palette.RIGHT_LUNG,
        "left": palette.LEFT_LUNG,
        "reference": palette.REFERENCE,
        "difference": palette.DIFFERENCE,
        "second-series": palette.VALIDATION,
    }
    found = dict(re.findall(rf"--({'|'.join(names)}): (#\w+)", text))
    assert {"right", "left"} <= set(found)
    assert found == {name: names[name] for name in found}


@pytest.mark.parametrize(
    ("table", "colours"),
    [
        ("LABELS", (palette.RIGHT_LUNG, palette.LEFT_LUNG)),
        ("MARKS", (palette.REFERENCE, palette.DIFFERENCE)),
    ],
)
def test_viewer_repeats_the_palette(table, colours):
    script = (PACKAGE / "viewer/web/viewer.js").read_text(encoding="utf-8")
    channels = re.search(rf"{table} = {{ R: \[(.*?)\], G: \[(.*?)\], B: \[(.*?)\]", script)
    rows = [[int(value) for value in row.split(",")] for row in channels.groups()]
    assert list(zip(*rows, strict=True))[1:] == [palette.rgb(colour) for colour in colours]
