"""Arguments, output and progress bars of several commands."""

from __future__ import annotations

import functools
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pleura.cli.types import Number, choice
from pleura.errors import RunError
from pleura.formats.dicom.suffixes import dicom_kind
from pleura.names import printable
from pleura.typing import Progress as ProgressCallback

if TYPE_CHECKING:
    from rich.console import Console

    from pleura.masks.selection import LabelPreset, RoiSelection
    from pleura.training.recipe import Recipe

PATH = click.Path(path_type=Path)


def path_or_url(value: str) -> Path | str:
    """Return a path, or a URL such as s3://bucket/folder unchanged; for click's ``type=``."""
    from pleura.cohort.stores import is_address

    return value if is_address(value) else Path(value)


Command = TypeVar("Command", bound=Callable[..., Any])


def images_argument(command: Command) -> Command:
    """Add the argument IMAGES to a command."""
    return click.argument("images", type=PATH)(command)


def masks_argument(command: Command) -> Command:
    """Add the argument MASKS to a command."""
    return click.argument("masks", type=PATH)(command)


def optional_masks_argument(command: Command) -> Command:
    """Add the optional argument MASKS to a command."""
    return click.argument("masks", type=PATH, required=False)(command)


def json_option(command: Command) -> Command:
    """Add the option ``--json`` to a command."""
    return click.option(
        "--json",
        "json_file",
        type=click.Path(path_type=Path, allow_dash=True),
        metavar="FILE",
        help="Write the result as JSON; - writes to standard output.",
    )(command)


def units_option(command: Command) -> Command:
    """Add the options ``--units`` and ``--window`` to a command."""
    command = click.option(
        "--window",
        type=(Number(), Number()),
        metavar="LEVEL WIDTH",
        help="Window of grey values: linear in HU from LEVEL - WIDTH/2 to LEVEL + WIDTH/2.  "
        "[default: estimated]",
    )(command)
    return click.option(
        "--units",
        type=choice(["auto", "hu", "offset", "grey", "inverted"]),
        default="auto",
        show_default=True,
        help="Intensity units: HU, HU plus 1024, or grey values with dark or bright air.",
    )(command)


def roi_option(command: Command) -> Command:
    """Add the options ``--roi`` and ``--labels``, which the command gets as one value ``roi``."""

    @functools.wraps(command)
    def with_selection(*, roi: str | None, labels: LabelPreset | None, **values: Any) -> Any:
        if roi is not None and labels is not None:
            raise click.UsageError("--roi and --labels exclude each other")
        from pleura.masks.selection import parse_roi

        return command(roi=labels if roi is None else parse_roi(roi), **values)

    with_labels = click.option(
        "--labels",
        type=choice(["totalsegmentator", "lungmask", "moose"]),
        help="Tool whose lobes become the right and the left lung.  [default: recognised]",
    )(with_selection)
    return click.option(  # type: ignore[return-value]
        "--roi",
        metavar="NAME=LABEL,...",
        help="Structures of the masks to read, by name, code or number: Lung_R=1,Lung_L=2.  "
        "[default: the lungs]",
    )(with_labels)


def roi_overrides(roi: RoiSelection | None) -> list[str]:
    """Return overrides of a recipe with the structures of ``--roi`` or ``--labels``."""
    if roi is None:
        return []
    from pleura.training.recipe_loading import roi_override

    return [roi_override(roi)]


def quiet_option(command: Command) -> Command:
    """Add the option ``--quiet`` to a command whose result is what it prints."""
    return click.option("--quiet", "-q", is_flag=True, help="Do not show progress.")(command)


def describe_mask(path: str, seconds: Mapping[str, float]) -> str:
    """Return the path of a mask, the kind of a DICOM object, and the seconds of each stage."""
    times = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
    return f"{path} ({dicom_kind(path)}{times})"


def silent_option(command: Command) -> Command:
    """Add the option ``--quiet`` to a command whose result is the files that it writes."""
    help_text = "Print warnings, flags and errors only."
    return click.option("--quiet", "-q", is_flag=True, help=help_text)(command)


def stderr_console() -> Console:
    """Return a console on standard error, where progress and messages are printed."""
    from rich.console import Console

    return Console(stderr=True)


def stdout_console() -> Console:
    """Return a console on standard output, where results are printed."""
    from rich.console import Console

    return Console()


def echo(text: str = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text with control characters escaped, since file names may contain them.

    Parameters
    ----------
    text:
        The text; line feeds are kept.
    err, nl:
        Print to standard error; end with a line feed.
    style:
        Style, as for `click.style`.
    """
    lines = (printable(line) for line in text.split("\n"))
    click.secho("\n".join(lines), err=err, nl=nl, **style)


def write_json(target: Path | None, content: dict[str, Any]) -> None:
    """Write the result of a command to the target of the option ``--json``, if given.

    Parameters
    ----------
    target:
        A file, a device or pipe, or ``-`` for standard output.
    content:
        JSON-compatible values.
    """
    if target is None:
        return
    from pleura.files.records import write_json as write_json_file

    if str(target) == "-":
        # ASCII, whatever the encoding of the terminal
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        write_json_file(target, content)


@contextmanager
def progress_bar(label: str, quiet: bool, unit: str = "") -> Iterator[ProgressCallback]:
    """Show a progress bar on standard error.

    Parameters
    ----------
    label:
        Text before the bar.
    quiet:
        Do not show the bar.
    unit:
        Unit of the speed; empty to not show the speed.

    Yields
    ------
    Progress
        Function of the number of items that are done, and of all items.
    """
    with progress_bars({label: unit}, quiet) as callbacks:
        yield callbacks[label]


@contextmanager
def progress_bars(labels: Mapping[str, str], quiet: bool) -> Iterator[dict[str, ProgressCallback]]:
    """Show several progress bars on standard error, each from its first call.

    Parameters
    ----------
    labels:
        Unit of the speed by text before the bar.
    quiet:
        Do not show the bars.

    Yields
    ------
    dict
        Function of the number of items that are done, and of all items, by label.
    """
    if quiet or not (sys.stderr.isatty() or "FORCE_COLOR" in os.environ):
        yield dict.fromkeys(labels, _ignore)
        return
    from pleura.cli.progress import terminal_bars

    with terminal_bars(stderr_console(), labels) as callbacks:
        yield callbacks


def _ignore(done: int, total: int) -> None:
    """Show no progress."""


@contextmanager
def log_to_file(path: Path | None) -> Iterator[None]:
    """Append the log of pleura to a file, if there is one.

    Raises
    ------
    RunError
        The file cannot be written.
    """
    if path is None:
        yield
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"the log cannot be written ({error.strerror})",
            where=path,
            hint="choose a file in a folder that exists",
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("pleura")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


def require_masks(masks: Path | None, recipe: Recipe) -> None:
    """Require MASKS, unless the recipe lists data sources below IMAGES.

    Raises
    ------
    click.UsageError
        MASKS is missing.
    """
    if masks is None and not recipe.data.sources:
        raise click.UsageError("MASKS is missing, and the recipe has no data sources")


def command_line() -> str:
    """Return the command line, with file names instead of paths, which reports must not show."""
    words = [Path(word).name if "/" in word or "\\" in word else word for word in sys.argv[1:]]
    return shlex.join(["pleura", *words])
