"""What the documentation tells a reader to type works, and prints what it says."""

import contextlib
import io
import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest

from pleura.cli import cli
from pleura.training.recipe_loading import load_recipe

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
GUIDES = [page for page in PAGES if page.parent.name in ("tutorials", "how-to")]

# Trainings of the documentation are made small here: the commands are tested, not the masks.
SMALL = [
    "preprocessing.size=[32,32]",
    "network.channels=[4,8,16]",
    "training.epochs=1",
    "training.threads=1",
]
OTHER_COMMANDS = {"python", "tensorboard", "kill", "mkdir", "mv", "dask", "torchrun"}


def blocks(page, *languages):
    """Return (language, code) of the page's fenced blocks, in order."""
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    return [(language, code) for language, code in fences if language in languages]


def commands(code):
    """Return the words of each command of a shell block."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks like the repository root and can be written to."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shortened(arguments):
    if arguments[0] != "train" or "--resume" in arguments:
        return arguments
    return [*arguments, *(word for value in SMALL for word in ("--set", value))]


def run(arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(shortened(arguments), prog_name="pleura", standalone_mode=False)
    assert not code, printed.getvalue()
    return printed.getvalue()


def parse(arguments):
    context = click.Context(cli, info_name="pleura")
    if arguments[0].startswith("-"):
        cli.make_context("pleura", list(arguments), resilient_parsing=True)
        return
    command = cli.get_command(context, arguments[0])
    assert command is not None, arguments
    command.make_context(arguments[0], list(arguments[1:]), parent=context)


def save_recipe(code):
    """Save a block of YAML under the name in its first line, if it has one, and load it."""
    path = Path(code.split()[1] if code.startswith("# ") else "unnamed.yaml")
    path.write_text(code)
    load_recipe(path)


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_commands_on_the_sample_run_and_all_others_parse(page, workplace):
    for language, code in blocks(page, "sh", "yaml"):
        if language == "yaml":
            save_recipe(code)
            continue
        for first, *arguments in commands(code):
            if first != "pleura":
                assert first in OTHER_COMMANDS, first
            elif arguments[0] == "export" or any("tests/data/sample" in w for w in arguments):
                run(arguments)
            else:
                parse(arguments)


def examples(page, *languages):
    """Return (code, what stands below it as its output or None) of the page's blocks."""
    found = [*blocks(page, *languages, "text"), ("", "")]
    return [
        (code, below if after == "text" else None)
        for (language, code), (after, below) in pairwise(found)
        if language != "text"
    ]


def output(code, names):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "documentation", "exec"), names)  # noqa: S102
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_compiles_and_prints_what_stands_below_it(page, workplace):
    """Blocks of a page share their names; what reads other data than the sample only compiles."""
    names = {}
    for code, expected in examples(page, "python"):
        if re.search(r'Path\("(2d_)?images', code):
            compile(code, "documentation", "exec")
        else:
            assert output(code, names) == (expected or "")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_check_prints_what_the_documentation_says(page, data, monkeypatch):
    for code, expected in examples(page, "sh"):
        (first, *arguments), *_ = commands(code)
        if first == "pleura" and arguments[0] == "check" and expected:
            monkeypatch.chdir(ROOT if "tests/data" in code else data / "kmader")
            assert run([*arguments, "--quiet"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_numbers_of_the_exercises_data_are_so(page, data, monkeypatch):
    monkeypatch.chdir(data / "kmader")
    for code, expected in examples(page, "python"):
        if "2d_images" in code and expected:
            assert output(code, {}) == expected


def anchors(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


SECTIONS = ("tutorials", "how-to", "reference", "explanation")


@pytest.mark.parametrize("section", SECTIONS)
def test_index_of_a_section_links_every_page(section):
    text = (DOCS / section / "index.md").read_text("utf-8")
    for page in (DOCS / section).glob("*.md"):
        linked = f"({page.name})" in text or f"\n{page.stem}\n" in (DOCS / "index.md").read_text()
        assert linked or page.name == "index.md" or page.stem == "model", page
