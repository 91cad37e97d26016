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
