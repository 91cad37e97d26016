import csv
import shutil

import pytest

from pleura.dataset.checks import check_folders
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.report.check import check_page
from pleura.training.fold_training import cross_validated_prediction
from pleura.training.recipe_loading import load_recipe

SPOILT = "LCTSC-201_058.tif"


@pytest.fixture(scope="module")
def pairs(sample, tmp_path_factory):
    """24 slices with lung; a piece of one lung is left out of one mask, too small to be seen."""
    folder = tmp_path_factory.mktemp("pairs")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
        for path in sorted((sample.folder / kind).glob("LCTSC-*_0[3-8]*"))[:24]:
            shutil.copy(path, folder / kind)
        shutil.copy(sample.folder / kind / SPOILT, folder / kind)
    mask = read_image_file(folder / "masks" / SPOILT)
    mask[:118] = 0
    write_image_file(folder / "masks" / SPOILT, mask)
    return folder / "images", folder / "masks"


@pytest.mark.slow
def test_networks_that_never_saw_a_mask_doubt_the_wrong_one_most(pairs, small_settings, tmp_path):
    seen = []

    def predict(name, hu):
        seen.append(name)
        return cross_validated(name, hu)

    cross_validated = cross_validated_prediction(
        *pairs, load_recipe("quick", small_settings), 3, tmp_path
    )
    report = check_folders(*pairs, predict=predict)
    assert sorted(seen) == sorted(path.name for path in pairs[0].iterdir())
    assert report.label_errors[0].name == SPOILT
    for fold in (1, 2, 3):
        with (tmp_path / f"fold-{fold}.csv").open() as file:
            parts = [row["subset"] for row in csv.DictReader(file)]
        assert parts.count("test") in (8, 9)
    page = check_page(report, "")
    assert page.cases[0].name == SPOILT
    assert page.cases[0].picture is not None
    assert any("near duplicates" in notice.text for notice in page.notices)


def test_too_few_images_are_refused(pairs, tmp_path):
    with pytest.raises(DataError, match="is not possible with"):
        cross_validated_prediction(*pairs, load_recipe("quick"), 26, tmp_path)
    assert not any(tmp_path.iterdir())
