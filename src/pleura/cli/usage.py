"""Errors of the command line itself: what is wrong, with a suggestion and a hint."""

from __future__ import annotations

import click

from pleura.names import did_you_mean


def print_click_error(error: click.ClickException) -> None:
    """Print an error of the command line as other errors are printed."""
    without_arguments = type(error).__name__ == "NoArgsIsHelpError"  # click 8.2: prints the help
    if not isinstance(error, click.UsageError) or without_arguments:
        error.show()
        return
    message, hint = _describe(error)
    click.secho(f"error: {message}\n  hint: {hint}", fg="red", err=True)


def _describe(error: click.UsageError) -> tuple[str, str]:
    """Return the message and the hint."""
    path = error.ctx.command_path if error.ctx else "pleura"
    command = error.ctx.command if error.ctx else None
    hint = f"run `{path} --help` to see arguments and options"
    if isinstance(error, click.NoSuchOption) and command is not None:
        options = [name for param in command.params for name in param.opts if name[:2] == "--"]
        suggestion = did_you_mean(error.option_name, [*options, "--help"])
        return f"there is no option {error.option_name}{suggestion}", hint
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{_name(error.param)} is missing", _example(command) or hint
    message = error.format_message().rstrip(".")
    if message.startswith("Got unexpected extra argument"):
        extra = message.partition("(")[2].rstrip(")")
        return f"unexpected argument: {extra}", _example(command) or hint
    return message[:1].lower() + message[1:] if message[:2].istitle() else message, hint


def _name(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.metavar or (parameter.name or "").upper()
    return " or ".join(sorted(parameter.opts, key=len, reverse=True))


def _example(command: click.Command | None) -> str | None:
    """Return a hint with the first example of the help of a command."""
    lines = (command.epilog or "").splitlines() if command else []
    examples = [line.strip() for line in lines if line.startswith("  pleura ")]
    return f"write, for example: {examples[0]}" if examples else None
