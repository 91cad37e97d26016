"""Links, hidden files and folders that cannot be listed: nothing is dropped without a word."""

import os
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import write_series

from pleura.cohort.find import find_tasks
from pleura.errors import DataError, PleuraError, ScanError
from pleura.evaluation.matching import match_folders
from pleura.files.listing import files_below, list_below
from pleura.formats.find import find_scans
from pleura.formats.image_files import list_image_files
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
HU = np.random.default_rng(0).integers(-1000, 300, (6, 12, 10), np.int16)


def volume(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(HU.T, np.diag([-0.7, -0.7, 2.5, 1])), path)
    return path


def names(folder):
    listing = list_below(folder)
    return [path.relative_to(folder).as_posix() for path in listing.files]


def test_links_inside_the_folder_are_followed_and_each_file_is_listed_once(tmp_path):
    here = tmp_path / "here"
    volume(here / "one.nii")
    volume(here / ".store" / "two.nii")
    volume(here / "sub" / "four.nii")
    (here / "two.nii").symlink_to(".store/two.nii")
    (here / "again.nii").symlink_to(".store/two.nii")
    (here / "a_first.nii").symlink_to("one.nii")
    (here / "folder").symlink_to("sub")
    (here / "store").symlink_to(here / ".store", target_is_directory=True)
    (here / "sub" / "up").symlink_to("..")
    (here / "sub" / "itself").symlink_to(".")
    assert names(here) == ["again.nii", "one.nii", "sub/four.nii"]
    assert not list_below(here).unreachable
    assert names(here / "folder") == ["four.nii"]
    assert [one.name for one in find_scans(here)] == ["again", "one", "sub/four"]


def test_hidden_files_and_those_of_macos_are_skipped(tmp_path):
    for name in ("ct.nii", "._ct.nii", ".git/ct.nii", "__MACOSX/ct.nii"):
        volume(tmp_path / name)
    assert names(tmp_path) == ["ct.nii"]


@pytest.fixture
def linked(tmp_path):
    """A folder with a scan, two links to targets outside of it, a broken one and a loop."""
    volume(tmp_path / "elsewhere" / "two.nii")
    here = tmp_path / "here"
    volume(here / "one.nii")
    (here / "two.nii").symlink_to("../elsewhere/two.nii")
    (here / "folder").symlink_to(tmp_path / "elsewhere")
    (here / "gone.nii").symlink_to("nowhere.nii")
    (here / "loop").symlink_to("loop")
    (here / "notes.txt").symlink_to("../notes.txt")
    return here


def test_links_that_are_not_followed_are_scans_with_the_reason(linked):
    found = {one.name: one for one in find_scans(linked)}
    assert sorted(found) == ["folder", "gone", "loop", "one", "two"]
    assert found["one"].error is None
    for name in ("folder", "two"):
        assert "the link points outside the folder" in found[name].error.message
    for name in ("gone", "loop"):
        assert "link is broken" in found[name].error.message


def test_folder_of_links_that_lead_out_of_it_is_refused(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "ct.nii").symlink_to(volume(tmp_path / "elsewhere" / "ct.nii"))
    with pytest.raises(PleuraError, match="the link points outside the folder"):
        read(tmp_path / "here")
    with pytest.raises(DataError, match="the link points outside the folder"):
        files_below(tmp_path / "here")


def test_slices_of_a_series_may_be_links(tmp_path):
    paths = write_series(tmp_path / ".store", HU, AXIAL)
    (tmp_path / "ct").mkdir()
    for path in paths:
        (tmp_path / "ct" / path.name).symlink_to(path)
    assert np.array_equal(read(tmp_path, units="hu").hu(), HU)
    (found,) = find_scans(tmp_path)
    assert found.name == "ct"
    assert np.array_equal(found.load("hu").hu(), HU)


def test_slices_that_are_links_to_elsewhere_are_a_warning_and_one_row(tmp_path):
    paths = write_series(tmp_path / "ct", HU, AXIAL)
    (tmp_path / "elsewhere").mkdir()
    for path in paths[4:]:
        path.rename(tmp_path / "elsewhere" / path.name)
        path.symlink_to(tmp_path / "elsewhere" / path.name)
    alone, *errors = sorted(find_scans(tmp_path / "ct"), key=lambda one: one.error is not None)
    assert [
        "the link points outside the folder, and 1 more" in one.error.message for one in errors
    ] == [True]
    for scan in (read(tmp_path / "ct", units="hu"), alone.load("hu")):
        assert scan.geometry.shape[0] == 4
        assert [decision.topic for decision in scan.warnings] == ["slices"]


