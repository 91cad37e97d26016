"""Every command and every block of Python in the documentation runs, or states why it does not.

A block below a comment ``<!-- not run: REASON -->`` is only parsed, as are the commands for which
`reason_not_to_run` returns a reason. All others run in a folder with the sample and small inputs.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pytest
from dicom_files import write_series

import pleura
from pleura.cli import cli
from pleura.training.recipe_loading import load_recipe

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SAMPLE = ROOT / "tests" / "data" / "sample"
GENERATED = ("_build", "_templates", "api", "notebooks")
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if not {*page.parts} & set(GENERATED)),
]

# Trainings of the documentation are made small here: the commands are tested, not the masks.
SMALL = [
    "preprocessing.size=[32,32]",
    "network.channels=[4,8,16]",
    "training.epochs=1",
    "training.threads=1",
]
NOT_RUN = {
    "pip": "changes the environment",
    "make": "creates an environment; the tests of the Makefile's commands run them",
    "tensorboard": "serves until it is stopped",
    "jupyter": "serves until it is stopped",
    "dask": "needs a cluster; tests/cohort/test_cluster.py starts one",
    "torchrun": "needs several devices; tests/training/test_processes.py starts two processes",
    "docker": "needs Docker",
    "git": "needs the history of the repository",
    "npm": "needs Node.js",
}
OPTIONS_NOT_RUN = {
    "--corrected": "needs corrections of a person; tests/corrections makes some",
    "--dask": "needs a cluster; tests/cohort/test_cluster.py starts one",
    "2d_images": "needs finding-lungs-in-ct-data",
    "runs/exercise": "needs finding-lungs-in-ct-data",
    "runs/plus": "needs finding-lungs-in-ct-data",
    "runs/mine/model.onnx": "needs a model that was fine-tuned on corrections",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    code: str
    reason: str | None
    """The reason why it is not run."""


def blocks(page, *languages):
    """Return the fenced blocks of a page in these languages, in order."""
    fence = r"(?:^<!-- not run: (.+?) -->\n)?^```(\w+)\n(.*?)^```$"
    found = re.findall(fence, page.read_text("utf-8"), re.M | re.S)
    return [
        Block(language, code, reason or None)
        for reason, language, code in found
        if language in languages
    ]


def commands(code):
    """Return the words of each command of a shell block."""
    lines = code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def reason_not_to_run(block, words):
    """Return why a command of a block is not run, or None if it is."""
    if block.reason:
        return block.reason
    if words[0] in NOT_RUN or words[:3] == ["python", "-m", "pip"]:
        return NOT_RUN.get(words[0], NOT_RUN["pip"])
    if words[:2] == ["pleura", "view"]:
        return "serves until it is stopped; tests/viewer starts it"
    return next((OPTIONS_NOT_RUN[word] for word in words if word in OPTIONS_NOT_RUN), None)


def name(page):
    return page.relative_to(ROOT).as_posix()


def all_commands() -> Iterator[tuple[Path, Block, list[str]]]:
    """Yield each command of the documentation with its page and block."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for words in commands(block.code):
                yield page, block, words


def write_masks(folder):
    folder.mkdir()
    shutil.copy(SAMPLE / "volume" / "lungs.nii.gz", folder / "ct_lungs.nii.gz")


def write_dicom(folder):
    scan = pleura.read(SAMPLE / "volume" / "ct.nii.gz")
    write_series(folder, scan.hu(20, 40), scan.geometry.affine)


def write_object(path):
    """Write the mask of the series in dicom_folder."""
    labels = pleura.read_mask(SAMPLE / "volume" / "lungs.nii.gz").labels[20:40]
    pleura.Mask(labels, pleura.read("dicom_folder")).write(path.with_suffix(".rtstruct.dcm"))
    pleura.Mask(labels, pleura.read("dicom_folder")).write("seg.dcm")
    path.with_suffix(".rtstruct.dcm").rename("rtstruct.dcm")


def write_lobes(path):
    """Write labels of lungmask, or of TotalSegmentator with another structure."""
    scan = pleura.read(SAMPLE / "volume" / "ct.nii.gz")
    labels = pleura.read_mask(SAMPLE / "volume" / "lungs.nii.gz").labels
    values = np.array([0, 3, 1] if path.name == "labels.nii.gz" else [0, 12, 10], np.uint8)[labels]
    values[0, 0, 0] = 1 if path.name == "labels.nii.gz" else 51
    pleura.Mask(values, scan).write(path)


