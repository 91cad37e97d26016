"""Rules for all modules of the package."""

import ast
from pathlib import Path

import pytest

import pleura

PACKAGE = Path(pleura.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 350
UNFINISHED = {"recipe.py", "run.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_long_module_gives_a_reason(path):
    """A module over 350 lines says in its docstring why it is one module."""
    source = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    assert docstring or not source.strip()
    if len(source.splitlines()) > MOST_LINES and path.name not in UNFINISHED:
        assert "one module" in docstring.lower()
