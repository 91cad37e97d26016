import numpy as np
import pytest

from pleura.figures.drawing import contour_lines, wrap_text
from pleura.figures.palette import TEXT_ON_BLACK, label_colour, rgb
from pleura.figures.preview import PANEL_SIZE, PreviewCaption, preview_image


def lungs(shape):
    labels = np.zeros(shape, np.uint8)
    rows, columns = shape[1:]
    labels[1:-1, rows // 4 : -rows // 4, columns // 8 : columns // 3] = 1
    labels[1:-1, rows // 4 : -rows // 4, -columns // 3 : -columns // 8] = 2
    return np.where(labels, -850, 40).astype(np.int16), labels


def coloured(picture, label):
    """Return the pixels near the colour of a label, (n, 2)."""
    return np.argwhere(np.abs(picture.astype(int) - rgb(label_colour(label))).max(-1) < 40)


def test_volume_is_shown_in_three_planes_in_radiological_orientation():
    picture = preview_image(
        *lungs((40, 100, 120)), (5.0, 2.0, 2.0), PreviewCaption({1: "right 1 ml"})
    )
    assert picture.shape == (3 * PANEL_SIZE, 4 * PANEL_SIZE, 3)
    first = picture[:PANEL_SIZE, :PANEL_SIZE]
    assert coloured(first, 1)[:, 1].max() < coloured(first, 2)[:, 1].min()
    coronal = picture[2 * PANEL_SIZE :, :PANEL_SIZE]
    assert len(coloured(coronal, 1))
    assert len(coloured(coronal, 2))


@pytest.mark.parametrize(("spacing", "share"), [((5, 2, 2), 200 / 240), ((2.5, 2, 2), 100 / 240)])
def test_coronal_slice_has_its_physical_proportions(spacing, share):
    hu, labels = lungs((40, 100, 120))
    coronal = preview_image(hu, labels, spacing, scale_bar=False)[2 * PANEL_SIZE :, :PANEL_SIZE]
    lit = (coronal[:, PANEL_SIZE // 4] > 0).any(-1).sum()
    assert lit == pytest.approx(share * PANEL_SIZE, abs=2)


def test_single_slice_and_empty_mask_are_drawn_too():
    hu, labels = lungs((3, 64, 64))
    caption = PreviewCaption(lines=["one"])
    assert preview_image(hu[:1], labels[:1], (1, 1, 1), caption).shape[1] == 2 * PANEL_SIZE
    assert preview_image(hu, 0 * labels, (1, 1, 1)).any()


def bar_length(panel):
    """Return the length of the scale bar of a panel in pixels; 0 without one."""
    lit = (panel[-9] == rgb(TEXT_ON_BLACK)).all(-1)
    return int(lit.sum())


@pytest.mark.parametrize(("pixel", "length_mm"), [(3.0, 100), (1.2, 50), (0.3, 10)])
def test_scale_bar_has_its_length(pixel, length_mm):
    hu, labels = lungs((40, 100, 120))
    picture = preview_image(hu, labels, (5.0, pixel, pixel))
    scale = PANEL_SIZE / (120 * pixel)
    assert bar_length(picture[:PANEL_SIZE, :PANEL_SIZE]) == pytest.approx(scale * length_mm, abs=2)


def test_picture_without_pixel_size_has_no_scale_bar():
    hu, labels = lungs((1, 100, 120))
    picture = preview_image(hu, labels, (1.0, 1.0, 1.0), scale_bar=False)
    assert bar_length(picture[: 2 * PANEL_SIZE]) == 0
    assert bar_length(preview_image(hu, labels, (1.0, 1.0, 1.0))[: 2 * PANEL_SIZE]) > 0


def test_contours_are_antialiased_and_lie_on_the_border_of_the_mask():
    hu, labels = lungs((3, 256, 256))
    panel = preview_image(hu, labels, (5.0, 1.0, 1.0))[:PANEL_SIZE, :PANEL_SIZE].astype(int)
    chroma = panel.max(-1) - panel.min(-1)
    assert len(np.unique(chroma)) > 4
    rows, columns = np.nonzero(chroma > 60)
    inside = np.argwhere(labels[1])
    assert abs(rows.min() - inside[:, 0].min()) <= 1
    assert abs(columns.max() - inside[:, 1].max()) <= 1


def test_contour_of_a_rectangle_follows_its_edge_and_closes_at_the_border_of_the_image():
    mask = np.zeros((6, 8))
    mask[2:5, 4:8] = 1
    (line,) = contour_lines(mask, 0.5)
    np.testing.assert_array_equal(line[0], line[-1])
    np.testing.assert_allclose([line.min(0), line.max(0)], [[4, 2], [8, 5]])


def test_long_flags_are_wrapped_and_the_panel_of_a_slice_grows():
    hu, labels = lungs((1, 64, 64))
    text = "Low confidence: " + "voxels " * 60 + "x" * 200
    short = preview_image(hu, labels, (1, 1, 1), PreviewCaption(flags=["short"]))
    long = preview_image(hu, labels, (1, 1, 1), PreviewCaption(flags=[text]))
    assert len(long) > len(short) + 100
    assert not long[2 * PANEL_SIZE :, -10:].any()
    assert "".join(wrap_text(text, 200)).replace(" ", "") == text.replace(" ", "")


def test_long_text_beside_slices_is_shortened():
    hu, labels = lungs((40, 100, 120))
    caption = PreviewCaption(lines=["line"] * 40)
    assert preview_image(hu, labels, (5, 2, 2), caption).shape == (768, 1024, 3)


def test_flags_are_shown_before_other_lines_where_there_is_little_space():
    hu, labels = lungs((40, 100, 120))
    flags = ["word " * 60, "last"]
    few = preview_image(hu, labels, (5, 2, 2), PreviewCaption(flags=flags))
    many = preview_image(hu, labels, (5, 2, 2), PreviewCaption(lines=["x"] * 8, flags=flags))
    np.testing.assert_array_equal(few, many)
