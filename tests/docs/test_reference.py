import importlib.util
import re
from pathlib import Path

import pytest

import pleura

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator():
    path = DOCS / "make_reference.py"
    specification = importlib.util.spec_from_file_location("make_reference", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["recipes", "cli", "api"])
def test_reference_is_what_the_code_says(generator, page):
    written = (DOCS / "reference" / f"{page}.md").read_text("utf-8")
    assert written == getattr(generator, f"{page}_page")(), "run: make reference"


def test_every_key_and_option_says_what_it_means(generator):
    rows = [
        line
        for page in (generator.recipes_page(), generator.cli_page())
        for line in page.partition("## Shipped recipes")[0].splitlines()
        if line.startswith("| `")
    ]
    bare = [row for row in rows if row.endswith("|  |")]
    assert len(rows) > 60
    assert bare == []


def test_api_reference_lists_every_public_name_once():
    page = (DOCS / "reference" / "api.md").read_text("utf-8")
    listed = re.findall(r"^   (\w+)$|^\| `(\w+)` \|", page, re.M)
    listed = [name or alias for name, alias in listed]
    assert sorted(listed) == sorted(set(pleura.__all__) - {"__version__"})
