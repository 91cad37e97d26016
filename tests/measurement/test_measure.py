import csv
import math
from dataclasses import replace

import numpy as np
import pytest

import pleura
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.masks.mask import Mask
from pleura.measurement.measure import density_statistics, measure
from pleura.scan.geometry import affine_from_axes
from pleura.scan.labels import Label

AXIAL = affine_from_axes((10, 20, 30), ((0, 0, 2.0), (0, 0.5, 0), (0.8, 0, 0)))


def box():
    """A right lung of 4 x 10 x 10 voxels at -800 HU and a left one of half the size at -900."""
    hu = np.full((8, 30, 40), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[2:6, 10:20, 5:15], labels[2:4, 10:20, 25:35] = 1, 2
    hu[labels == 1], hu[labels == 2] = -800, -900
    scan = from_array(hu, affine=AXIAL, units="hu")
    return scan, Mask(labels, scan)


def test_volumes_masses_and_places_are_those_of_the_box():
    lungs, right, left = measure(*box()).regions
    voxel = 2.0 * 0.5 * 0.8 / 1000
    assert [r.region for r in (lungs, right, left)] == ["lungs", "right", "left"]
    assert [r.voxels for r in (lungs, right, left)] == [600, 400, 200]
    assert right.volume_ml == pytest.approx(400 * voxel)
    assert right.tissue_g == pytest.approx(0.2 * 400 * voxel)
    assert left.tissue_g == pytest.approx(0.1 * 200 * voxel)
    assert right.extent_mm == pytest.approx((8.0, 5.0, 8.0))
    assert right.centroid_mm == pytest.approx((10 + 9.5 * 0.8, 20 + 14.5 * 0.5, 30 + 3.5 * 2))
    assert lungs.densities.mean == pytest.approx((-800 * 2 - 900) / 3)
    assert lungs.thirds["basal"]["share"] == pytest.approx(1 / 3 + 1 / 3)


def test_slices_are_counted_from_the_foot_with_area_and_share():
    rows = [s for s in measure(*box()).slices if s.region == "lungs"]
    assert [row.slice for row in rows] == [2, 3, 4, 5]
    assert [row.area_px for row in rows] == [200, 200, 100, 100]
    assert rows[0].area_mm2 == pytest.approx(200 * 0.4)
    assert rows[0].share_of_slice == pytest.approx(200 / 1200)
    assert rows[3].mean == -800


def test_densities_are_those_of_their_definitions():
    values = np.array([-980, -951, -950, -911, -860, -700, -600, -250, -100, 50], np.int16)
    found = density_statistics(values)
    assert found.low_attenuation == {"LAA-950": 0.2, "LAA-910": 0.4, "LAA-856": 0.5}
    assert found.high_attenuation == 0.2
    assert found.aeration == {
        "hyperinflated": 0.4,
        "normally_aerated": 0.3,
        "poorly_aerated": 0.1,
        "not_aerated": 0.2,
    }
    assert found.percentiles["Perc15"] == np.percentile(values, 15)
    assert found.sd == pytest.approx(values.std())
    assert sum(found.histogram) == len(values)


def test_without_spacing_there_are_pixels_and_no_millimetres():
    scan, mask = box()
    plain = from_array(scan.hu()[3], units="hu")
    found = measure(plain, Mask(np.ascontiguousarray(mask.labels[3:4]), plain))
    assert found.regions[0].volume_ml is found.regions[0].extent_mm is None
    assert found.slices[0].area_mm2 is None
    assert found.slices[0].area_px == 200
    assert "spacing" in found.flags


def test_an_empty_mask_is_flagged_and_measures_nothing():
    scan, _ = box()
    found = measure(scan, Mask(np.zeros(scan.geometry.shape, np.uint8), scan))
    assert "no_lung" in found.flags
    assert found.regions[0].densities is None
    assert found.slices == ()


def test_turned_scans_measure_the_same():
    scan, mask = box()
    expected = measure(scan, mask)
    turned = np.ascontiguousarray(scan.hu()[::-1].transpose(1, 0, 2))
    flip = AXIAL.copy()
    flip[:3, 3] += 7 * AXIAL[:3, 0]
    flip[:3, 0] *= -1
    other = from_array(turned, affine=flip[:, [1, 0, 2, 3]], units="hu")
    labels = np.ascontiguousarray(mask.labels[::-1].transpose(1, 0, 2))
    found = measure(other, Mask(labels, other))
    assert found.slices == expected.slices
    for one, other_one in zip(found.regions, expected.regions, strict=True):
        assert one.centroid_mm == pytest.approx(other_one.centroid_mm)
        assert replace(one, centroid_mm=None) == replace(other_one, centroid_mm=None)


def test_scan_and_mask_may_be_paths_and_must_fit(sample, tmp_path):
    folder = sample.folder / "volume"
    found = pleura.measure(folder / "ct.nii.gz", folder / "lungs.nii.gz")
    assert found.regions[1].volume_ml > 1000
    assert -900 < found.regions[0].densities.mean < -600
    with pytest.raises(DataError, match="have different grids"):
        read_mask(sample.masks / "LCTSC-201_058.tif", read(folder / "ct.nii.gz"))


def test_a_mask_is_measured_with_its_scan():
    scan, mask = box()
    expected = measure(scan, mask)
    for found in (measure(mask), measure(scan, mask.labels), measure(mask, mask.labels)):
        assert found.regions == expected.regions
    with pytest.raises(DataError, match="without its scan"):
        measure(read_mask(mask.to_nibabel()))
    for arguments in ((mask, scan), (scan, scan)):
        with pytest.raises(DataError, match="the mask is a Scan"):
            measure(*arguments)


def test_the_public_table_of_267_slices_is_reproduced(data):
    """Areas exact, mean within 0.5, percentiles within 1; these are stored values, not HU."""
    folder = data / "kmader"
    with (folder / "lung_stats.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 267
    for row in rows:
        image = read_image_file(folder / "2d_images" / row["img_id"])
        inside = read_image_file(folder / "2d_masks" / row["img_id"]) > 0
        scan = from_array(np.clip(image, -1024, 32767).astype(np.int16), units="hu")
        found = measure(scan, Mask(inside[None].astype(np.uint8), scan, sides=False)).slices[0]
        assert found.area_px == float(row["lung_area_px"])
        assert math.isclose(found.area_px * 0.703125, float(row["lung_area_mm2"]), abs_tol=0.01)
        assert math.isclose(found.share_of_slice, float(row["lung_volume_fraction"]), abs_tol=1e-6)
        assert math.isclose(found.mean, float(row["lung_mean_hu"]), abs_tol=0.5)
        assert math.isclose(found.percentiles["Perc05"], float(row["lung_pd05_hu"]), abs_tol=1)
        assert math.isclose(found.percentiles["Perc95"], float(row["lung_pd95_hu"]), abs_tol=1)


def test_a_mask_of_another_grid_of_the_same_shape_is_refused():
    scan, mask = box()
    finer = AXIAL.copy()
    finer[:3, :3] /= 2
    other = from_array(scan.hu(), affine=finer, units="hu")
    with pytest.raises(DataError, match="have different grids"):
        measure(other, mask)


def test_a_mask_larger_than_any_lungs_is_flagged():
    affine = affine_from_axes((0, 0, 0), ((0, 0, 5.0), (0, 4.0, 0), (4.0, 0, 0)))
    scan = from_array(np.full((80, 100, 100), -800, np.int16), affine=affine, units="hu")
    whole = Mask(np.ones(scan.geometry.shape, np.uint8), scan, sides=False)
    assert measure(scan, whole).flags["volume"].startswith("the volume of both lungs is 64000 ml")


def test_repr_is_short_and_html_is_a_table():
    found = measure(*box())
    assert repr(found).startswith("Measurement(array; 0 ml; mean -833 HU; flags: ")
    html = found._repr_html_()
    assert "<td" in html
    assert "LAA-950, %" in html
    assert [row[0] for row in found.table()][:2] == ["voxels", "volume, ml"]


def test_slices_are_written_as_csv(tmp_path):
    found = measure(*box())
    found.write_slices(tmp_path / "slices.csv")
    with (tmp_path / "slices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.slices)
    assert rows[0]["region"] == "lungs"
    assert float(rows[0]["Perc15"]) == found.slices[0].percentiles["Perc15"]
    assert max(len(value) for row in rows for value in row.values()) <= len("-0.00123457")


def test_without_a_mask_the_default_model_segments(sample):
    found = pleura.measure(sample.folder / "volume" / "ct.nii.gz")
    assert [region.region for region in found.regions] == ["lungs", "right", "left"]
    assert 3500 < found.regions[0].volume_ml < 4500


def labelled(values):
    """The box, with other values for right lung and left lung."""
    scan, mask = box()
    return scan, np.array([0, *values], np.uint8)[mask.labels]


def test_labels_that_are_not_lungs_are_measured_one_by_one():
    scan, labels = labelled((6, 9))
    found = measure(scan, labels)
    assert [r.region for r in found.regions] == ["label 6", "label 9"]
    assert [r.voxels for r in found.regions] == [400, 200]
    assert [r.densities.mean for r in found.regions] == [-800, -900]
    assert [name for name, *_ in found.table()[:3]] == ["voxels", "volume, ml", "mean, HU"]
    assert not any("LAA" in name for name, *_ in found.table())
    assert {s.region for s in found.slices} == {"label 6", "label 9"}
    assert "label 9 0 ml" in repr(found)


def test_classes_of_a_label_file_are_selected_by_value():
    scan, labels = labelled((1, 2))
    found = measure(scan, labels, classes={"lung": 1, "lesion": 2, "nodule": 9})
    assert {r.region: r.voxels for r in found.regions} == {"lung": 400, "lesion": 200, "nodule": 0}
    assert found.regions[2].volume_ml == 0
    assert found.labels == "labels: 1 lung, 2 lesion, 9 nodule (as requested)"
    with pytest.raises(DataError, match="lung and lesion have the same value 1"):
        measure(scan, labels, classes={"lung": 1, "lesion": 1})
    for mask, roi in ((None, None), (box()[1], None), (labels, {"1": 1})):
        with pytest.raises(DataError, match="exclude roi"):
            measure(scan, mask, roi=roi, classes={"lung": 1})


def test_many_labels_are_measured_by_name():
    """Files of other tools have more labels than pleura accepts without a selection."""
    scan, labels = labelled((51, 52))
    labels[0, 0, :40] = np.arange(100, 140)
    with pytest.raises(DataError, match="are not labels"):
        measure(scan, labels)
    assert measure(scan, labels, classes={"heart": 51}).regions[0].voxels == 400


def test_the_flag_of_the_border_names_the_classes():
    scan, labels = labelled((6, 9))
    labels[2, 0, 0] = 9
    found = measure(scan, labels)
    assert found.flags["truncated"].endswith("may not be measured: label 9")
    labels[:] = 0
    assert "nothing_found" in measure(scan, labels, classes={"a": 3}).flags


@pytest.fixture
def structures(tmp_path):
    """Return a function that writes the box as structures with two names."""
    scan, mask = box()

    def save(*names):
        classes = tuple(Label(i, name) for i, name in enumerate(names, 1))
        path = tmp_path / "mask.seg.nrrd"
        replace(mask, sides=False, classes=classes).write(path)
        return scan, path

    return save


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (("GTV", "Heart"), None, {"GTV": 400, "Heart": 200}),
        (("GTV", "GTV"), None, {"GTV (1)": 400, "GTV (2)": 200}),
        (("right lung", "lesion"), None, {"lungs": 400, "right": 400, "left": 0}),
        (("right lung", "lesion"), {"lesion": 7, "Lung_R": 9}, {"lesion": 200, "Lung_R": 400}),
    ],
)
def test_structures_are_measured_by_name(structures, names, classes, expected):
    found = measure(*structures(*names), classes=classes)
    assert {r.region: r.voxels for r in found.regions} == expected


def test_a_class_that_a_file_lacks_is_refused(structures):
    with pytest.raises(DataError, match="no structure 'GTW'; did you mean GTV"):
        measure(*structures("GTV", "Heart"), classes={"GTW": 1})


def test_structures_that_overlap_are_measured_as_a_whole(tmp_path):
    scan, mask = box()
    bits = np.where(mask.labels > 0, 1, 0) | np.where(mask.labels == 2, 2, 0)
    classes = (Label(1, "organ", overlap=True), Label(2, "lesion", overlap=True))
    path = tmp_path / "mask.seg.nrrd"
    replace(mask, labels=bits.astype(np.uint16), sides=False, classes=classes).write(path)
    assert [r.voxels for r in measure(scan, path).regions] == [600, 200]
