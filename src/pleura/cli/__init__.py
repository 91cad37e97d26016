"""The command line: parse, call the API, print; a module a command, imported when it is used."""

from __future__ import annotations

import importlib
import signal
import sys
import warnings
from typing import TextIO

import click

from pleura import __version__
from pleura.errors import DataWarning, PleuraError
from pleura.names import printable

_COMMANDS = {
    "segment": "Find the lungs in a scan.",
    "view": "Look at masks in the browser, and correct them.",
    "report": "Draw the page of a segmented cohort.",
    "measure": "Volume and density of the lungs in a scan.",
    "info": "What scans are there, and what is odd about them?",
    "check": "Is this data fit to train on?",
    "preview": "Draw what the network will see, before and after augmentation.",
    "train": "Train a U-Net on image-mask pairs.",
    "evaluate": "Judge a run or a model on images with reference masks.",
    "compare": "Hold masks of any tool against references.",
    "predict": "Write lung masks for images, with a trained run.",
    "export": "Make a run one file that `segment` takes.",
    "recipe": "List the recipes, or print one in full.",
}

_EPILOG = """\
\b
Examples:
  pleura check    IMAGES MASKS
  pleura train    IMAGES MASKS --recipe exercise -o runs/first
  pleura evaluate runs/first IMAGES MASKS
  pleura predict  runs/first IMAGES -o out/ --overlay

pleura is not a medical device: nothing it writes may be used for diagnosis or treatment.
"""


class _LazyGroup(click.Group):
    """A group whose commands are imported only when they run, so that `--help` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"pleura.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="pleura")
def cli() -> None:
    """Lungs in CT: found and measured in any scan; networks that find them, trained and judged."""


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning about data as a line; others as Python does."""
    if issubclass(category, DataWarning):
        click.secho(f"warning  {message}", fg="yellow", err=True)
    else:
        _python_warning(message, category, filename, lineno, file, line)


def _stop(number: int, _: object) -> None:
    """End as an error would, so that temporary files are removed and results are kept."""
    sys.exit(128 + number)


_python_warning = warnings.showwarning


def main() -> None:
    """Run the command line; an expected error is three lines and exit code 1, no traceback."""
    for module in ("pydicom", "highdicom"):  # of every odd value in somebody's header
        warnings.filterwarnings("ignore", module=module)
    warnings.showwarning = _show_warning
    for name in ("SIGTERM", "SIGHUP"):  # the second is not on Windows, and ignored by nohup
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except PleuraError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except OSError as error:
        click.secho(
            f"error: {error.strerror or error}\n  where: {printable(str(error.filename))}\n"
            "  hint: check the path, its permissions, and the space left",
            fg="red",
            err=True,
        )
        sys.exit(1)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "tensorboard"):
            raise
        click.secho(
            f"error: this command needs {error.name}, which is not installed\n"
            '  hint: pip install "pleura[train]"',
            fg="red",
            err=True,
        )
        sys.exit(1)
