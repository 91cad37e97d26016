"""What `pleura` exports: names, types, documentation, and the cost of importing it."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pleura

SOURCE = Path(pleura.__file__).parent
EXPORTS = [name for name in pleura.__all__ if name != "__version__"]


def test_import_loads_no_other_package():
    code = "import sys, pleura; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(output.stdout.split())
    assert not loaded & {"numpy", "cv2", "torch", "openvino", "pydicom", "matplotlib", "click"}


@pytest.mark.parametrize("name", EXPORTS)
def test_export_resolves_and_has_a_summary(name):
    summary = inspect.getdoc(getattr(pleura, name)).splitlines()[0]
    assert summary.endswith("."), summary


def test_static_imports_are_the_exports():
    source = (SOURCE / "__init__.py").read_text()
    imported = dict(re.findall(r"^    from (\S+) import (\w+) as \w+$", source, re.M))
    pairs = re.findall(r"^    from (\S+) import (\w+) as \2$", source, re.M)
    assert sorted(name for _, name in pairs) == EXPORTS
    assert all(pleura._MODULE_BY_NAME[name] == module for module, name in pairs)
    assert set(imported) == set(pleura._NAMES_BY_MODULE)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pleura.nothing


def test_package_is_marked_as_typed():
    assert (SOURCE / "py.typed").is_file()
