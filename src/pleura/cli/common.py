"""What several commands share: arguments, JSON output, progress bars."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pleura.names import printable

if TYPE_CHECKING:
    from pleura.training.recipe import Recipe

PATH = click.Path(path_type=Path)


class _Place(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since Click 8.4
    """A path, or an address such as s3://bucket/folder."""

    name = "place"

    def convert(self, value: Any, *_: object) -> Path | str:
        from pleura.cohort.stores import is_address

        return value if is_address(value) else Path(value)


PATH_OR_URL = _Place()

console, output = Console(stderr=True), Console()

images_argument = click.argument("images", type=PATH)
masks_argument = click.argument("masks", type=PATH)
optional_masks_argument = click.argument("masks", type=PATH, required=False)
json_option = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the result as JSON too; - for standard output.",
)
units_option = click.option(
    "--units",
    type=click.Choice(["auto", "hu", "offset", "grey", "inverted"]),
    default="auto",
    show_default=True,
    help="What the values are: HU, HU plus 1024, or grey with air dark or bright.",
)
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print no progress.")


def echo(text: str = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print text; what a terminal could take for a command, such as in a file name, is escaped."""
    lines = (printable(line) for line in text.split("\n"))
    click.secho("\n".join(lines), err=err, nl=nl, **style)


def write_json(target: Path | None, content: dict[str, Any]) -> None:
    """Write a command's result where `--json` says."""
    if target is None:
        return
    from pleura.files.atomic import write_text

    text = json.dumps(content, indent=2) + "\n"  # ASCII: any terminal and pipe takes it
    if str(target) == "-":
        sys.stdout.write(text)
    elif target.exists() and not target.is_file():
        target.write_text(text)  # a pipe or device, which must not be replaced by a file
    else:
        write_text(target, text)


class _Speed(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g} {self.unit}/s")


@contextmanager
def progress_bar(label: str, quiet: bool, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error; yields a function of (done, total)."""
    bar = new_progress(quiet, *([_Speed(unit)] if unit else []))
    with bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def new_progress(quiet: bool, *extra: ProgressColumn) -> Progress:
    """Return a bar with count, extra columns, time taken and time left; only on a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *extra,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )


def require_masks(masks: Path | None, recipe: Recipe) -> None:
    """Hold a command to MASKS unless the recipe names its own data below IMAGES."""
    if masks is None and not recipe.data:
        raise click.UsageError("MASKS is missing: the recipe names no data of its own")


def command_line() -> str:
    """Return the command as it was given, with file names alone: pages are passed on."""
    words = [Path(word).name if "/" in word or "\\" in word else word for word in sys.argv[1:]]
    return shlex.join(["pleura", *words])
