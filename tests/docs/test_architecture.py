import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_drawing_of_layers_is_up_to_date():
    script = runpy.run_path(str(ROOT / "docs" / "make_architecture_picture.py"))
    drawn = (ROOT / "docs" / "pictures" / "architecture.svg").read_text("utf-8")
    assert drawn == script["draw"](), "run: make reference"
