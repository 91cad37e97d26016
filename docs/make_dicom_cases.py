"""Write docs/reference/dicom-cases.md: the result of reading each file of a collection.

    python docs/make_dicom_cases.py FOLDER

FOLDER has one folder per kind of case. A test compares the page with the code if FOLDER exists.
"""

import sys
import warnings
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
# Results of reading unusual DICOM files

Written by `python docs/make_dicom_cases.py FOLDER` from a collection of public DICOM files that are
difficult to read: all transfer syntaxes, multi-frame, tilted gantry, truncated, or not CT. Folders
are read as series first, then each file alone. A test compares this page with the code.

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


def row(path: Path, root: Path) -> str:
    status, text = outcome(path)
    name = path.relative_to(root).as_posix()
    return f"| `{name}` | {status} | {' '.join(text.split()).replace('|', '/')} |"


def page(root: Path) -> str:
    warnings.simplefilter("ignore")
    folders = [f for pattern in SERIES for f in sorted(root.glob(pattern)) if f.is_dir()]
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and f.suffix not in (".md", ".csv")]
    table = ["| {} | status | result |", "|---|---|---|"]
    lines = ["## Series", "", table[0].format("folder"), table[1]]
    lines += [row(folder, root) for folder in folders]
    lines += ["", "## Files", "", table[0].format("file"), table[1]]
    lines += [row(file, root) for file in files if file.suffix != ".txt" or "derived" in str(file)]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(Path(sys.argv[1])), encoding="utf-8")
