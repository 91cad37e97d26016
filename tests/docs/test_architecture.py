import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_drawing_of_layers_is_up_to_date():
    script = runpy.run_path(str(ROOT / "docs" / "make_architecture_picture.py"))
    drawn = (ROOT / "docs" / "pictures" / "architecture.svg").read_text("utf-8")
    assert drawn == script["draw"](), "run: make reference"


def test_page_of_benchmarks_is_up_to_date():
    script = runpy.run_path(str(ROOT / "docs" / "make_benchmarks.py"))
    written = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert written == script["page"](), "run: make reference"
