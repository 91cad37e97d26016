import re
from xml.etree import ElementTree

import pytest

from pleura.figures.design import icon, icons, style_sheet
from pleura.figures.palette import rgb

TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style_sheet()
    )
}
TEXTS = ("text", "muted", "accent", "error", "warning", "success")


def luminance(colour):
    """Return the relative luminance of WCAG 2.2."""
    channels = (value / 255 for value in rgb(colour))
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_of_wcag(theme):
    def of(first, second):
        return contrast(TOKENS[first][theme], TOKENS[second][theme])

    for text in TEXTS:
        for background in ("background", "surface", "raised", "hover"):
            assert of(text, background) >= 4.5, (text, background)
    for state in ("accent", "error", "warning", "success"):
        assert of(state, f"{state}-soft") >= 4.5, state
    assert of("on-accent", "accent") >= 4.5
    for background in ("background", "surface", "raised"):
        assert of("outline", background) >= 3, background  # boundaries of controls


def test_the_style_sheet_uses_only_its_own_tokens_and_loads_nothing():
    css = re.sub(r"/\*.*?\*/", "", style_sheet(), flags=re.DOTALL)
    defined = set(re.findall(r"(--[\w-]+):", css)) | {"--colour"}  # of the element with class "key"
    assert set(re.findall(r"var\((--[\w-]+)", css)) <= defined
    assert "url(" not in css
    assert "@import" not in css


@pytest.mark.parametrize("name", icons())
def test_an_icon_is_svg_in_the_colour_of_the_text(name):
    svg = ElementTree.fromstring(icon(name))  # noqa: S314
    assert svg.get("viewBox") == "0 0 24 24"
    assert svg.get("aria-hidden") == "true"
    assert len(svg) > 0
    colours = {shape.get(key) for shape in svg for key in ("fill", "stroke")}
    assert colours <= {None, "currentColor"}


def test_an_unknown_icon_is_an_error():
    with pytest.raises(KeyError):
        icon("unknown")
