import itertools

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import write_series

from pleura.errors import ScanError
from pleura.formats.image_files import read_image_file
from pleura.formats.images import from_array
from pleura.formats.read import read
from pleura.scan.geometry import Geometry, affine_from_axes
from pleura.segmentation.masking import masked_scan
from pleura.segmentation.postprocessing import HU_STEP, clean_mask, label_sides
from pleura.segmentation.segmenter import Segmenter

TURNS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)
AXIAL = affine_from_axes((-128, -128, 40), ((0, 0, 12.0), (0, 2.0, 0), (2.0, 0, 0)))


@pytest.fixture(scope="module")
def chest(sample):
    """Six slices of a patient, from foot to head: int16 HU."""
    names = [f"LCTSC-201_{n:03d}.tif" for n in (41, 49, 54, 58, 62, 70)]
    return np.stack([read_image_file(sample.images / name) for name in names]).astype(np.int16)


@pytest.fixture(scope="module")
def segmenter(model):
    with Segmenter(model, precision="fp32") as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def expected(chest, segmenter):
    return segmenter(from_array(chest, affine=AXIAL, units="hu")).labels


def test_two_lungs_are_found_on_their_sides(sample, chest, expected):
    reference = read_image_file(sample.masks / "LCTSC-201_058.tif") > 0
    found = expected[3] > 0
    assert (found & reference).sum() / (found | reference).sum() > 0.8
    columns = [np.argwhere(expected == side)[:, 2].mean() for side in (1, 2)]
    assert columns[0] < 128 < columns[1]


@pytest.fixture(scope="module")
def without_network(model):
    """A threshold in the place of the network: it has a result for each voxel alone."""
    with Segmenter(model) as segmenter:
        segmenter.engine.probability = lambda hu: np.where(
            (hu > -950) & (hu < -500), 255, 0
        ).astype(np.uint8)
        yield segmenter


@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_every_orientation_gives_the_same_lungs_in_the_patient(chest, without_network, axes, signs):
    check_orientation(chest, without_network, axes, signs)


@pytest.mark.parametrize(("axes", "signs"), [TURNS[0], TURNS[13], TURNS[34]])
def test_the_network_gives_the_same_lungs_in_every_orientation(chest, segmenter, axes, signs):
    check_orientation(chest, segmenter, axes, signs)


def check_orientation(chest, segmenter, axes, signs):
    expected = segmenter(from_array(chest, affine=AXIAL, units="hu")).labels
    assert set(np.unique(expected)) == {0, 1, 2}
    turned = np.ascontiguousarray(chest.transpose(axes)[tuple(slice(None, None, s) for s in signs)])
    affine = np.eye(4)
    for new, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[:3, new] = sign * AXIAL[:3, axis]
        if sign < 0:
            affine[:3, 3] += (chest.shape[axis] - 1) * AXIAL[:3, axis]
    affine[:3, 3] += AXIAL[:3, 3]
    scan = from_array(turned, affine=affine, units="hu")
    found = segmenter(scan).labels
    again = expected.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
    assert np.array_equal(found, again)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_position_of_lungs_from_dicom_agrees_with_itk(chest, expected, segmenter, tmp_path, suffix):
    write_series(tmp_path / "series", chest, AXIAL, names="fbdace")
    mask = segmenter(read(tmp_path / "series"))
    mask.write(tmp_path / f"lungs{suffix}")
    image = sitk.ReadImage(str(tmp_path / f"lungs{suffix}"))
    labels = sitk.GetArrayFromImage(image)
    assert np.array_equal(labels, expected)
    for side in (1, 2):
        index = np.argwhere(labels == side)[0]
        place = image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
        assert place == pytest.approx((AXIAL @ (*index, 1))[:3], abs=1e-3)