def write_cohort(folder):
    folder.mkdir()
    shutil.copy(SAMPLE / "volume" / "ct.nii.gz", folder)
    shutil.copy(SAMPLE / "images" / "LCTSC-201_058.tif", folder)


def write_labels(folder):
    """Label the sample as the page on several classes does."""
    block, *_ = blocks(DOCS / "how-to" / "classes.md", "python")
    assert f'Path("{folder}")' in block.code
    exec(block.code, {})  # noqa: S102


def write_dense(folder):
    """Label dense tissue in the sample as the page on cascades does."""
    block, *_ = blocks(DOCS / "how-to" / "cascade.md", "python")
    assert f'Path("{folder}")' in block.code
    exec(block.code, {})  # noqa: S102


INPUTS = {
    "labels": write_labels,
    "dense": write_dense,
    "images": lambda path: path.symlink_to(SAMPLE / "images"),
    "masks": lambda path: path.symlink_to(SAMPLE / "masks"),
    "chest.nii.gz": lambda path: path.symlink_to(SAMPLE / "volume" / "ct.nii.gz"),
    "dicom_folder": write_dicom,
    "rtstruct.dcm": write_object,
    "labels.nii.gz": write_lobes,
    "total.nii.gz": write_lobes,
    "cohort": write_cohort,
    "references": write_masks,
    "theirs": write_masks,
    "out": write_masks,
    "runs/first": lambda path: run(
        ["train", "images", "masks", "--recipe", "quick", "-o", str(path)]
    ),
}
"""Inputs that the documentation mentions, and functions that make them."""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder that looks like the root of the repository and can be written to."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(page):
    """Make the inputs that the commands of a page use and do not make themselves."""
    listed = [words for _, words in runnable(page)]
    words = [word.rstrip("/") for line in listed for word in line]
    outputs = {after for before, after in pairwise(words) if before == "-o"}
    needed = set(words) | ({"images", "masks"} if "runs/first" in words else set())
    for path, write in INPUTS.items():
        if path in needed and path not in outputs:
            write(Path(path))


def runnable(page):
    """Return the blocks and words of the commands of a page that run."""
    return [
        (block, words)
        for block in blocks(page, "sh")
        for words in commands(block.code)
        if reason_not_to_run(block, words) is None
    ]


def shortened(arguments):
    if arguments[0] not in ("train", "cross-validate", "search") or "--resume" in arguments:
        return arguments
    settings = ["training.epochs=1"] if "--from" in arguments else SMALL
    return [*arguments, *(word for value in settings for word in ("--set", value))]


