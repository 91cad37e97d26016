import shutil

import numpy as np
import pytest
from PIL import Image

from pleura.dataset.images_2d import read_image_2d
from pleura.errors import DataError, RunError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.training.predict import PredictionOptions, apply_mask, bounding_box, predict
from pleura.training.predictor import Predictor
from pleura.training.run import open_run


@pytest.fixture(scope="module")
def run(small_run):
    return small_run


@pytest.fixture(scope="module")
def lung_slice(sample):
    return sample.images / "LCTSC-201_058.tif"


def test_mask_has_the_images_name_and_size_and_finds_the_lungs(run, sample, lung_slice, tmp_path):
    (result,) = predict(run, lung_slice, tmp_path)
    mask = read_image_file(tmp_path / lung_slice.name)
    reference = read_image_file(sample.masks / lung_slice.name)
    assert result.mask == lung_slice.name
    assert result.error is None
    assert mask.dtype == np.uint8
    assert mask.shape == read_image_file(lung_slice).shape
    assert set(np.unique(mask)) == {0, 255}
    assert result.lung_fraction == pytest.approx((mask > 0).mean())
    overlap = ((mask > 0) & (reference > 0)).sum() / ((mask > 0) | (reference > 0)).sum()
    assert overlap > 0.8


def test_image_of_any_size_gets_a_mask_of_its_size(run, lung_slice, tmp_path):
    image = read_image_2d(lung_slice)[20:221, 10:253]
    write_image_file(tmp_path / "cut.tif", image)
    predict(run, tmp_path / "cut.tif", tmp_path / "out")
    assert read_image_file(tmp_path / "out" / "cut.tif").shape == (201, 243)


