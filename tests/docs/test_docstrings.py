"""The examples in docstrings of the public API return what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import pleura

ROOT = Path(__file__).parents[2]
MODULES = [
    module
    for module in sorted(set(pleura._MODULE_BY_NAME.values()))
    if ">>> " in (ROOT / "src" / f"{module.replace('.', '/')}.py").read_text("utf-8")
]


def test_modules_with_examples_are_found():
    assert len(MODULES) >= 6


@pytest.mark.parametrize("module", MODULES)
def test_examples_return_what_they_show(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, attempted = doctest.testmod(importlib.import_module(module))
    assert attempted > 0
    assert failed == 0