def run(arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = cli.main(shortened(arguments), prog_name="pleura", standalone_mode=False)
    assert not code, printed.getvalue()
    return printed.getvalue()


def run_other(words):
    """Run a command of the system; `python` is this one."""
    program = sys.executable if words[0] == "python" else shutil.which(words[0])
    assert program, words[0]
    files = [
        path
        for word in words[1:]
        for path in (sorted(Path().glob(word)) if "*" in word else [word])
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([program, *map(str, files)], check=True, env=environment, capture_output=True)


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


# Pages whose commands or Python take more than five seconds; `make test-slow` runs these.
SLOW = (
    "README.md",
    "docs/cite.md",
    "docs/index.md",
    "docs/how-to/classes.md",
    "docs/how-to/cluster.md",
    "docs/how-to/cohort.md",
    "docs/how-to/dicom.md",
    "docs/how-to/evaluate.md",
    "docs/how-to/gpu.md",
    "docs/how-to/masked-images.md",
    "docs/how-to/masks.md",
    "docs/how-to/own-data.md",
    "docs/how-to/own-network.md",
    "docs/how-to/python.md",
    "docs/how-to/resume.md",
    "docs/how-to/search.md",
    "docs/how-to/segment.md",
    "docs/how-to/viewers.md",
    "docs/explanation/exercise.md",
    "docs/tutorials/first-unet.md",
)


def parameters(*languages):
    """Return the pages with blocks in these languages, the slow ones marked."""
    return [
        pytest.param(page, id=name(page), marks=[pytest.mark.slow] * (name(page) in SLOW))
        for page in PAGES
        if blocks(page, *languages)
    ]


@pytest.mark.parametrize("page", parameters("sh", "yaml"))
def test_commands_run(page, workplace):
    prepare(page)
    for block in blocks(page, "sh", "yaml"):
        if block.language == "yaml":
            save_recipe(block.code)
            continue
        for words in commands(block.code):
            if reason_not_to_run(block, words) is not None:
                continue
            if words[0] == "pleura":
                run(words[1:])
            else:
                run_other(words)


@pytest.mark.parametrize("page", parameters("sh"))
def test_commands_that_are_not_run_parse(page, workplace):
    for block in blocks(page, "sh"):
        for words in commands(block.code):
            if words[0] == "pleura" and reason_not_to_run(block, words):
                parse(words[1:])


def test_indented_commands_exist(workplace):
    """Commands in indented blocks need data sets that are not shipped; their programs exist."""
    for page in set(PAGES) - {DOCS / "reference" / "cli.md"}:
        text = page.read_text("utf-8").replace("\\\n", "")
        for line in re.findall(r"^    (?:pleura|python) .+$", text, re.M):
            words = shlex.split(line, comments=True)
            if words[0] == "python" and words[1].endswith(".py"):
                assert (ROOT / words[1]).is_file(), line
            elif words[0] == "pleura" and "[OPTIONS]" not in words:
                parse(words[1:])


def test_commands_beside_those_of_other_tools_parse(workplace):
    text = (DOCS / "coming-from.md").read_text("utf-8")
    written = [c for c in re.findall(r"`pleura ([^`]+)`", text) if " " in c]
    assert len(written) > 10
    for command in written:
        parse(shlex.split(command))


def test_most_commands_run():
    reasons = [reason_not_to_run(block, words) for _, block, words in all_commands()]
    assert reasons.count(None) > 2 * (len(reasons) - reasons.count(None))


def examples(page, *languages):
    """Return (block, its output in the page or None) of the page's blocks."""
    found = [*blocks(page, *languages, "text"), Block("", "", None)]
    return [
        (block, below.code if below.language == "text" else None)
        for block, below in pairwise(found)
        if block.language != "text"
    ]


def reads_other_data(code):
    """Return whether code reads finding-lungs-in-ct-data; slow tests run it with that set."""
    return re.search(r'Path\("(2d_)?images', code) is not None


def output(code, names):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "documentation", "exec"), names)  # noqa: S102
    return printed.getvalue()


@pytest.mark.parametrize("page", parameters("python"))
def test_python_prints_the_output_in_the_page(page, workplace):
    """Blocks of a page share their names; those that are not run compile."""
    names = {}
    for block, expected in examples(page, "python"):
        if block.reason or reads_other_data(block.code):
            compile(block.code, "documentation", "exec")
        else:
            assert output(block.code, names) == (expected or "")


@pytest.mark.slow
@pytest.mark.parametrize("page", parameters("sh"))
def test_check_prints_the_output_in_the_page(page, data, monkeypatch, tmp_path):
    (tmp_path / "covid").symlink_to(data / "covid")
    for block in blocks(page, "yaml"):
        (tmp_path / "lesions.yaml").write_text(block.code)
    for block, expected in examples(page, "sh"):
        (first, *arguments), *_ = commands(block.code)
        if first == "pleura" and arguments[0] == "check" and expected:
            folder = tmp_path if "covid/" in block.code else data / "kmader"
            monkeypatch.chdir(ROOT if "tests/data" in block.code else folder)
            assert run([*arguments, "--quiet"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("page", parameters("python"))
def test_numbers_of_finding_lungs_in_ct_data(page, data, monkeypatch):
    monkeypatch.chdir(data / "kmader")
    for block, expected in examples(page, "python"):
        if "2d_images" in block.code and expected:
            assert output(block.code, {}) == expected


def anchors(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
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
        assert f"({page.name})" in text or page.stem in ("index", "model"), page


def main() -> None:
    """Print how many commands run, and why the others do not."""
    counted = [(reason_not_to_run(b, words), name(p), words) for p, b, words in all_commands()]
    sys.stdout.write(f"{sum(reason is None for reason, *_ in counted)} commands run\n")
    for reason, page, words in counted:
        if reason is not None:
            sys.stdout.write(f"not run ({reason}): {page}: {shlex.join(words)}\n")
    python = [(name(page), block.code) for page in PAGES for block in blocks(page, "python")]
    other = [page for page, code in python if reads_other_data(code)]
    sys.stdout.write(f"{len(python) - len(other)} blocks of Python run\n")
    sys.stdout.writelines(f"not run (needs finding-lungs-in-ct-data): {page}\n" for page in other)


if __name__ == "__main__":
    main()
