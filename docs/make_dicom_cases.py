"""Write docs/reference/dicom-cases.md: the result of reading each file of a collection.

    python docs/make_dicom_cases.py FOLDER

FOLDER has one folder per kind of case. A test compares the page with the code if FOLDER exists.
"""

import sys
import warnings
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pleura
from pleura.errors import PleuraError

PAGE = Path(__file__).parent / "reference" / "dicom-cases.md"
SERIES = (
    "chest_series_A0002_B40f",
    "enhanced_legacy_23x38x3/classic",
    "gantry_tilt/*",
    "missing_slice",
    "same_position",
    "duplicate_slice",
    "orientations_one_patient/*",
)
HEAD = """\
# Unusual DICOM files

The results of reading a collection of public DICOM files that are difficult to read: all transfer
syntaxes, multi-frame, tilted gantry, truncated, or not CT. Folders are read as series, then each
file alone. `python docs/make_dicom_cases.py FOLDER` wrote this page, and a test compares it with
the code.

"""


def outcome(path: Path) -> tuple[str, str]:
    """Return ``read`` or ``refused``, and the properties of the scan or the error message."""
    try:
        scan = pleura.read(path)
        scan.hu()
    except PleuraError as error:
        return "refused", error.message
    decisions = [f"{d.topic}: {d.choice}" for d in scan.decisions if d.warning]
    text = "; ".join([f"{scan.geometry}, {scan.intensity}", *decisions])
    return "read", text.replace(str(path), path.name)


def row(path: Path, root: Path) -> tuple[str, str]:
    """Return the name of a file or folder, and the cells of its status and result."""
    status, text = outcome(path)
    text = " ".join(text.split()).replace("|", "/")
    return path.relative_to(root).as_posix(), f"{status} | {text}"


def table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return lines of a table; files in a folder with equal results share a line."""
    grouped = groupby(rows, key=lambda row: (row[0].rpartition("/")[0], row[1]))
    lines = []
    for (folder, result), group in grouped:
        names = [name for name, _ in group]
        title = f"`{names[0]}`" if len(names) == 1 else f"`{folder}/`: {len(names)} files"
        lines.append(f"| {title} | {result} |")
    return lines


def page(root: Path) -> str:
    """Return the page."""
    warnings.simplefilter("ignore")
    folders = [f for pattern in SERIES for f in sorted(root.glob(pattern)) if f.is_dir()]
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and f.suffix not in (".md", ".csv")]
    files = [file for file in files if file.suffix != ".txt" or "derived" in str(file)]
    lines = ["## Series", "", "| folder | status | result |", "|---|---|---|"]
    for folder in folders:
        lines += table([row(folder, root)])
    lines += ["", "## Files", "", "| file | status | result |", "|---|---|---|"]
    return HEAD + "\n".join(lines + table(row(file, root) for file in files)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(Path(sys.argv[1])), encoding="utf-8")
