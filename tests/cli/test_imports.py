"""Commands import what they need: the import of slow packages is longer than a segmentation."""

import subprocess
import sys

import pytest

SLOW = {
    *("nibabel", "pydicom", "highdicom", "requests", "SimpleITK", "torch", "onnx", "onnxruntime"),
    *("matplotlib", "pandas", "scipy", "skimage", "pydantic", "rich", "dask", "fsspec"),
    *("asyncio", "starlette", "openvino.tools", "openvino_telemetry"),
}


@pytest.mark.parametrize("scan", ["volume/ct.nii.gz", "images/LCTSC-201_058.tif"])
def test_segmentation_imports_no_slow_package(scan, sample, tmp_path):
    path = sample.folder / scan
    output = tmp_path / ("mask" + "".join(path.suffixes))
    code = (
        "import sys\n"
        "from pleura.cli import cli\n"
        f"cli.main(['segment', {str(path)!r}, '-o', {str(output)!r}], standalone_mode=False)\n"
        "print(*(name for name, module in sys.modules.items() if module is not None))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split())
    assert output.exists()
    assert "openvino" in imported
    assert not imported & SLOW
