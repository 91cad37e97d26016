"""Grey values with a stated window, from Python, the command line, manifests and results."""

import json
import re

import numpy as np
import pytest
from commands import pleura, refused

import pleura as library
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import SegmentationOptions
from pleura.corrections.cases import cases_from_results
from pleura.errors import ScanError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.intensity.window import Window, units_or_window

LUNG, MEDIASTINUM = (-600.0, 1500.0), (40.0, 400.0)


def render(hu, window, top=255):
    level, width = window
    return np.clip(np.rint((hu - level + width / 2) / width * top), 0, top)


@pytest.fixture(scope="module")
def hu(sample):
    return read_image_file(sample.images / "LCTSC-201_049.tif").astype(float)


@pytest.fixture
def picture(hu, tmp_path):
    write_image_file(tmp_path / "a.png", render(hu, LUNG).astype(np.uint8))
    return tmp_path / "a.png"


@pytest.mark.parametrize("window", [LUNG, MEDIASTINUM, (-200, 3000)])
@pytest.mark.parametrize("stored", ["uint8", "inverted", "0 to 1", "uint16", "signed"])
def test_the_window_restores_the_hu(hu, window, stored):
    top = {"0 to 1": 1000, "uint16": 65535}.get(stored, 255)
    grey = render(hu, window, top)
    grey[0, :2] = 0, top
    dtype = {"0 to 1": float, "uint16": np.uint16, "signed": np.int16}.get(stored, np.uint8)
    if stored == "inverted":
        grey = top - grey
    grey = grey / top if stored == "0 to 1" else grey - 100 if stored == "signed" else grey
    units = "inverted" if stored == "inverted" else "auto"
    scan = from_array(grey.astype(dtype), window=window, units=units)
    low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    shown = (hu > max(low, -1024)) & (hu < high)
    shown[0, :2] = False  # the grey values of both limits
    assert np.abs(scan.hu()[0] - hu)[shown].max() <= window[1] / top / 2 + 0.51
    decision = scan.decisions[-1]
    assert (decision.choice, decision.warning) == (scan.intensity.name, False)
    assert decision.reason == f"given by --window: {low:g} to {high:g} HU"
    assert not scan.intensity.calibrated


def test_the_range_is_that_of_all_slices(hu):
    stack = np.repeat(hu[None].astype(np.int16), 30, 0)
    stack[-1, 0, 0] = 3000  # in a slice from which units are not estimated
    low, high = float(stack.min()), 3000.0
    scan = from_array(stack + 500, window=((low + high) / 2, high - low))
    assert np.array_equal(scan.hu(), np.maximum(stack, -1024))


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (MEDIASTINUM, "soft tissue would have -"),
        (None, "soft tissue would have -.*; the values are probably HU"),
    ],
)
def test_levels_that_contradict_the_window_are_a_warning(hu, stored, says):
    values = hu.astype(np.int16) if stored is None else render(hu, stored).astype(np.uint8)
    [decision] = [d for d in from_array(values, window=LUNG).warnings if d.topic == "units"]
    assert re.search(f"given by --window: -1350 to 150 HU, but {says}", decision.reason)


def test_a_window_of_other_air_is_a_warning(hu):
    scan = from_array(render(hu, LUNG).astype(np.uint8), window=MEDIASTINUM)
    assert "but air would have -" in scan.warnings[-1].reason


@pytest.mark.parametrize("window", [(40, 0), (40, -400), (np.nan, 400), (40, np.inf)])
def test_an_invalid_window_is_refused(hu, window):
    with pytest.raises(ScanError, match="is invalid"):
        from_array(hu, window=window)


@pytest.mark.parametrize("units", ["hu", "offset", Window(40, 400)])
def test_a_window_excludes_other_units(hu, units):
    with pytest.raises(ScanError, match="a window is for grey values"):
        from_array(hu, window=LUNG, units=units)
    with pytest.raises(ScanError, match="a window is for grey values"):
        SegmentationOptions(units=units, window=LUNG)


def test_a_constant_image_has_no_window():
    with pytest.raises(ScanError, match="the image is constant"):
        from_array(np.full((64, 64), -7, np.int16), window=LUNG)


