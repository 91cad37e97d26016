"""Colours of figures, reports, the viewer and DICOM objects.

The colours, except those of aeration, are those of Okabe and Ito [1]_, which readers with and
without colour vision deficiency can distinguish. Each meaning has its own colour. ``design.css``
and the page of the report repeat the values; a test compares them with this module.

References
----------
.. [1] M. Okabe and K. Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from collections.abc import Sequence

RIGHT_LUNG = "#e69f00"
"""Orange; also the colour of a mask that does not separate the lungs."""

LEFT_LUNG = "#56b4e9"
"""Sky blue."""

REFERENCE = "#009e73"
"""Bluish green: a mask that others are compared with."""

PREDICTION = "#f0e442"
"""Yellow: a predicted mask that does not separate the lungs, beside a reference or alone."""

DIFFERENCE = "#cc79a7"
"""Reddish purple: voxels where a mask differs from its reference."""

TRAINING = "#0072b2"
"""Blue: curves of the training set."""

VALIDATION = "#d55e00"
"""Vermilion: curves of the validation set."""

HYPERINFLATED = "#9f7bff"
"""Violet: aeration class. The four colours differ by at least 27 (CIE76) for all colour vision."""

NORMALLY_AERATED = "#2a7f93"
"""Dark teal: aeration class."""

POORLY_AERATED = "#c3e36b"
"""Lime: aeration class."""

NOT_AERATED = "#ef4056"
"""Red: aeration class."""

TEXT = "#262626"
"""Text on white."""

TEXT_ON_BLACK = "#dcdcdc"
"""Text on black."""


LABELS = {
    "right": ("orange", RIGHT_LUNG),
    "left": ("sky blue", LEFT_LUNG),
    "difference": ("reddish purple", DIFFERENCE),
    "validation": ("vermilion", VALIDATION),
    "prediction": ("yellow", PREDICTION),
    "training": ("blue", TRAINING),
}
"""Colours of several classes, in order: name in the style sheet, name in English, and colour."""


def label_kind(index: int) -> str:
    """Return the name in the style sheet of the colour of a class, counted from 1."""
    return list(LABELS)[(index - 1) % len(LABELS)]


def label_colour(index: int) -> str:
    """Return the colour of a class, counted from 1; after the last colour, the first follows."""
    return LABELS[label_kind(index)][1]


def describe_label_colours(names: Sequence[str]) -> str:
    """Return the names of classes with their colours, as text."""
    return ", ".join(f"{n} ({LABELS[label_kind(i + 1)][0]})" for i, n in enumerate(names))


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue (0 to 255) of a colour ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
