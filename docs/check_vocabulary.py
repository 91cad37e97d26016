"""Check that documentation, messages, help texts, comments and names use the project's vocabulary.

    python docs/check_vocabulary.py [PATH ...]

Prints one line per term that `docs/vocabulary.yaml` replaces, and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = ROOT / "docs" / "vocabulary.yaml"
LEFT_OUT = ("node_modules", "static", "_build")
Problem = tuple[Path, int, str, str]


def main(paths: list[str]) -> int:
    """Print the problems in these files, or in all, and return the exit code."""
    files = [Path(path).resolve() for path in paths] or list(_files())
    vocabulary = yaml.safe_load(VOCABULARY.read_text())
    terms = {
        re.compile(rf"\b(?:{term})(?!\w)", re.IGNORECASE): hint
        for term, hint in vocabulary["text"].items()
    }
    problems = [
        problem for file in files for problem in _problems(file, terms, vocabulary["names"])
    ]
    for file, line, found, hint in problems:
        print(f"{file.relative_to(ROOT)}:{line}: '{found}'; use {hint}")
    return 1 if problems else 0


def _files() -> Iterator[Path]:
    yield ROOT / "README.md"
    package = (".py", ".html", ".js", ".yaml")
    python = (".py",)
    folders = (
        ("docs", (".md",)),
        ("src/pleura", package),
        ("benchmarks", python),
        ("tests", python),
    )
    for folder, suffixes in folders:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in suffixes and not {*file.parts, file.stem} & set(LEFT_OUT):
                yield file


def _problems(
    file: Path, terms: dict[re.Pattern[str], str], names: dict[str, str]
) -> Iterator[Problem]:
    source = file.read_text(encoding="utf-8")
    for line, text in _texts(file, source):
        for term, hint in terms.items():
            for match in term.finditer(text):
                yield file, line + text.count("\n", 0, match.start()), match.group(), hint
    if file.suffix == ".py":
        for line, name in _names(source):
            if name in names:
                yield file, line, name, names[name]


def _texts(file: Path, source: str) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that people read, with their first lines."""
    if file.suffix == ".md":
        # Code keeps its line, so that the numbers of the lines after it stay right.
        without_code = re.sub(
            r"```.*?```", lambda m: "\n" * m.group().count("\n"), source, flags=re.S
        )
        yield 1, re.sub(r"`[^`\n]*`", "", without_code)
    elif file.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in (tokenize.STRING, tokenize.COMMENT) or token.type == _FSTRING:
                yield token.start[0], token.string
    else:
        yield 1, source


_FSTRING = getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)


def _names(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
