import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.errors import DataError
from pleura.evaluation.matching import match_cases
from pleura.formats.matching import match_files
from pleura.training.check import check

NFC = unicodedata.normalize("NFC", "Müller_é")
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def folders(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "images", tmp_path / "masks"


def picture(path, value=255):
    pixels = np.zeros((16, 16), np.uint8)
    pixels[2:8, 3:9] = value
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("x.png", "x.png"),
        ("x.png", "x_mask.png"),
        ("x.png", "x_lungs.png"),
        ("x.png", "x_seg.png"),
        ("x_lung.png", "x_lung.png"),
        ("x.png", "X_Mask.PNG"),
        (f"{NFC}.png", f"{NFD}.png"),
        (f"{NFD}.png", f"{NFC}_mask.png"),
    ],
)
def test_training_and_compare_match_the_same_names(folders, image, mask):
    picture(folders[0] / image, 100)
    picture(folders[1] / mask)
    (pair,) = find_pairs(*folders)
    assert pair.name == unicodedata.normalize("NFC", image)
    assert (pair.image.name, pair.mask.name) == (image, mask)
    ((_, *files),) = match_cases(*folders)
    assert [path.name for path in files] == [image, mask]
    assert check(*folders).pairs == 1


def test_files_of_one_case_match_by_their_full_names_or_are_refused(folders):
    for folder in folders:
        for name in ("x.png", "x_seg.png"):
            picture(folder / name)
    assert [(p.image.name, p.mask.name) for p in find_pairs(*folders)] == [
        ("x.png", "x.png"),
        ("x_seg.png", "x_seg.png"),
    ]
    (folders[0] / "x_seg.png").unlink()
    with pytest.raises(DataError, match=r"share the name 'x'.*x\.png and x_seg\.png"):
        find_pairs(*folders)
    with pytest.raises(DataError, match="two files belong to the case"):
        match_cases(*folders)


def test_names_that_differ_in_case_only_are_matched_exactly():
    root = Path("r")
    files = [root / "A.png", root / "a.png"]
    assert match_files(files, files, (root, root)).pairs == (
        ("A", files[0], files[0]),
        ("a", files[1], files[1]),
    )


def test_one_folder_as_images_and_masks_is_refused(folders):
    picture(folders[0] / "x.png")
    for masks in (folders[0], folders[0] / ".." / "images"):
        with pytest.raises(DataError, match="same folder"):
            find_pairs(folders[0], masks)


def test_broken_volume_is_a_data_error(folders):
    for folder in folders:
        (folder / "chest.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError, match="NIfTI"):
        find_pairs(*folders)


def test_what_is_no_mask_of_a_volume_is_refused(folders, sample):
    for folder in folders:
        shutil.copy(sample.folder / "volume" / "ct.nii.gz", folder / "chest.nii.gz")
    with pytest.raises(DataError, match="not labels"):
        read_pair(find_pairs(*folders)[30])
