"""The examples in docstrings of the public API return what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import pleura

ROOT = Path(__file__).parents[2]
FINDER = doctest.DocTestFinder(exclude_empty=True)
EXAMPLES = [
    test
    for module in sorted(set(pleura._MODULE_BY_NAME.values()))
    for test in FINDER.find(importlib.import_module(module), module)
    if test.examples
]


def test_examples_are_found():
    assert len(EXAMPLES) >= 7


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_returns_what_it_shows(example, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert doctest.DocTestRunner().run(example).failed == 0
