"""What the page shows of a scan and its mask, in a real Chromium."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from viewer_page import NEEDS_PAGE, ONE_GRID, READY, draw_at, opened, served, until

from pleura.cohort.batch import segment_cohort
from pleura.corrections.cases import case_from_files
from pleura.corrections.saving import save_correction
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, rgb
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import flag_title
from pleura.measurement.measure import AERATION, measure
from pleura.segmentation.continuity import find_discontinuity
from pleura.viewer.case_list import find_cases

pytestmark = NEEDS_PAGE
VOXEL = "[...viewer.frac2vox(viewer.scene.crosshairPos)].map(Math.round)"
FLAGS = {
    "truncated": "the lung reaches the lowest and the highest slice",
    "asymmetric": "the left lung is missing or much smaller than the other",
}


@pytest.fixture
def page(browser, varied):
    with served([case_from_files(*varied)]) as address, opened(browser, address) as page:
        until(page, READY)
        yield page


def canonical(pair):
    """Return HU and labels (slices, rows, columns), foot to head, front to back, right to left."""
    scan = read(pair[0])
    order = scan.geometry.to_canonical()
    return order.apply(scan.hu()), order.apply(read_mask(pair[1], scan).labels)


def table(page, section="measurements"):
    """Return the rows of a table of the page by name."""
    rows = page.evaluate(
        f"[...document.querySelectorAll('#{section} tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return {name: cells for name, *cells in rows}


def labels_of(page, index):
    """Return the labels of an overlay (slices, rows, columns), foot to head, as on disk."""
    volume = page.evaluate(
        f"[[...viewer.volumes[{index}].img], viewer.volumes[{index}].hdr.dims.slice(1, 4)]"
    )
    return np.array(volume[0]).reshape(volume[1], order="F")


def test_every_plane_of_the_opening_view_crosses_lung(page, varied):
    _, labels = canonical(varied)
    lung = max((1, 2), key=lambda side: np.count_nonzero(labels == side))
    x, y, z = page.evaluate(VOXEL)
    right_to_left, front_to_back = labels.shape[2] - 1 - x, labels.shape[1] - 1 - y
    for plane in (labels[z], labels[:, front_to_back], labels[:, :, right_to_left]):
        assert (plane == lung).any()


def test_measurements_equal_those_of_the_library(page, varied):
    measured = {region.region: region for region in measure(*varied).regions}
    shown = table(page)
    regions = [measured[name] for name in ("right", "left", "lungs")]
    assert shown["Volume, ml"] == [f"{region.volume_ml:.0f}" for region in regions]
    assert shown["Mean, HU"] == [f"{region.densities.mean:.0f}" for region in regions]
    low = [100 * region.densities.low_attenuation["LAA-950"] for region in regions]
    assert [float(text) for text in shown["Below -950 HU, %"]] == pytest.approx(low, abs=0.051)
    for name in AERATION:
        shares = [100 * region.densities.aeration[name] for region in regions]
        row = shown[f"{name.capitalize().replace('_', ' ')}, %"]
        assert [float(text) for text in row] == pytest.approx(shares, abs=0.051)
    _, labels = canonical(varied)
    for row, end in (("Lowest slice", 0), ("Highest slice", -1)):
        slices = [np.flatnonzero((labels == side).any((1, 2)))[end] + 1 for side in (1, 2)]
        assert shown[row][:2] == [str(number) for number in slices]


def test_a_measurement_shows_its_place(page, varied):
    hu, labels = canonical(varied)
    page.click("#measurements button[aria-label^='Lowest slice, left']")
    x, y, z = page.evaluate(VOXEL)
    assert z == np.flatnonzero((labels == 2).any((1, 2)))[0]
    assert labels[z, labels.shape[1] - 1 - y, labels.shape[2] - 1 - x] == 2
    page.click("#measurements button[aria-label^='Not aerated, %, right']")
    x, y, z = page.evaluate(VOXEL)
    low, high = AERATION["not_aerated"]
    inside = (labels == 1) & (hu >= low) & (hu < high)
    assert inside[z, labels.shape[1] - 1 - y, labels.shape[2] - 1 - x]
    assert inside[z].sum() == inside.sum((1, 2)).max()


def test_aeration_classes_are_those_of_the_library(page, varied):
    page.keyboard.press("n")
    until(page, "viewer.volumes.length === 2")
    hu, labels = (np.asarray(nib.load(path).dataobj) for path in varied)
    expected = np.zeros(hu.shape, int)
    for number, (low, high) in enumerate(AERATION.values(), 1):
        expected[(labels > 0) & (hu >= low) & (hu < high)] = number
    np.testing.assert_array_equal(labels_of(page, 1), expected)
    page.click("#aeration")
    until(page, "viewer.volumes.length === 1")


def test_surfaces_enclose_the_lungs_in_the_patient(browser, pair):
    """The 3-D view holds one surface per lung, in the world coordinates of the scan."""
    for path in pair:
        image = nib.load(path)
        nib.save(
            nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([4, 4, 4, 1])), path
        )
    mask = nib.load(pair[1])
    with served([case_from_files(*pair)]) as address, opened(browser, address, 1440) as page:
        until(page, READY)
        until(page, "viewer.meshes.length === 2")
        for number, name in ((1, "right"), (2, "left")):
            low, high, colour = page.evaluate(
                f"""(() => {{ const mesh = viewer.meshes.find((one) => one.name === '{name}');
                return [[...mesh.extentsMin], [...mesh.extentsMax], [...mesh.rgba255]]; }})()"""
            )
            voxels = np.argwhere(np.asarray(mask.dataobj) == number)
            corners = [voxels.min(0) - 0.5, voxels.max(0) + 0.5]
            box = np.array(np.meshgrid(*np.transpose(corners))).reshape(3, -1).T
            world = nib.affines.apply_affine(mask.affine, box)
            expected = world.min(0), world.max(0)
            np.testing.assert_allclose(np.add(low, high), np.add(*expected), atol=0.1)  # mm
            assert np.abs(low - expected[0]).max() < 3  # the smoothing rounds the edges
            assert colour == [*rgb(RIGHT_LUNG if number == 1 else LEFT_LUNG), 255]
        before = page.evaluate("viewer.meshes[0].id")
        page.click("#swap")
        until(page, f"viewer.meshes[0].id !== '{before}'")


def test_interpolation_depends_on_the_patient_and_not_on_the_order_of_the_file(browser, varied):
    """The same scan and mask, stored in another order of axes, give the same interpolated mask."""
    mask = nib.load(varied[1])
    labels = np.asarray(mask.dataobj).copy()
    labels[..., 2:4] = 0
    nib.save(nib.Nifti1Image(labels, mask.affine), varied[1])
    results = []
    for turned in (False, True):
        for path in varied:
            image = nib.load(path)
            if turned:
                image = image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
        with served([case_from_files(*varied)]) as address, opened(browser, address) as page:
            until(page, READY)
            page.click("#interpolate")
            until(page, "!document.querySelector('#save').disabled")
            results.append(page.evaluate("[...viewer.drawBitmap]"))
    assert np.count_nonzero(results[0])
    assert results[0] == results[1]


@ONE_GRID
def test_the_slider_of_slices_follows_and_moves_the_crosshair(page, varied):
    _, labels = canonical(varied)
    page.locator("#slice").focus()
    page.evaluate("(s => { s.value = 1; s.dispatchEvent(new Event('input')); })(slice)")
    assert page.evaluate(VOXEL)[2] == 0
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowUp")
    assert page.input_value("#slice") == "2"
    assert page.text_content("#slice-number") == f"2 of {len(labels)}"
    with_lung = np.flatnonzero(labels.any((1, 2)))
    extent = page.locator("#profile .extent")
    assert float(extent.get_attribute("x")) == with_lung[0] + 0.5
    assert float(extent.get_attribute("width")) == with_lung[-1] - with_lung[0]
    page.click("#view [value=sagittal]")
    assert page.text_content("#slice-number").endswith(f"of {labels.shape[2]}")


@ONE_GRID
def test_flags_are_marked_on_the_slider_and_show_their_slices(browser, varied):
    hu = np.zeros((6, 8, 8), np.int16)
    hu[:, 0, 0], hu[3:] = 10, 400
    hu[3:, 0, 0] = 390
    flags = {**FLAGS, "slices": find_discontinuity(hu, 2.5)}
    assert flags["slices"]
    case = replace(case_from_files(*varied), report={"flags": flags})
    with served([case]) as address, opened(browser, address) as page:
        until(page, READY)
        marks = page.locator("#profile .flag")
        centres = [
            float(mark.get_attribute("x")) + float(mark.get_attribute("width")) / 2
            for mark in marks.all()
        ]
        assert sorted(round(centre - 0.5) for centre in centres) == [0, 2, 3, 5]
        page.click("#flags button:text-is('Show slice 4')")
        assert page.evaluate(VOXEL)[2] == 3
        assert page.locator("#cases .badge").all_text_contents() == [*map(flag_title, flags)]


@ONE_GRID
def test_undo_to_the_saved_mask_leaves_nothing_to_save(page, varied):
    volume = table(page)["Volume, ml"]
    assert page.is_disabled("#undo")
    page.click("#tool [value=brush]")
    page.fill("#size", "9")
    page.dispatch_event("#size", "change")
    draw_at(page, (0.5, 0.5, 0.75))
    until(page, "Object.keys(localStorage).length === 1")
    assert page.text_content("#save-state") == "Not saved"
    drawn = table(page)["Volume, ml"]
    assert drawn != volume
    page.keyboard.press("Control+z")
    until(page, "document.getElementById('save').disabled")
    assert page.is_hidden("#save-state")
    assert page.evaluate("Object.keys(localStorage).length") == 0
    assert table(page)["Volume, ml"] == volume
    page.keyboard.press("Control+y")
    assert page.is_enabled("#save")
    assert table(page)["Volume, ml"] == drawn
    page.click("#save")
    until(page, "document.getElementById('save-state').textContent === 'Corrected'")
    assert page.is_disabled("#save")
    assert table(page)["Volume, ml"] == drawn
    assert page.locator("#cases .badge").all_text_contents() == ["corrected"]
    corrected = varied[1].with_name("lungs.corrected.nii.gz")
    changed = json.loads(corrected.with_name("lungs.corrected.json").read_text())["changed_slices"]
    assert page.locator("#profile .changed").count() == len(changed) == 1
    page.keyboard.press("Control+z")
    assert page.text_content("#save-state") == "Not saved"
    page.keyboard.press("Control+y")
    assert page.text_content("#save-state") == "Corrected"


def test_the_mask_before_the_correction_is_shown_beside_the_corrected_one(browser, varied):
    case = case_from_files(*varied)
    mask = nib.load(varied[1])
    labels = np.asarray(mask.dataobj).copy()
    labels[8:18, 8:10, 2] = 2
    save_correction(case, nib.Nifti1Image(labels, mask.affine).to_bytes())
    sizes = "[1, 2].map((side) => viewer.drawBitmap.filter((label) => label === side).length)"
    before = [int(np.count_nonzero(np.asarray(mask.dataobj) == side)) for side in (1, 2)]
    after = [int(np.count_nonzero(labels == side)) for side in (1, 2)]
    with served([case]) as address, opened(browser, address) as page:
        until(page, READY)
        assert page.text_content("#save-state") == "Corrected"
        assert page.evaluate(sizes) == after
        page.click("#tool [value=brush]")
        page.click("#before")
        until(page, f"JSON.stringify({sizes}) === '{json.dumps(before, separators=(',', ':'))}'")
        assert "before the correction" in page.text_content("#caption")
        assert not page.evaluate("viewer.opts.drawingEnabled")
        page.click("#before")
        assert page.evaluate(sizes) == after
        page.click("#changes")
        until(page, "viewer.volumes.length === 2")
        changed = np.asarray(mask.dataobj) != labels
        np.testing.assert_array_equal(labels_of(page, 1) == 1, changed)
        until(page, "document.querySelectorAll('#correction tbody tr').length === 2")
        ml = 0.8 * 0.9 * 2.5 / 1000
        expected = [before[0] * ml, after[0] * ml, np.count_nonzero(changed) * ml]
        shown = [float(text) for text in table(page, "correction")["right"]]
        assert shown == pytest.approx(expected, abs=0.051)


@ONE_GRID
def test_editing_ends_the_view_of_the_mask_before_the_correction(page, varied):
    page.click("#swap")
    page.click("#before")
    until(page, "document.getElementById('caption').textContent.includes('before')")
    page.keyboard.press("Control+z")
    assert page.get_attribute("#before", "aria-pressed") == "false"
    until(page, "document.getElementById('save').disabled")
    labels = np.asarray(nib.load(varied[1]).dataobj)
    counts = [page.evaluate(f"viewer.drawBitmap.filter((l) => l === {i}).length") for i in (1, 2)]
    assert counts == [np.count_nonzero(labels == i) for i in (1, 2)]


def test_failed_scans_are_listed_with_their_error(browser, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "damaged.nii.gz").write_bytes(b"\x1f\x8b no scan")
    (result,) = segment_cohort(scans, tmp_path / "out")
    assert result.status == "failed"
    cases = find_cases(tmp_path / "out")
    with served(cases) as address, opened(browser, address) as page:
        until(page, "!document.getElementById('failures').hidden")
        assert result.error in page.text_content("#failures li")
        assert "damaged" in page.text_content("#failures li strong")


@ONE_GRID
def test_on_a_phone_the_picture_comes_before_the_controls(browser, varied):
    with served([case_from_files(*varied)]) as address, opened(browser, address, 390) as page:
        until(page, READY)
        tops = [
            page.locator(part).bounding_box()["y"]
            for part in ("#stage", "#scrubber", "#bar", "#tools", "nav", "aside")
        ]
        assert tops == sorted(tops)
        assert tops[0] == 0
        stage = page.locator("#stage").bounding_box()
        assert stage["width"] == 390
        assert 350 < stage["height"] < 600
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