def test_picture_gets_a_mask_of_its_own_size_and_units_are_told(sample, segmenter, tmp_path):
    scan = read(sample.images / "LCTSC-201_058.tif")
    mask = segmenter(scan)
    assert str(scan.intensity) == "HU"
    mask.write(tmp_path / "mask.png")
    written = read_image_file(tmp_path / "mask.png")
    assert written.shape == (256, 256)
    assert set(np.unique(written)) == {0, 1, 2}
    flipped = segmenter(read(sample.images / "LCTSC-201_058.tif", flip=True))
    both = (mask.labels > 0) & (flipped.labels > 0)
    assert (mask.labels[both] != flipped.labels[both]).mean() > 0.99


def test_masked_scan_keeps_lung_and_its_position(chest, segmenter):
    scan = from_array(chest, affine=AXIAL, units="hu")
    mask = segmenter(scan)
    masked = masked_scan(mask)
    whole = masked.hu()
    assert masked.geometry is mask.geometry
    assert np.array_equal(whole[mask.labels > 0], chest[mask.labels > 0])
    assert (whole[mask.labels == 0] == -1024).all()
    cropped_scan = masked_scan(mask, crop=True)
    cut, cropped = cropped_scan.hu(), cropped_scan.geometry
    assert cut.shape == cropped.shape
    assert cut.size < 0.6 * whole.size
    index = np.argwhere(cut > -1024)[7]
    there = np.linalg.inv(AXIAL) @ (*cropped.index_to_world(index), 1)
    assert cut[tuple(index)] == chest[tuple(np.rint(there[:3]).astype(int))]


def test_probability_is_kept_on_the_scans_grid_when_asked_for(chest, segmenter):
    turned = np.ascontiguousarray(chest[::-1])
    affine = AXIAL.copy()
    affine[:3, 3] += (len(chest) - 1) * AXIAL[:3, 0]
    affine[:3, 0] *= -1
    scan = from_array(turned, affine=affine, units="hu")
    result = segmenter.segment(scan, keep_probability=True)
    assert result.probability.shape == turned.shape
    inside = result.probability[result.labels > 0]
    assert (inside >= segmenter.threshold_level).mean() > 0.95
    assert segmenter.segment(scan).probability is None


def grid(shape, spacing=(3.0, 1.0, 1.0)):
    z, y, x = spacing
    return Geometry(shape, affine_from_axes((0, 0, 0), ((0, 0, z), (0, y, 0), (x, 0, 0))))


def ball(shape, centre, radius):
    offsets = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (offsets**2).sum(0) <= radius**2


def lung_like(lung):
    """HU of soft tissue, with lung and its vessels where lung is."""
    rng = np.random.default_rng(0)
    return np.where(lung, rng.normal(-850, 60, lung.shape), 30).astype(np.int16)


def sampled(hu):
    return hu[:, ::HU_STEP, ::HU_STEP]


def test_specks_go_and_holes_are_filled():
    lung = ball((20, 64, 64), (10, 32, 20), 9)
    hu = lung_like(lung)
    lung[10, 32, 20] = False
    lung[2, 60, 60] = True
    kept = clean_mask(lung.copy(), sampled(hu))
    assert kept[10, 32, 20]
    assert not kept[2, 60, 60]
    nothing = np.zeros_like(lung)
    assert not clean_mask(nothing, sampled(hu)).any()


def test_a_mass_inside_is_filled_and_the_dome_of_the_liver_is_not():
    lung = ball((40, 96, 96), (20, 48, 48), 19)
    mass = ball(lung.shape, (26, 48, 48), 6)
    liver = ball(lung.shape, (4, 48, 40), 12)
    kept = clean_mask(lung & ~mass & ~liver, sampled(lung_like(lung & ~mass & ~liver)))
    assert kept[mass].all()
    assert kept[liver].mean() < 0.02
    alone = clean_mask((lung & ~liver)[10:11], sampled(lung_like(lung & ~liver))[10:11])
    assert not alone[liver[10:11]].any()


def test_gas_goes_unless_the_picture_is_grey():
    lung, gas = ball((20, 64, 64), (10, 32, 20), 9), ball((20, 64, 64), (10, 32, 50), 8)
    hu = lung_like(lung)
    hu[gas] = -1000
    assert np.array_equal(clean_mask(lung | gas, sampled(hu)), lung)
    assert np.array_equal(clean_mask(lung | gas, sampled(hu), calibrated=False), lung | gas)
    hu[lung] = np.minimum(hu[lung], -930)  # emphysema, with the vessels that are left
    hu[9:11, ::3] = np.where(lung[9:11, ::3], -850, hu[9:11, ::3])
    assert np.array_equal(clean_mask(lung.copy(), sampled(hu)), lung)


