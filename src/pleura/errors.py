"""Errors and warnings: a message, the file or key concerned, and a hint."""

from __future__ import annotations

from functools import partial
from os import PathLike

from pleura.names import printable


class PleuraError(Exception):
    """An error caused by the input, with a hint on how to correct it.

    Parameters
    ----------
    message:
        What is wrong, in one line.
    where:
        The file, folder or key concerned.
    hint:
        An action in the imperative, in one line.
    """

    def __init__(self, message: str, *, where: str | PathLike[str] | None, hint: str) -> None:
        self.message = message
        self.where: str | None = None if where is None else str(where)
        self.hint = hint
        lines = [printable(message)]
        if self.where is not None:
            lines.append(f"  where: {printable(self.where)}")
        lines.append(f"  hint: {printable(hint)}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's own would call the class with the text alone.
        return partial(type(self), where=self.where, hint=self.hint), (self.message,)


class DataError(PleuraError):
    """An image, a mask, or a folder of them that cannot be used."""


class ScanError(PleuraError):
    """A scan, or a file of one, that cannot be used."""


class RecipeError(PleuraError):
    """A recipe with an unknown key or an impossible value."""


class RunError(PleuraError):
    """A run folder that cannot be read, resumed, or written."""


class DivergedError(RunError):
    """A training whose loss is not finite."""


class ModelError(PleuraError):
    """A model file that cannot be read or run."""


class MaskWarning(UserWarning):
    """A reason to check a mask before it is used: a flag, or a decision that may change it."""


class DataWarning(UserWarning):
    """A property of a data set that makes the results of a training unreliable."""


def first_line(error: BaseException) -> str:
    """Return the first line of the error of another library; its type if it has no text."""
    return (str(error) or type(error).__name__).splitlines()[0]


def last_line(error: Exception) -> str:
    """Return the last line of the text of an exception that is not empty, or else its type."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
