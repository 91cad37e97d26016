"""`pleura` run in this process: a new Python process would take two seconds for each command."""

import io
import os
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from pleura.cli import main


@dataclass(frozen=True)
class Done:
    """What `subprocess.run` returns of a command, as far as tests look at it."""

    returncode: int
    stdout: str
    stderr: str


def pleura(*arguments, code=0):
    """Run a command, check its exit code, and return what it printed."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        warnings.catch_warnings(),
        patch.object(sys, "argv", ["pleura", *map(str, arguments)]),
        patch.dict(os.environ, COLUMNS="80"),
    ):
        warnings.simplefilter("default")  # as in a process of its own: on standard error
        try:
            main()
        except SystemExit as stopped:
            done = Done(stopped.code or 0, stdout.getvalue(), stderr.getvalue())
    assert done.returncode == code, done.stderr
    return done


def refused(*arguments, says=()):
    """Run a command that fails with one error of three lines, which names all of ``says``."""
    error = pleura(*arguments, code=1).stderr
    assert error.startswith("error: "), error
    assert "hint: " in error
    assert len(error.splitlines()) <= 3
    for words in [says] if isinstance(says, str) else says:
        assert words in error
