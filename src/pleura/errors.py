"""What can go wrong, said once: what happened, where, and what to do about it."""

from __future__ import annotations

from functools import partial
from os import PathLike

from pleura.names import printable


class PleuraError(Exception):
    """An error whose cause lies in the input, with the way out of it.

    Parameters
    ----------
    message:
        What went wrong, in one line.
    where:
        The file, folder, or key that it is about.
    hint:
        What the reader can do, in one line.
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


class ModelError(PleuraError):
    """A model file that cannot be read or run."""


class MaskWarning(UserWarning):
    """A reason to check a mask before it is used: a flag, or a decision that may change it."""


class DataWarning(UserWarning):
    """Something about a data set that makes the results of a training less trustworthy."""


def first_line(error: BaseException) -> str:
    """Return what another library's error says, in a line; its type where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]
