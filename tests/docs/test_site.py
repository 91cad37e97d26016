"""The documentation builds without warnings, lists the public API, and needs no network."""

import inspect
import os
import shutil
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import get_origin

import pytest
from viewer_page import NEEDS_AXE, launched, opened, violations

import pleura

DOCS = Path(__file__).parents[2] / "docs"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NEEDS = (
    "sphinx",
    "pydata_sphinx_theme",
    "myst_nb",
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, NEEDS)), reason="needs the group docs (`make docs`)"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site in a copy of the documentation."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("README.md", "CHANGELOG.md", "tests", "benchmarks", "notebooks"):
        (folder / name).symlink_to(DOCS.parent / name)
    left_out = shutil.ignore_patterns("_build", "api", "notebooks")
    shutil.copytree(DOCS, folder / "docs", ignore=left_out)
    command = [sys.executable, "-m", "sphinx", "--nitpicky", "--fail-on-warning", "--keep-going"]
    built = subprocess.run(
        [*command, "--quiet", "docs", "html"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(DOCS.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


def documented_objects(site):
    """Return the names of the Python objects in the inventory of the site."""
    lines = (site / "objects.inv").read_bytes().split(b"\n", 4)
    text = zlib.decompress(lines[4]).decode()
    return {line.split()[0] for line in text.splitlines() if " py:" in line}


def public_members(name):
    """Return the names of the methods and properties that a public class of pleura defines."""
    value = getattr(pleura, name)
    classes = value.__mro__ if inspect.isclass(value) else ()
    for owner in classes:
        if owner.__module__.startswith("pleura."):
            for member, content in vars(owner).items():
                if not member.startswith("_") and isinstance(
                    content, (classmethod, staticmethod, property, type(public_members))
                ):
                    yield f"pleura.{name}.{member}"


def test_every_public_name_and_method_is_documented(site):
    documented = documented_objects(site)
    objects = [name for name in pleura.__all__ if name != "__version__"]
    names = [
        name for name in objects if get_origin(getattr(pleura, name)) is None
    ]  # no type aliases
    members = [member for name in names for member in public_members(name)]
    assert len(members) > 50
    expected = {f"pleura.{name}" for name in names} | set(members)
    assert not expected - documented


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_pages_make_no_request_to_a_network(site):
    from playwright.sync_api import sync_playwright

    requests = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        context = browser.new_context(offline=True)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        for file in sorted(site.rglob("*.html")):
            page.goto(file.as_uri())
            width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert width <= 0, file
        browser.close()
    assert len(requests) > 100
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


@NEEDS_AXE
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_meet_wcag(site, scheme, width):
    with launched() as browser:
        for name in ("index", "how-to/segment", "reference/api", "tutorials/first-unet"):
            address = (site / f"{name}.html").as_uri()
            with opened(browser, address, width, faulty=True, scheme=scheme) as page:
                assert violations(page) == [], name
