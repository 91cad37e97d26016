import subprocess
import sys

import pytest

WITHOUT_OPENCV = "import sys; sys.modules['cv2'] = None\n"


def run_script(script):
    return subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )


def test_segmentation_does_not_import_opencv(sample):
    script = (
        "import sys, pleura, pleura.cohort.batch, pleura.viewer.view, pleura.report.cohort\n"
        f"pleura.segment({str(sample.images / 'LCTSC-101_048.tif')!r})\n"
        "sys.exit('cv2' in sys.modules)"
    )
    done = run_script(script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["CheckReport", "CheckOptions", "Recipe", "load_recipe"])
def test_types_and_recipes_are_available_without_opencv(name):
    done = run_script(
        f"{WITHOUT_OPENCV}import pleura; pleura.{name}; pleura.load_recipe('default')"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["check", "preview"])
def test_missing_opencv_is_an_error_that_names_the_extra(sample, tmp_path, command):
    options = ["-o", str(tmp_path / "pairs.png")] if command == "preview" else []
    arguments = ["pleura", command, str(sample.images), str(sample.masks), *options]
    done = run_script(
        f"{WITHOUT_OPENCV}sys.argv = {arguments!r}\nfrom pleura.cli import main\nmain()"
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: OpenCV is not installed")
    assert lines[1:] == ['  hint: run pip install "pleura[check]"']
