"""Units are told from pixels: phantoms and transformed real slices, whose truth is known."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pleura.formats.image_files import list_image_files, read_image_file
from pleura.intensity.decision import decide_units
from pleura.intensity.mapping import HU
from pleura.intensity.units import estimate_units

ROWS, COLUMNS = np.mgrid[-1:1:256j, -1:1:256j]


def ellipse(row, column, height, width):
    return ((ROWS - row) / height) ** 2 + ((COLUMNS - column) / width) ** 2 < 1


def phantom(seed=0, padding=None):
    """Draw a chest in HU: air, fat, muscle, lungs, spine, with a scanner's correlated noise."""
    rng = np.random.default_rng(seed)
    wide, high = rng.uniform(0.65, 0.8), rng.uniform(0.45, 0.6)
    hu = np.full(ROWS.shape, -1000.0)
    hu[ellipse(0, 0, high, wide)] = -105
    hu[ellipse(0, 0, high - 0.12, wide - 0.1)] = 45
    for side in (-1, 1):
        hu[ellipse(0, side * 0.28, high - 0.2, 0.2)] = -850
    hu[ellipse(0.25, 0, 0.09, 0.09)] = 400
    hu += cv2.GaussianBlur(rng.normal(0, 20, hu.shape), (0, 0), 1)
    if padding is not None:
        hu[np.hypot(ROWS, COLUMNS) > 1] = padding
    return hu


def with_white_noise(image, sd, seed=0):
    return image + np.random.default_rng(seed).normal(0, sd, image.shape)


@pytest.fixture(scope="module")
def slices(sample):
    """Real slices in HU, clipped at -1000."""
    return [read_image_file(path).astype(np.float64) for path in list_image_files(sample.images)]


def is_ambiguous(factor):
    """Whether a factor brings one padding level to another, as 0.9766 does -2048 to -2000."""
    levels = [abs(factor * a / b - 1) for a in (-3024, -2048) for b in (-3024, -2048, -2000)]
    return min(levels) < 0.02


@settings(max_examples=30, deadline=None)
@given(
    factor=st.floats(0.3, 3).filter(lambda f: not is_ambiguous(f)),
    sd=st.sampled_from([0.0, 20.0, 63.0]),
    levels=st.lists(st.sampled_from([None, -3024, -2048]), min_size=2, max_size=4),
    seed=st.integers(0, 1000),
)
def test_padding_tells_factor_and_noise(factor, sd, levels, seed):
    assume(set(levels) & {-2048, -3024})
    hu = [phantom(seed + i, padding) for i, padding in enumerate(levels)]
    units = estimate_units(with_white_noise(factor * x, factor * sd, seed) for x in hu)
    assert (units.kind, units.scale_from, units.offset) == ("scaled HU", "padding", 0)
    assert units.scale == pytest.approx(factor, rel=0.003)
    assert {level.hu for level in units.padding} == set(levels) - {None}
    if sd:
        assert units.noise_in == "padding"
        assert units.noise.sd == pytest.approx(factor * sd, rel=0.06)
        assert abs(units.noise.correlation) < 0.03
    else:
        assert units.noise is None


@given(factor=st.floats(0.3, 3).filter(lambda f: abs(f - 1) > 0.08), sd=st.floats(45, 80))
@settings(max_examples=15, deadline=None)
def test_air_tells_factor_and_noise_where_there_is_no_padding(factor, sd):
    images = [with_white_noise(factor * phantom(i), factor * sd, i) for i in range(3)]
    units = estimate_units(np.rint(image).astype(np.int16) for image in images)
    assert (units.kind, units.scale_from, units.noise_in) == ("scaled HU", "air", "air")
    assert units.scale == pytest.approx(factor, rel=0.03)
    assert units.noise.sd == pytest.approx(factor * np.hypot(sd, 6), rel=0.06)


@pytest.mark.parametrize("padding", [None, -1024, -2000, -2048, -3024, -32768])
def test_hounsfield_units_are_recognised_with_any_padding(padding):
    units = estimate_units(phantom(seed, padding).astype(np.int32) for seed in range(4))
    assert (units.kind, units.scale, units.offset) == ("HU", 1, 0)
    assert units.noise is None
    assert units.reason.startswith("HU: air is at -")


def test_one_factor_explains_two_padding_levels_that_could_each_mean_two_things():
    """-2469 and -1672 are 0.8165 times -3024 and -2048; -1672 alone could be 0.836 of -2000."""
    images = [0.8165 * phantom(i, padding) for i, padding in enumerate([-3024, -2048] * 3)]
    units = estimate_units(with_white_noise(image, 63, i) for i, image in enumerate(images))
    assert units.scale == pytest.approx(0.8165, abs=5e-4)
    assert [(level.hu, level.images) for level in units.padding] == [(-3024, 3), (-2048, 3)]
    assert "HU times 0.816" in units.reason
    assert "White noise with an SD of 6" in units.reason
    assert "also in the padding" in units.reason


