"""Images of SimpleITK and nibabel, and arrays: the same patient, whatever the order of the axes."""

import itertools
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

import pleura
from pleura.errors import MaskWarning, ScanError
from pleura.formats.images import from_array
from pleura.formats.read import read


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A small volume whose every voxel differs, on an oblique grid, in HU."""
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(6, 5, 4) - 1000
    affine = np.array([[0.8, 0.1, 0, 5], [-0.1, 0.8, 0, 7], [0, 0, 2.5, -9], [0, 0, 0, 1.0]])
    path = tmp_path_factory.mktemp("images") / "ct.nii"
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def same_places(found, expected):
    """Whether the voxels of two scans have the same values at the same places."""
    a, b = (s.geometry.to_canonical() for s in (found, expected))
    return a.apply_to(found.geometry).is_close(
        b.apply_to(expected.geometry), 1e-3
    ) and np.array_equal(a.apply(found.values()), b.apply(expected.values()))


@pytest.mark.parametrize("order", ["LPS", "RAS", "PIR", "SRP", "AIL"])
def test_a_simpleitk_image_keeps_its_geometry_in_any_order(path, order):
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), order)
    assert same_places(read(image, units="hu"), read(path, units="hu"))


@pytest.mark.parametrize("order", ["".join(o) for o in itertools.product("LR", "AP", "IS")])
def test_a_nibabel_image_keeps_its_geometry_in_any_order(path, order):
    image = nib.load(path)
    to = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(order)
    )
    assert same_places(read(image.as_reoriented(to), units="hu"), read(path, units="hu"))


def test_the_affine_of_a_nibabel_image_counts_not_its_old_header(path):
    image = nib.load(path)
    moved = image.affine.copy()
    moved[:3, 3] += 50
    stale = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    stale._affine = moved
    assert read(stale, units="hu").geometry.affine[2, 3] == pytest.approx(41)


def test_a_2d_simpleitk_slice_is_a_scan(path):
    image = sitk.ReadImage(str(path))[:, :, 1]
    scan = read(image, units="hu")
    assert scan.geometry.shape == (1, 5, 6)
    assert np.array_equal(scan.values()[0], sitk.GetArrayFromImage(image))


def test_the_default_geometry_of_simpleitk_is_a_warning():
    scan = read(sitk.GetImageFromArray(np.zeros((20, 30, 40), np.int16) - 500), units="hu")
    assert [d.topic for d in scan.warnings] == ["orientation"]


def test_images_that_are_no_ct_are_refused():
    for image in (
        sitk.Image([8, 8, 8], sitk.sitkVectorUInt8, 3),
        sitk.Image([8, 8], sitk.sitkComplexFloat32),
        nib.Nifti1Image(np.zeros((4, 4, 4), np.complex64), np.eye(4)),
        nib.Spm99AnalyzeImage(np.zeros((4, 4, 4), np.int16), np.eye(4)),
        nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4)),
        {"an": "object"},
        "",
        None,
    ):
        with pytest.raises(ScanError):
            read(image)


def test_an_array_in_a_stated_orientation_lies_where_the_image_does(path):
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS")
    image.SetDirection(np.diag([-1.0, -1.0, 1.0]).ravel().tolist())
    image.SetOrigin((0, 0, 0))
    array, spacing = sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]
    scan = from_array(array, spacing, orientation="SAR", units="hu")
    assert same_places(scan, read(image, units="hu"))
    assert scan.warnings == ()


def test_an_array_without_orientation_has_a_warning():
    for array in (np.zeros((20, 20), np.int16), np.zeros((3, 20, 20), np.int16)):
        (warning,) = from_array(array, units="hu").warnings
        assert warning.topic == "orientation"
        assert "right and left may be swapped" in warning.reason


@pytest.mark.parametrize("spacing", [(1, -1, 1), (0, 1, 1), (1, np.nan, 1), (1, 1), ("a", 1, 1), 3])
def test_an_impossible_spacing_is_refused(spacing):
    with pytest.raises(ScanError, match="spacing"):
        from_array(np.zeros((3, 20, 20), np.int16), spacing)


@pytest.mark.parametrize("letters", ["SP", "SPP", "XYZ", "SPLA", ""])
def test_an_impossible_orientation_is_refused(letters):
    with pytest.raises(ScanError, match="not an orientation"):
        from_array(np.zeros((3, 20, 20), np.int16), orientation=letters)


def test_an_affine_beside_a_spacing_is_refused():
    with pytest.raises(ScanError, match="affine"):
        from_array(np.zeros((3, 20, 20), np.int16), (1, 1, 1), np.eye(4))


def test_neither_library_is_imported_to_read_an_array():
    code = "import pleura, sys, numpy as np; pleura.from_array(np.zeros((20, 20)), units='hu')\n"
    code += "assert 'SimpleITK' not in sys.modules"
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_ras_image_of_simpleitk_has_its_lungs_on_the_right_sides(sample, model):
    """The documented way through arrays once swapped them."""
    file = sample.folder / "volume" / "ct.nii.gz"
    image = sitk.DICOMOrient(sitk.ReadImage(str(file)), "RAS")
    with pleura.Segmenter(model) as segmenter:
        expected, found = segmenter(file), segmenter(image)
        assert segmenter.segment(image).volume_ml(1) == found.volume_ml(1)
    for label in (1, 2):
        assert found.volume_ml(label) == pytest.approx(expected.volume_ml(label), rel=1e-3)


def test_python_warns_as_the_command_line_does(model):
    empty = np.full((20, 64, 64), -1000, np.int16)
    empty[:, 10:50, 10:50] = 40  # a body without lungs
    for segment in (lambda a: pleura.segment(a, model), pleura.Segmenter(model)):
        with pytest.warns(MaskWarning) as caught:
            mask = segment(empty)
        assert [w.filename for w in caught] == [__file__] * len(caught)
        assert {"no_lung", "orientation"} <= {str(w.message).split(":")[0] for w in caught}
        assert "no_lung" in {flag.name for flag in mask.flags}
        assert "flag: no_lung" in str(mask)
        assert "no_lung" in repr(mask)
        assert "units: " in str(mask)


def test_a_2d_simpleitk_image_does_not_tell_right_from_left(path):
    scan = read(sitk.ReadImage(str(path))[:, :, 2], units="hu")
    assert [decision.topic for decision in scan.warnings] == ["orientation"]
