"""Masks of several classes on the page: displayed, not edited."""

import nibabel as nib
import numpy as np
import pytest
from viewer_page import NEEDS_PAGE, ONE_GRID, opened, served, until

from pleura.corrections.cases import case_from_files
from pleura.figures.palette import LEFT_LUNG, RIGHT_LUNG, rgb

pytestmark = NEEDS_PAGE


def relabel(path, values, name):
    """Write a mask of lungs with other values, beside it."""
    mask = nib.load(path)
    labels = np.array([0, *values], np.uint8)[np.asarray(mask.dataobj)]
    nib.save(nib.Nifti1Image(labels, mask.affine), path.with_name(name))
    return path.with_name(name)


@ONE_GRID
@pytest.mark.parametrize(
    ("values", "name", "legend"),
    [
        ((7, 9), "other.nii.gz", ["label 7", "label 9"]),
        ((1, 2), "ct_labels.nii.gz", ["label 1", "label 2"]),
    ],
)
def test_classes_are_displayed_and_not_edited(browser, pair, values, name, legend):
    case = case_from_files(pair[0], relabel(pair[1], values, name))
    with served([case]) as address, opened(browser, address) as page:
        until(page, "document.body.dataset.ready === '0'")
        assert page.locator("#legend li").all_text_contents() == legend
        assert "cannot be edited" in page.text_content("#measurements")
        assert page.locator("#tools").is_hidden()
        assert page.get_attribute("#download", "download") == "ct_labels.nii"
        shown = page.evaluate(
            "[...new Set(viewer.volumes[1].img)].sort().concat(viewer.volumes[1].opacity)"
        )
        assert shown == [0, 1, 2, 0.25]
        lut = page.evaluate("[...viewer.volumes[1].colormapLabel.lut]")
        assert [tuple(lut[i : i + 3]) for i in (4, 8)] == [rgb(RIGHT_LUNG), rgb(LEFT_LUNG)]
        page.fill("#opacity", "0.5")
        assert page.evaluate("viewer.volumes[1].opacity") == 0.5