def test_unreadable_file_of_a_folder_is_reported_and_skipped(run, lung_slice, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(lung_slice, folder / "b.tif")
    (folder / "a.tif").write_bytes(lung_slice.read_bytes()[:5000])
    bad, good = predict(run, folder, tmp_path / "out")
    assert "truncated" in bad.error
    assert bad.mask is None
    assert good.mask == "b.tif"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.tif"]


def test_higher_threshold_gives_less_lung(run, lung_slice, tmp_path):
    fractions = [
        predict(run, lung_slice, tmp_path / str(t), PredictionOptions(threshold=t))[0].lung_fraction
        for t in (0.1, 0.5, 0.9)
    ]
    assert fractions == sorted(fractions, reverse=True)
    assert fractions[0] > fractions[2]


def test_masked_image_keeps_lung_and_sets_the_rest_to_air(run, lung_slice, tmp_path):
    predict(run, lung_slice, tmp_path, PredictionOptions(masked=True))
    image, mask = read_image_file(lung_slice), read_image_file(tmp_path / lung_slice.name)
    masked = read_image_file(tmp_path / "LCTSC-201_058_masked.tif")
    assert masked.dtype == image.dtype
    assert np.array_equal(masked[mask > 0], image[mask > 0])
    assert (masked[mask == 0] == -1024).all()


def test_cropped_image_can_be_put_back(run, lung_slice, tmp_path):
    (result,) = predict(run, lung_slice, tmp_path, PredictionOptions(masked=True, crop=True))
    image, mask = read_image_file(lung_slice), read_image_file(tmp_path / lung_slice.name)
    cropped = read_image_file(tmp_path / "LCTSC-201_058_masked.tif")
    row, column, rows, columns = result.crop_box
    back = np.full_like(image, result.outside_value)
    back[row : row + rows, column : column + columns] = cropped
    assert np.array_equal(back, np.where(mask > 0, image, -1024))
    assert (mask[row] > 0).any()
    assert (mask[:, column + columns - 1] > 0).any()


def test_overlay_is_the_image_in_colour_at_its_own_size(run, lung_slice, tmp_path):
    predict(run, lung_slice, tmp_path, PredictionOptions(overlay=True))
    picture = read_image_file(tmp_path / "LCTSC-201_058_overlay.png")
    assert picture.shape == (256, 256, 3)
    assert (picture.max(2) != picture.min(2)).any()


def test_grey_image_is_masked_with_its_minimum():
    image = np.array([[3, 9], [7, 5]], np.uint8)
    masked, air = apply_mask(image, np.array([[0, 1], [1, 0]], np.uint8))
    assert air == 3
    assert masked.tolist() == [[3, 9], [7, 3]]
    assert masked.dtype == np.uint8


def test_empty_mask_has_no_box():
    assert bounding_box(np.zeros((5, 5), np.uint8)) is None


def test_masks_never_overwrite_the_images(run, lung_slice, tmp_path):
    shutil.copy(lung_slice, tmp_path / "a.tif")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.tif").symlink_to(tmp_path / "a.tif")
    for folder in (tmp_path, tmp_path / "links"):
        with pytest.raises(DataError, match="overwrite the images"):
            predict(run, folder, tmp_path, PredictionOptions(overwrite=True))
    assert np.array_equal(read_image_file(tmp_path / "a.tif"), read_image_file(lung_slice))


def test_files_that_are_there_are_replaced_only_when_told(run, lung_slice, tmp_path):
    (tmp_path / lung_slice.name).write_bytes(b"drawn by an expert")
    with pytest.raises(DataError, match="exists already"):
        predict(run, lung_slice, tmp_path)
    assert (tmp_path / lung_slice.name).read_bytes() == b"drawn by an expert"
    predict(run, lung_slice, tmp_path, PredictionOptions(overwrite=True))
    assert read_image_file(tmp_path / lung_slice.name).dtype == np.uint8


def test_two_images_never_share_a_result(run, lung_slice, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(lung_slice, folder / "a.tif")
    Image.new("L", (9, 9)).save(folder / "a.jpg")
    shutil.copy(lung_slice, folder / "a_overlay.tif")
    predict(run, folder, tmp_path / "out")  # a.tif, a.png and a_overlay.tif
    Image.new("L", (9, 9)).save(folder / "a.png")
    with pytest.raises(DataError, match=r"same output file a\.png"):
        predict(run, folder, tmp_path / "other")


def test_threshold_of_the_run_is_used(run, lung_slice, tmp_path):
    changed = shutil.copytree(run.folder, tmp_path / "run")
    open_run(changed).update(threshold=0.9)
    (own,) = predict(changed, lung_slice, tmp_path / "own")
    (given,) = predict(run, lung_slice, tmp_path / "given", PredictionOptions(threshold=0.9))
    (usual,) = predict(run, lung_slice, tmp_path / "usual")
    assert own.lung_fraction == given.lung_fraction < usual.lung_fraction


def test_run_trained_on_a_device_that_is_not_here_predicts(run, lung_slice, tmp_path):
    moved = shutil.copytree(run.folder, tmp_path / "run")
    recipe = moved / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("device: auto", "device: cuda"))
    assert predict(moved, lung_slice, tmp_path / "out")[0].error is None


def test_threshold_must_be_a_probability():
    with pytest.raises(DataError, match="not a probability"):
        PredictionOptions(threshold=float("nan"))


def test_a_folder_that_cannot_be_written_is_one_error(run, sample, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="folder cannot be written"):
        predict(run, sample.images, tmp_path / "file" / "out")


def test_missing_input_is_named(run, tmp_path):
    with pytest.raises(DataError, match="gone"):
        predict(run, tmp_path / "gone", tmp_path / "out")


def test_weights_of_another_network_are_refused(run, lung_slice, tmp_path):
    other = shutil.copytree(run.folder, tmp_path / "other")
    recipe = (other / "recipe.yaml").read_text()
    (other / "recipe.yaml").write_text(
        recipe.replace("architecture: default", "architecture: exercise")
    )
    with pytest.raises(RunError, match="do not fit"):
        predict(other, lung_slice, tmp_path / "out")


def test_prediction_does_not_hang_on_the_batch(run, sample):
    predictor = Predictor(run)
    images = [read_image_2d(path) for path in sorted(sample.images.glob("*201*"))[4:9]]
    from pleura.dataset.preprocessing import preprocess_image

    prepared = np.stack([preprocess_image(image, predictor.preprocessing) for image in images])
    together = predictor.logits(prepared)
    alone = np.concatenate([predictor.logits(one[None]) for one in prepared])
    np.testing.assert_allclose(together, alone, atol=1e-3)
