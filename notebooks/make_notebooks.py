"""Generate the notebooks from their text form, and the exercise without its solutions.

    python notebooks/make_notebooks.py

Edit the files ``*.py`` (jupytext, percent format), then run this script. Cells have tags:

task
    Code for students to write, between the lines ``# BEGIN SOLUTION: what to do`` and
    ``# END SOLUTION``, as nbgrader marks it.
check
    Tests of the task before it.
answer
    Text that answers a question.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
EXERCISE = HERE / "lung_segmentation_exercise.py"
STUDENT = HERE / "lung_segmentation_exercise_student.ipynb"
SOURCES = (EXERCISE, HERE / "segment_your_dicom.py")

_SOLUTION = re.compile(
    r"^(?P<indent> *)# BEGIN SOLUTION: (?P<what>[^\n]*)\n(?P<code>.*?)^(?P=indent)# END SOLUTION$",
    re.DOTALL | re.MULTILINE,
)
_NOTE = """

**How to work.** Replace each line `raise NotImplementedError(...)` by your code. Then run the cell
below it, which checks your code and names what is wrong. Write your answers to the questions into
the cells "Your answer". Run the notebook from top to bottom: later cells use your functions."""


def read_source(path: Path) -> NotebookNode:
    """Return the notebook of a text file, with cell IDs that do not change between calls."""
    notebook = jupytext.read(path)
    notebook.metadata = {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03}"
    return notebook


def student_version(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook without solutions and answers."""
    notebook = copy.deepcopy(notebook)
    del notebook.metadata["jupytext"]
    notebook.cells[0].source += _NOTE
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", ())
        if "answer" in tags:
            cell.source = "**Your answer:**"
        if "task" in tags:
            cell.source = _SOLUTION.sub(_stub, cell.source)
    return notebook


def _stub(match: re.Match[str]) -> str:
    return f'{match["indent"]}raise NotImplementedError("{match["what"]}")'


def solutions(notebook: NotebookNode) -> dict[str, str]:
    """Return the solutions of a notebook by the text of their markers."""
    found = (match for cell in notebook.cells for match in _SOLUTION.finditer(cell.source))
    return {match["what"]: match["code"].rstrip("\n") for match in found}


def to_text(notebook: NotebookNode) -> str:
    """Return the text of an ipynb file."""
    return f"{nbformat.writes(notebook)}\n"


def main() -> None:
    """Write all notebooks."""
    for source in SOURCES:
        source.with_suffix(".ipynb").write_text(to_text(read_source(source)), encoding="utf-8")
    STUDENT.write_text(to_text(student_version(read_source(EXERCISE))), encoding="utf-8")


if __name__ == "__main__":
    main()