def test_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    volume(tmp_path / "one.nii")
    volume(tmp_path / "closed" / "two.nii")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    errors = [one.error.message for one in find_scans(tmp_path) if one.error]
    assert errors == ["the folder cannot be listed (Permission denied)"]


def zipped(path, paths, links):
    with zipfile.ZipFile(path, "w") as archive:
        for one in paths:
            archive.write(one, f"ct/{one.name}")
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
    return path


def test_links_in_a_zip_are_followed_inside_and_reported_otherwise(tmp_path):
    paths = write_series(tmp_path / "ct", HU, AXIAL)
    inside = {"ct/a.dcm": "0000.dcm", "b.dcm": "ct/0000.dcm", "all": "ct"}
    scan = read(zipped(tmp_path / "inside.zip", paths, inside), units="hu")
    assert np.array_equal(scan.hu(), HU)
    assert not scan.warnings
    outside = {"ct/a.dcm": "../../secret.dcm", "b.dcm": "/etc/passwd", "c.dcm": "ct/gone.dcm"}
    scan = read(zipped(tmp_path / "outside.zip", paths, outside), units="hu")
    assert np.array_equal(scan.hu(), HU)
    (warning,) = scan.warnings
    assert str(warning).startswith(
        "slices: 3 not read (may be slices: a link to a file outside the zip"
    )


def test_broken_links_among_pictures_are_an_error(tmp_path):
    np.save(tmp_path / "a.npy", HU[0])
    (tmp_path / "b.npy").symlink_to(tmp_path / "a.npy")
    assert len(list_image_files(tmp_path)) == 2
    (tmp_path / "c.npy").symlink_to("nowhere.npy")
    with pytest.raises(DataError, match="1 link is broken"):
        list_image_files(tmp_path)


def test_linked_folders_of_masks_are_compared(tmp_path):
    for kind in ("predicted", "reference"):
        volume(tmp_path / "store" / kind / "sub" / "one.nii")
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "sub").symlink_to(tmp_path / "store" / kind / "sub")
    assert len(match_folders(tmp_path / "predicted", tmp_path / "reference").pairs) == 1
    (tmp_path / "reference" / "two.nii").symlink_to("nowhere.nii")
    with pytest.raises(DataError, match="link is broken"):
        match_folders(tmp_path / "predicted", tmp_path / "reference")


def test_voxels_that_are_a_link_are_refused_by_name(tmp_path):
    HU.tofile(tmp_path / "voxels.raw")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "ct.raw").symlink_to(tmp_path / "voxels.raw")
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 10 12 6\nElementSpacing = 1 1 1\n"
        "ElementType = MET_SHORT\nElementDataFile = ct.raw\n"
    )
    (tmp_path / "here" / "ct.mhd").write_text(header)
    with pytest.raises(ScanError, match=r"'ct\.raw', is a link"):
        read(tmp_path / "here" / "ct.mhd")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["x.nii.gz", "x.dcm", "x.nrrd", "x.mha", "x.tif", "x.png", "x"])
def test_pipes_are_refused_instead_of_waited_for(tmp_path, name):
    pipe = tmp_path / name
    os.mkfifo(pipe)
    for use in (read, find_scans, read_mask, list_scans_of_manifest):
        with pytest.raises(PleuraError, match="pipe, a socket or a device"):
            use(pipe)


def list_scans_of_manifest(pipe):
    link = pipe.with_name("manifest.csv")
    link.unlink(missing_ok=True)
    link.symlink_to(pipe)
    return find_tasks(link, str(pipe.parent / "out"))


@pytest.mark.parametrize(
    "name", ["x.nii.gz", "x.nrrd", "x.mha", "x.tif", "x.npy", "x.zip", "x.dcm"]
)
def test_empty_files_are_named_as_such(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(PleuraError, match="the file is empty"):
        read(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_devices_are_refused():
    for use in (read, find_scans):
        with pytest.raises(PleuraError, match="pipe, a socket or a device"):
            use("/dev/zero")
