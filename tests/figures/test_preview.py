import numpy as np
import pytest

from pleura.figures.preview import LABEL_COLOURS, PANEL_SIZE, preview_image


def lungs(shape):
    labels = np.zeros(shape, np.uint8)
    rows, columns = shape[1:]
    labels[1:-1, rows // 4 : -rows // 4, columns // 8 : columns // 3] = 1
    labels[1:-1, rows // 4 : -rows // 4, -columns // 3 : -columns // 8] = 2
    return np.where(labels, -850, 40).astype(np.int16), labels


def coloured(picture, label):
    """Return the pixels near the colour of a label, (n, 2)."""
    return np.argwhere(np.abs(picture.astype(int) - LABEL_COLOURS[label]).max(-1) < 40)


def test_volume_is_shown_in_axial_coronal_and_sagittal_slices_on_the_radiologists_sides():
    picture = preview_image(*lungs((40, 100, 120)), (5.0, 2.0, 2.0), ["right 1 ml"])
    assert picture.shape == (3 * PANEL_SIZE, 4 * PANEL_SIZE, 3)
    first = picture[:PANEL_SIZE, :PANEL_SIZE]
    assert coloured(first, 1)[:, 1].max() < coloured(first, 2)[:, 1].min()
    coronal = picture[2 * PANEL_SIZE :, :PANEL_SIZE]
    assert len(coloured(coronal, 1))
    assert len(coloured(coronal, 2))


@pytest.mark.parametrize(("spacing", "share"), [((5, 2, 2), 200 / 240), ((2.5, 2, 2), 100 / 240)])
def test_coronal_slice_has_its_physical_proportions(spacing, share):
    hu, labels = lungs((40, 100, 120))
    coronal = preview_image(hu, labels, spacing)[2 * PANEL_SIZE :, :PANEL_SIZE]
    lit = (coronal[:, PANEL_SIZE // 2] > 0).any(-1).sum()
    assert lit == pytest.approx(share * PANEL_SIZE, abs=2)


def test_single_slice_and_empty_mask_are_drawn_too():
    hu, labels = lungs((3, 64, 64))
    assert preview_image(hu[:1], labels[:1], (1, 1, 1), ["one"]).shape[1] == 2 * PANEL_SIZE
    assert preview_image(hu, 0 * labels, (1, 1, 1)).any()