def test_real_slices_are_hounsfield_units(slices):
    units = estimate_units(slices)
    assert (units.kind, units.scale, units.offset, units.differing) == ("HU", 1, 0, ())
    assert (units.air, units.fat, units.muscle) == pytest.approx((-998, -105, 42), abs=10)
    assert units.noise is None


def test_a_scanners_own_noise_is_not_called_added(slices):
    rng = np.random.default_rng(0)
    grain = [3 * cv2.GaussianBlur(rng.normal(0, 40, x.shape), (0, 0), 1) for x in slices[:9]]
    assert grain[0].std() > 30
    units = estimate_units(x + g for x, g in zip(slices, grain, strict=False))
    assert (units.kind, units.noise) == ("HU", None)


def test_white_noise_on_real_slices_is_measured(slices):
    units = estimate_units(with_white_noise(x, 40, i) for i, x in enumerate(slices[::4]))
    assert units.kind == "HU"
    assert units.noise.sd == pytest.approx(40, rel=0.05)


@pytest.mark.parametrize("offset", [1024, 1000, 32768, -1024])
def test_an_intercept_left_out_or_taken_twice_is_named(slices, offset):
    units = estimate_units(x + offset for x in slices[::4])
    assert (units.kind, units.scale) == ("offset HU", 1)
    # Clipped at -1000, air does not tell 1000 from 1024; soft tissue does.
    assert units.offset == offset
    assert f"{'plus' if offset > 0 else 'minus'} {abs(offset)}" in units.reason


def to_eight_bits(image):
    return np.uint8(255 * (image - image.min()) / np.ptp(image))


def to_sixteen_bits(image):
    return np.uint16(65535 * (image - image.min()) / np.ptp(image))


def to_unit_range(image):
    return np.clip((image + 1000) / 1600, 0, 1).astype(np.float32)


def to_unit_variance(image):
    return (image - image.mean()) / image.std()


@pytest.mark.parametrize(
    ("convert", "says"),
    [
        (to_eight_bits, "8-bit, from 0 to 255"),
        (to_unit_range, "from 0 to 1"),
        (to_sixteen_bits, "each image was scaled separately"),
        (to_unit_variance, "each image was scaled separately"),
    ],
)
def test_grey_values_are_told_from_hounsfield_units(slices, convert, says):
    units = estimate_units(convert(x) for x in slices)
    assert (units.kind, units.scale) == ("grey", None)
    assert says in units.reason


@pytest.mark.parametrize("factor", [0.002, 0.5, 4095 / 2524, 25])
def test_a_window_on_other_numbers_is_a_factor_and_an_offset(slices, factor):
    units = estimate_units(factor * (np.clip(x, -1024, 1500) + 1024) - 1 for x in slices)
    assert units.kind == "scaled HU"
    assert units.scale_from == "tissue"
    assert units.scale == pytest.approx(factor, rel=0.05)
    assert units.offset == pytest.approx(factor * 1024 - 1, rel=0.05)


@pytest.mark.parametrize("low", [-900, -160])
def test_values_clipped_above_air_are_not_taken_for_a_factor(slices, low):
    units = estimate_units(np.clip(x, low, 240) for x in slices)
    assert (units.kind, units.scale) == ("unknown", None)
    assert f"clipped at {low}" in units.reason


def test_a_mixture_is_called_one_and_counted(slices):
    units = estimate_units([*slices[:12], *(x + 1024 for x in slices[12:20])])
    assert units.kind == "mixed"
    assert "12 images in HU; 8 images in HU plus 1024" in units.reason
    assert units.differing == tuple(range(12, 20))


@pytest.mark.parametrize(
    "convert", [to_eight_bits, to_unit_range, lambda x: x + 1024, lambda x: x * 0.8]
)
def test_a_stray_image_is_pointed_at(slices, convert):
    units = estimate_units([*slices[:20], convert(slices[30]), *slices[40:]])
    assert (units.kind, units.differing) == ("HU", (20,))


@pytest.mark.parametrize(
    "images",
    [
        [],
        [np.zeros((256, 256), np.int16) - 700],
        [np.arange(100, dtype=np.int16).reshape(10, 10) * 20],
        [np.linspace(-40, 700, 256 * 256).reshape(256, 256)],
    ],
    ids=["no image", "constant", "tiny", "ramp"],
)
def test_what_shows_no_patient_is_unknown(images):
    assert estimate_units(images).kind == "unknown"


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32"]),
    levels=st.integers(1, 300),
    seed=st.integers(0, 99),
)
def test_any_picture_gets_an_answer(shape, dtype, levels, seed):
    values = np.random.default_rng(seed).integers(0, levels, shape).astype(dtype)
    units = estimate_units([values, values.T])
    assert units.reason


def test_finding_lungs_set_is_not_in_hounsfield_units(data):
    if not (data / "kmader").is_dir():
        pytest.skip(f"needs the set finding-lungs-in-ct-data in {data}/kmader")
    paths = list_image_files(data / "kmader" / "2d_images")[::8]
    units = estimate_units(read_image_file(path) for path in paths)
    assert units.kind == "scaled HU"
    assert units.scale == pytest.approx(0.8165, abs=5e-4)
    assert units.noise_in == "padding"
    assert units.noise.sd == pytest.approx(63, abs=3)
    assert {level.hu for level in units.padding} == {-3024, -2048}


