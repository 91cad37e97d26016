"""What `pleura` exports: names, types, documentation, and the cost of importing it."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_origin

import pytest

import pleura

SOURCE = Path(pleura.__file__).parent
EXPORTS = [name for name in pleura.__all__ if name != "__version__"]
INCOMPLETE = {
    "export",
    "preview",
}


def test_import_loads_no_other_package():
    code = "import sys, pleura; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(output.stdout.split())
    assert not loaded & {"numpy", "cv2", "torch", "openvino", "pydicom", "matplotlib", "click"}


@pytest.mark.parametrize("name", EXPORTS)
def test_export_is_documented(name):
    exported = getattr(pleura, name)
    if get_origin(exported) is not None:
        return  # a type alias, documented in docs/reference/api.md
    text = inspect.getdoc(exported)
    assert text, name
    summary = text.splitlines()[0]
    assert summary.endswith("."), summary
    if inspect.isfunction(exported) and name not in INCOMPLETE:
        signature = inspect.signature(exported)
        section = _section(text, "Parameters")
        missing = [
            p
            for p in signature.parameters
            if not re.search(rf"^(.*, )?(\*\*)?{p}\b", section, re.M)
        ]
        assert not missing, f"undocumented parameters of {name}: {missing}"
        if signature.return_annotation not in (None, "None"):
            assert "Returns\n-------" in text, name
        assert "Raises\n------" in text or not _raises(exported), name
        assert len(signature.parameters) <= 7, name


def _raises(function) -> bool:
    return "raise " in inspect.getsource(function)


def _section(text: str, title: str) -> str:
    match = re.search(rf"{title}\n-+\n(.*?)(\n\n\w+\n---|\Z)", text, re.S)
    return match.group(1) if match else ""


def test_aliases_in_signatures_are_exported():
    functions = [f for name in EXPORTS if inspect.isfunction(f := getattr(pleura, name))]
    annotations = [str(p.annotation) for f in functions for p in _parameters(f)]
    names = {name for text in annotations for name in re.findall(r"\b[A-Z]\w+", text)}
    others = {"None", "Sequence", "Mapping", "Unpack", "Module", "ArrayLike", "AnyArray"}
    assert names - others <= {*EXPORTS}
    assert all("str | Path" not in text for text in annotations)


def _parameters(function):
    return inspect.signature(function).parameters.values()


def test_static_imports_are_the_exports():
    source = (SOURCE / "__init__.py").read_text()
    imported = dict(re.findall(r"^    from (\S+) import (\w+) as \w+$", source, re.M))
    pairs = re.findall(r"^    from (\S+) import (\w+) as \2$", source, re.M)
    assert sorted(name for _, name in pairs) == EXPORTS
    assert all(pleura._MODULE_BY_NAME[name] == module for module, name in pairs)
    assert set(imported) == set(pleura._NAMES_BY_MODULE)


def test_objects_have_short_reprs(sample, small_run):
    scan = pleura.read(sample.folder / "volume" / "ct.nii.gz")
    segmenter = pleura.Segmenter()
    lungs = segmenter.segment(scan)
    objects = [scan, lungs, pleura.measure(scan, lungs), *lungs.flags, *scan.decisions]
    objects += [pleura.compare(sample.masks, sample.masks), scan.intensity]
    objects += [pleura.find_pairs(sample.images, sample.masks)[0], scan.geometry, segmenter]
    objects += [pleura.load_recipe("default"), small_run]
    for shown in objects:
        assert len(repr(shown)) < 200, repr(shown)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pleura.nothing


def test_package_is_marked_as_typed():
    assert (SOURCE / "py.typed").is_file()
