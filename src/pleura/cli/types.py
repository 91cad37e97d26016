"""Types of the values of options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def choice(names: Sequence[str]) -> click.Choice[str]:
    """Return the type of an option with fixed choices, in upper or lower case."""
    return click.Choice(names, case_sensitive=False)


class WholeNumber(click.IntRange):
    """A whole number of a range; an error names the range in words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected {_describe('a whole number', self)}, not {value!r}", param, ctx)


class Number(click.FloatRange):
    """A finite number, or one of a range; an error names the range in words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = float("nan")
        if not abs(number) < float("inf"):
            self.fail(f"expected {_describe('a number', self)}, not {value!r}", param, ctx)
        return number


def _describe(noun: str, allowed: click.IntRange | click.FloatRange) -> str:
    if allowed.min is None:
        return noun
    if allowed.min_open:
        return f"{noun} above {allowed.min}"
    if allowed.max is None:
        return f"{noun} of at least {allowed.min}"
    return f"{noun} from {allowed.min} to {allowed.max}"
