"""Write docs/reference/dicom-cases.md: what pleura makes of each file of a collection of cases.

    python docs/make_dicom_cases.py FOLDER

FOLDER holds the cases by kind. The test that holds the page to the code runs where they are.
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
# What becomes of odd DICOM files

Written by `python docs/make_dicom_cases.py FOLDER`, from a collection of public DICOM files that
are difficult to read: compressed in every way, multi-frame, tilted, cut off, or no CT at all. First
the folders read as series, then every file by itself. A test holds this page to the code.

"""


def outcome(path: Path) -> tuple[str, str]:
    """Return whether it was read, and what was said."""
    try:
        scan = pleura.read(path)
        scan.hu()
    except PleuraError as error:
        return "refused", error.message
    told = [f"{d.topic}: {d.choice}" for d in scan.decisions if d.warning]
    said = "; ".join([f"{scan.geometry}, {scan.intensity}", *told])
    return "read", said.replace(str(path), path.name)


def row(path: Path, root: Path) -> str:
    status, said = outcome(path)
    name = path.relative_to(root).as_posix()
    return f"| `{name}` | {status} | {' '.join(said.split()).replace('|', '/')} |"


def page(root: Path) -> str:
    warnings.simplefilter("ignore")
    folders = [f for pattern in SERIES for f in sorted(root.glob(pattern)) if f.is_dir()]
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and f.suffix not in (".md", ".csv")]
    table = ["| {} | | |", "|---|---|---|"]
    lines = ["## Series", "", table[0].format("folder"), table[1]]
    lines += [row(folder, root) for folder in folders]
    lines += ["", "## Files", "", table[0].format("file"), table[1]]
    lines += [row(file, root) for file in files if file.suffix != ".txt" or "derived" in str(file)]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(Path(sys.argv[1])), encoding="utf-8")