def test_touching_lungs_are_parted_where_they_touch():
    shape = (16, 64, 96)
    right, left = ball(shape, (8, 32, 28), 17), ball(shape, (8, 32, 66), 17)
    bridge = np.zeros(shape, bool)
    bridge[7:9, 30:34, 40:54] = True
    hu = np.where(right | left, -850, 0).astype(np.int16)
    labels = label_sides(right | left | bridge, sampled(hu), grid(shape, (1.0, 1.0, 1.0)))
    assert (labels[right] == 1).mean() > 0.99
    assert (labels[left] == 2).mean() > 0.99


@pytest.mark.parametrize(("column", "side"), [(28, 1), (66, 2)])
def test_a_lone_lung_is_told_by_the_middle_of_the_body(column, side):
    shape = (16, 64, 96)
    lung = ball(shape, (8, 32, column), 14)
    hu = np.full(shape, -1000, np.int16)
    hu[:, 8:56, 8:88] = 30
    hu[lung] = -850
    assert set(np.unique(label_sides(lung, sampled(hu), grid(shape)))) == {0, side}


@pytest.mark.parametrize("slices", [1, 16])
def test_a_small_second_lung_apart_keeps_its_side(slices):
    shape = (16, 64, 96)
    right, left = ball(shape, (8, 32, 28), 15), ball(shape, (8, 32, 70), 6)
    hu = np.full(shape, -1000, np.int16)
    hu[:, 8:56, 8:88] = 30
    hu[right | left] = -850
    if slices == 1:
        hu, right, left = hu[8:9], right[8:9], left[8:9]
    labels = label_sides(right | left, sampled(hu), grid(hu.shape))
    assert [np.unique(labels[lung]).tolist() for lung in (right, left)] == [[1], [2]]


def test_pieces_of_a_lung_go_to_the_nearer_side():
    shape = (16, 64, 96)
    pieces = [
        ball(shape, (8, 20, 20), 9),
        ball(shape, (8, 46, 24), 5),
        ball(shape, (8, 30, 70), 10),
    ]
    labels = label_sides(np.any(pieces, 0), sampled(np.zeros(shape, np.int16)), grid(shape))
    assert [np.unique(labels[piece]).tolist() for piece in pieces] == [[1], [1], [2]]


def test_one_lung_in_two_pieces_is_one_lung():
    shape = (24, 64, 96)
    lung = ball(shape, (6, 32, 66), 7) | ball(shape, (18, 32, 70), 6)
    hu = np.full(shape, -1000, np.int16)
    hu[:, 8:56, 8:88] = 30
    hu[lung] = -850
    assert set(np.unique(label_sides(lung, sampled(hu), grid(shape)))) == {0, 2}


def test_a_coronal_slice_alone_is_refused(segmenter, chest):
    coronal = affine_from_axes((0, 0, 0), ((0, 3.0, 0), (0, 0, -2.0), (2.0, 0, 0)))
    scan = from_array(chest[:1], affine=coronal, units="hu")
    with pytest.raises(ScanError, match="an axial slice of this scan has 1x256 voxels"):
        segmenter(scan)


def test_segmentation_displays_itself_in_notebooks(chest, segmenter):
    segmentation = segmenter(from_array(chest, affine=AXIAL, units="hu"))
    assert segmentation._repr_html_().startswith('<img src="data:image/png;base64,')
    assert "Right lung" in segmentation._repr_html_()
    assert "Lung cut off at the end of the scan" in segmentation._repr_html_()
    rows, columns = segmentation.preview_image().shape[:2]
    assert segmentation.preview().get_size_inches() == pytest.approx((columns / 100, rows / 100))
    assert len(repr(segmentation)) < 150
    assert type(segmenter.segment(segmentation.scan)) is type(segmentation)
