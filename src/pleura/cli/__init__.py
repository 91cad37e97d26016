"""The command line: one module per command, imported when the command runs."""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from pleura.cli.usage import print_click_error
from pleura.errors import DataWarning, PleuraError
from pleura.names import did_you_mean, printable

_COMMANDS = {
    "sample": "Write a sample scan to try pleura with.",
    "segment": "Segment the lungs in CT scans.",
    "view": "Show and correct masks in the browser.",
    "report": "Write the report of a segmented cohort.",
    "measure": "Measure volume and density of the lungs.",
    "info": "List scans with geometry, intensity units and automatic decisions.",
    "check": "Check images and masks before training.",
    "preview": "Draw training images before and after augmentation.",
    "train": "Train a network on image-mask pairs.",
    "evaluate": "Evaluate a run or a model on images with reference masks.",
    "cross-validate": "Train and evaluate a network per fold, and export them as one model.",
    "learning-curve": "Cross-validate with several numbers of training patients.",
    "compare-recipes": "Test whether the recipes of two cross-validations differ.",
    "search": "Search for the best values of recipe keys.",
    "compare": "Compare predicted masks with reference masks.",
    "predict": "Predict the lung masks of images with a training run.",
    "export": "Export a training run as a single ONNX model file.",
    "recipe": "List the recipes, or print one of them.",
}

_EPILOG = """\
\b
Examples:
  pleura sample  sample/                             a chest CT to try pleura with
  pleura segment sample/ct.nii.gz -o lungs.nii.gz    one scan: a file or DICOM folder
  pleura segment cohort/ -o out/ --measure           every scan of a folder
  pleura view    out/                                review and correct the masks
  pleura train   images/ masks/ -o run               train on your own masks

pleura is not a medical device: do not use its results for diagnosis or treatment.
"""


class _LazyGroup(click.Group):
    """A group that imports a command when it runs, which keeps `--help` fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pleura.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in _COMMANDS:
            suggestion = did_you_mean(name, _COMMANDS)
            raise click.UsageError(f"there is no command {printable(name)}{suggestion}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="pleura", prog_name="pleura")
def cli() -> None:
    """Segment and measure lungs in CT scans; train and evaluate segmentation networks."""


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print warnings about data as one line each, until the end of the block.

    Warnings of pydicom and highdicom are ignored: they concern every unusual value of a header.
    """

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, DataWarning):
            click.secho(f"warning  {message}", fg="yellow", err=True)
        else:
            show_as_python(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        for module in ("pydicom", "highdicom"):
            warnings.filterwarnings("ignore", module=module)
        show_as_python = warnings.showwarning
        warnings.showwarning = show
        yield


def _exit_on_signals() -> None:
    """Exit on SIGTERM and SIGHUP as after an error: temporary files are removed, results kept."""

    def stop(number: int, _: object) -> None:
        sys.exit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP, and nohup ignores it
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)


def main() -> None:
    """Run the command line; expected errors are printed without a traceback, exit code 1."""
    _exit_on_signals()
    with _warnings_as_lines():
        sys.exit(_run())


def _run() -> int:
    """Run the command and return its exit code."""
    try:
        return cli.main(prog_name="pleura", standalone_mode=False) or 0
    except PleuraError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        return 1
    except click.ClickException as error:
        print_click_error(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except OSError as error:
        click.secho(
            f"error: {error.strerror or error}\n  where: {printable(str(error.filename))}\n"
            "  hint: check the path, its permissions, and the free disk space",
            fg="red",
            err=True,
        )
        return 1
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "tensorboard"):
            raise
        click.secho(
            f"error: {error.name} is not installed; this command requires it\n"
            '  hint: run pip install "pleura[train]"',
            fg="red",
            err=True,
        )
        return 1