def test_dicom_slices_are_hounsfield_units(data):
    pydicom = pytest.importorskip("pydicom")
    if (
        not (data / "scans").is_dir()
        or not pydicom.pixels.decoders.JPEGLSLosslessDecoder.is_available
    ):
        pytest.skip(f"needs DICOM slices in {data}/scans and a decoder of JPEG-LS")
    files = [pydicom.dcmread(path) for path in sorted((data / "scans").glob("*.dcm"))[::5]]
    units = estimate_units(
        f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept) for f in files
    )
    assert (units.kind, units.scale, units.noise, units.differing) == ("HU", 1, None, ())


def test_contrast_equalised_slices_are_grey(data):
    if not (data / "covid").is_dir():
        pytest.skip(f"needs 8-bit slices in {data}/covid")
    paths = list_image_files(data / "covid" / "images")[::5]
    assert estimate_units(read_image_file(path) for path in paths).kind == "grey"


@pytest.mark.parametrize("inverted", [False, True])
def test_altered_contrast_is_mapped_piecewise_linearly(inverted):
    """Contrast as after equalisation: fat lies half way between air and muscle."""
    hu = phantom()
    curve = np.interp(hu, [-1024, -1000, -105, 45, 600], [20, 25, 90, 150, 250])
    picture = np.rint(255 - curve if inverted else curve).astype(np.uint8)
    decided = decide_units([picture])
    assert decided.mapping.control_points is not None
    assert not decided.mapping.calibrated
    assert "the contrast was altered" in decided.reason
    found = decided.mapping.to_hu(picture)
    for level in (-1000, -850, -105, 45):
        region = np.abs(hu - level) < 20
        assert np.median(found[region]) == pytest.approx(level, abs=60)


def test_a_linear_window_is_mapped_linearly():
    hu = phantom()
    picture = np.rint(np.clip((hu + 1350) / 1500 * 255, 0, 255)).astype(np.uint8)
    decided = decide_units([picture])
    assert decided.mapping.control_points is None
    assert not decided.mapping.calibrated
    assert np.median(decided.mapping.to_hu(picture)[hu < -980]) == pytest.approx(-1000, abs=40)


@pytest.mark.parametrize("offset", [0, 1024])
def test_hu_and_offset_hu_are_calibrated(offset):
    mapping = decide_units([(phantom() + offset).astype(np.int16)]).mapping
    assert mapping.offset == offset
    assert mapping.calibrated


_HU_PHANTOM = phantom().astype(np.int16)
_GREY_PHANTOM = np.rint(np.interp(phantom(), (-1024, 600), (0, 255))).astype(np.uint8)
REQUESTED = {
    "hu": (_HU_PHANTOM, "hu", None),
    "hu as offset": (_HU_PHANTOM, "offset", "HU: air is at -10"),
    "hu as grey": (_HU_PHANTOM, "grey", "HU: air is at -10"),
    "hu as inverted": (_HU_PHANTOM, "inverted", "HU: air is at -10"),
    "offset": (_HU_PHANTOM + 1024, "offset", None),
    "offset as hu": (_HU_PHANTOM + 1024, "hu", "HU plus 1024: air is at 2"),
    "offset as grey": (_HU_PHANTOM + 1024, "grey", "HU plus 1024: air is at 2"),
    "another offset": (_HU_PHANTOM + 1000, "offset", "HU plus 1000: air is at "),
    "lost signs as hu": (_HU_PHANTOM.astype(np.uint16), "hu", "HU with lost signs"),
    "grey": (_GREY_PHANTOM, "grey", None),
    "grey as hu": (_GREY_PHANTOM, "hu", "grey values with dark air"),
    "grey as inverted": (_GREY_PHANTOM, "inverted", "grey values with dark air"),
    "inverted": (255 - _GREY_PHANTOM, "inverted", None),
    "inverted as grey": (255 - _GREY_PHANTOM, "grey", "grey values with bright air"),
    "inverted as offset": (255 - _GREY_PHANTOM, "offset", "grey values with bright air"),
}


@pytest.mark.parametrize("name", REQUESTED)
def test_units_that_the_values_contradict_are_a_warning(name):
    values, option, contradiction = REQUESTED[name]
    decision = decide_units([values], option)
    if contradiction is None:
        assert "probably" not in decision.reason
        assert not decision.warning
    else:
        assert f"as requested, but the values are probably {contradiction}" in decision.reason
        assert decision.warning


def test_unknown_units_are_refused():
    with pytest.raises(ValueError, match=r"units must be one of auto, hu, .*, not 'HU'"):
        decide_units([_HU_PHANTOM], "HU")


def test_values_beyond_single_precision_are_clipped():
    values = np.array([[-1e300, -1000.4, 1e300]])
    assert HU.to_hu(values).tolist() == [[-1024, -1000, 32767]]
