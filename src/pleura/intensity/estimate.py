"""The estimated intensity units of a set of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pleura.intensity.levels import Noise
from pleura.intensity.wraparound import Wraparound

Kind = Literal["HU", "scaled HU", "offset HU", "wrapped HU", "grey", "mixed", "unknown"]
ScaleSource = Literal["padding", "air", "tissue"]
NoiseRegion = Literal["padding", "air"]


@dataclass(frozen=True)
class PaddingLevel:
    """A level outside the field of view of the scanner.

    Attributes
    ----------
    level:
        The stored value.
    hu:
        The padding value in HU that it corresponds to; None if it matches none.
    images:
        Number of images that have it.
    """

    level: float
    hu: int | None
    images: int


@dataclass(frozen=True)
class UnitsEstimate:
    """The estimated units of a set of slices.

    Attributes
    ----------
    kind:
        ``HU`` or how the values differ from it.
    reason:
        The evidence, in one or two sentences.
    scale, offset:
        ``stored = scale * HU + offset`` for every kind of HU, else None.
    scale_from:
        What the scale was estimated from: padding values (accurate to about 0.2 %), air (about
        3 %) or soft tissue (about 10 %).
    wraparound:
        How lost signs are restored before scale and offset apply; None if no sign was lost.
    noise, noise_in:
        White noise that was added after reconstruction, and the region where it was measured.
    air, fat, muscle:
        Median levels, in stored values.
    padding:
        Levels outside the field of view.
    grey_limits:
        Stored values of black and white, of kind ``grey``; the first is the larger one if air is
        bright.
    differing:
        Indices of images whose levels contradict the estimate.
    """

    kind: Kind
    reason: str
    scale: float | None = None
    offset: float | None = None
    scale_from: ScaleSource | None = None
    wraparound: Wraparound | None = None
    noise: Noise | None = None
    noise_in: NoiseRegion | None = None
    air: float | None = None
    fat: float | None = None
    muscle: float | None = None
    padding: tuple[PaddingLevel, ...] = ()
    grey_limits: tuple[float, float] | None = None
    differing: tuple[int, ...] = ()

    @property
    def formula(self) -> str:
        """Formula of the stored values, for example ``HU plus 1024``; the kind if unknown."""
        if self.scale is None or self.offset is None or self.kind == "HU":
            return self.kind
        times = f"{self.scale:.4g}" if self.scale_from == "padding" else f"about {self.scale:.2g}"
        sign = "plus" if self.offset > 0 else "minus"
        return (
            "HU"
            + (f" times {times}" if self.scale != 1 else "")
            + (f" {sign} {abs(self.offset):.6g}" if self.offset else "")
            + (f" with lost signs (modulo {self.wraparound.modulus})" if self.wraparound else "")
        )

    def describe_levels(self) -> str:
        """Return the measured levels and the added noise, in one or two sentences."""
        known = [padding for padding in self.padding if padding.hu is not None]
        levels = [f"air is at {self.air:.0f}"]
        if self.kind == "HU":
            levels += [f"fat at {self.fat:.0f}", f"muscle at {self.muscle:.0f}"]
        if known:
            levels.append(f"padding at {_enumerate([f'{padding.level:.0f}' for padding in known])}")
        prefix = "" if self.kind == "HU" else "Not HU but "
        text = f"{prefix}{self.formula}: {', '.join(levels)}"
        if self.kind != "HU":
            expected = ["-1000", *(str(padding.hu) for padding in known)]
            text += f" (in HU: {_enumerate(expected)})"
        if self.noise is not None:
            text += f". White noise with an SD of {self.noise.sd:.0f} was added"
            text += ", also in the padding" if self.noise_in == "padding" else ""
        return text + "."


def _enumerate(words: Sequence[str]) -> str:
    """Join words with commas, the last one with ``and``."""
    return " and ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])
