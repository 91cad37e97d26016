"""Run the checks of the exercise on notebooks that students handed in.

    python notebooks/mark_notebooks.py NOTEBOOK.ipynb ...

Prints one line per notebook and task. The imports, settings and checks are those of this folder, so
changes that students made to them have no effect; nothing is trained, and each notebook takes a few
seconds. The code of the students is executed without protection: do it on a machine without
private data.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from make_notebooks import EXERCISE, read_source
from nbclient import NotebookClient
from nbformat import NotebookNode


def marking_notebook(handed_in: NotebookNode) -> NotebookNode:
    """Return a notebook of the task cells that were handed in, with the original checks."""
    original = read_source(EXERCISE)
    by_id = {cell.get("id"): cell.source for cell in handed_in.cells}
    cells = []
    for cell in original.cells:
        tags = cell.metadata.get("tags", ())
        if "task" in tags:
            cell.source = by_id.get(cell.id, "raise NotImplementedError('the cell is missing')")
        if {"setup", "task", "check"} & set(tags):
            cells.append(cell)
    original.cells = cells
    return original


def mark(path: Path, seconds: int = 120) -> Iterator[tuple[str, str]]:
    """Yield each task with ``correct`` or the message of its check.

    Parameters
    ----------
    path:
        A notebook that was handed in.
    seconds:
        Time limit of a cell.
    """
    notebook = marking_notebook(nbformat.read(path, as_version=4))
    NotebookClient(
        notebook,
        timeout=seconds,
        allow_errors=True,
        resources={"metadata": {"path": str(EXERCISE.parent)}},
    ).execute()
    for cell in notebook.cells:
        if "check" in cell.metadata.get("tags", ()):
            task = re.search(r'print\("(Task \d+): correct"\)', cell.source)
            errors = [output for output in cell.outputs if output.output_type == "error"]
            message = f"{errors[0].ename}: {errors[0].evalue}" if errors else "correct"
            yield task[1] if task else "", message


def main() -> None:
    """Print the result of each notebook."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    for path in parser.parse_args().notebooks:
        results = list(mark(path))
        correct = sum(message == "correct" for _, message in results)
        print(f"{path.name}: {correct} of {len(results)} tasks correct")
        for task, message in results:
            print(f"  {task:<8} {message}")


if __name__ == "__main__":
    main()