@pytest.mark.parametrize("command", ["info", "segment", "measure"])
def test_commands_accept_a_window(picture, tmp_path, command):
    output = ["-o", tmp_path / "mask.png"] if command == "segment" else []
    record = tmp_path / "result.json"
    pleura(command, picture, "--window", -600, 1500, "--json", record, *output)
    content = record.read_text()
    if command == "measure":
        assert "values were converted from grey" in content
    else:
        assert "given by --window: -1350 to 150 HU" in content
    refused(command, picture, "--window", -600, 0, *output, says="level -600 and width 0")
    refused(command, picture, "--window", 0, 9, "--units", "hu", *output, says="the units are hu")


def test_evaluate_reads_images_with_a_window(picture, tmp_path):
    mask = tmp_path / "mask.png"
    pleura("segment", picture, "--window", -600, 1500, "-o", mask)
    flags = []
    for level, width in ((-600, 1500), (40, 400)):
        window = "--window", level, width
        pleura("evaluate", "default", picture, mask, "-q", "--json", tmp_path / "e.json", *window)
        flags.append(json.loads((tmp_path / "e.json").read_text())["flags"])
    assert "units" not in str(flags[0])
    assert "units" in str(flags[1])


def test_a_manifest_and_the_viewer_keep_the_window(picture, tmp_path):
    manifest, out = tmp_path / "list.csv", tmp_path / "out"
    manifest.write_text(f"path,name,window\n{picture.name},own,-600 1500\n{picture.name},other,\n")
    options = SegmentationOptions(window=(-212, 1624))
    for status in ("done", "skipped"):
        rows = segment_cohort(manifest, out, options)
        assert {row.status for row in rows} == {status}
    cases = {case.name: case.read_scan() for case in cases_from_results(out)}
    for name, window in (("own", LUNG), ("other", (-212, 1624))):
        assert np.array_equal(cases[name].hu(), read(picture, window=window).hu())
    changed = SegmentationOptions(window=(-200, 1600))
    statuses = {row.name: row.status for row in segment_cohort(manifest, out, changed)}
    assert statuses == {"own": "skipped", "other": "done"}


@pytest.mark.parametrize(
    ("window", "says"),
    [("-600", "window"), ("-600 wide", "window"), ("40 0", "level 40 and width 0 is invalid")],
)
def test_a_bad_window_in_a_manifest_names_its_row(picture, tmp_path, window, says):
    (tmp_path / "list.csv").write_text(f"path,window\n{picture.name},{window}\n")
    with pytest.raises(library.DataError, match=f"row 2 of the manifest: .*{says}"):
        segment_cohort(tmp_path / "list.csv", tmp_path / "out")


def test_the_viewer_shows_a_scan_with_its_window(picture):
    from pleura.viewer.case_list import find_cases

    case = next(iter(find_cases(picture, units=Window(*LUNG))))
    assert np.array_equal(case.read_scan().hu(), read(picture, window=LUNG).hu())


def test_mapping_of_a_window_has_its_limits_name_and_calibration():
    mapping = Window(40, 400).mapping(0, 255)
    assert (str(mapping), mapping.calibrated, mapping.window) == ("grey", False, (-160, 240))
    assert mapping.to_hu(np.array([0, 255], np.uint8)).tolist() == [-160, 240]
    inverted = Window(40, 400, inverted=True).mapping(0, 255)
    assert (str(inverted), inverted.window) == ("inverted grey", (-160, 240))
    assert inverted.to_hu(np.array([0, 255], np.uint8)).tolist() == [240, -160]


def test_window_is_accepted_with_units_of_grey_values_only():
    assert units_or_window("grey", (40, 0.5)) == Window(40, 0.5)
    assert units_or_window("hu", None) == "hu"
    hint = "\n  hint: pass --window without --units, or with --units inverted"
    with pytest.raises(ScanError, match=rf"but the units are hu{re.escape(hint)}$"):
        units_or_window("hu", (40, 400))
    hint = "\n  hint: pass level and width in HU, with a width above 0, such as -600 1500"
    with pytest.raises(ScanError, match=rf"is invalid{re.escape(hint)}$"):
        Window(40, 0)
