import shutil

import nibabel as nib
import numpy as np
import pytest
from dicom_files import write_series
from PIL import Image
from pydantic import ValidationError

from pleura.dataset.pair_reader import read_pair
from pleura.dataset.pairs import find_pairs
from pleura.dataset.sources import PACKAGE_MASKS, Source, collect_pairs, split_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.training.recipe_loading import load_recipe

SORTED = SplitRecipe(training_fraction=0.6, validation_fraction=0.2)


@pytest.fixture
def root(sample, tmp_path):
    """Ten images, one volume and one slice without mask, as three sets below one folder."""
    names = sorted(p.name for p in sample.images.iterdir())[:10]
    for kind, source in (("images", sample.images), ("masks", sample.masks)):
        (tmp_path / "slices" / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(source / name, tmp_path / "slices" / kind / name)
    shutil.copytree(sample.folder / "volume", tmp_path / "volumes" / "101")
    (tmp_path / "empty").mkdir()
    shutil.copy(sample.images / names[0], tmp_path / "empty" / "neck.tif")
    return tmp_path


SLICES = Source(images="slices/images", masks="slices/masks")
VOLUMES = Source(
    images="volumes/*/ct.nii.gz", masks="volumes/*/lungs.nii.gz", subset="training", slice_step=5
)
EMPTY = Source(images="empty/*.tif", masks=None, subset="training")


def test_sources_are_collected_and_split_each_by_itself(root):
    sources = (SLICES, VOLUMES, EMPTY)
    pairs = collect_pairs(root, None, sources)
    split = split_pairs(root, None, sources, SORTED)
    assert [len(split.training), len(split.validation), len(split.test)] == [6 + 13 + 1, 2, 2]
    assert len(pairs) == 24
    assert {pair.name for pair in pairs} == {*split.training, *split.validation, *split.test}


def test_slices_of_a_volume_are_pairs_in_hu_from_the_foot(root, sample):
    pairs = collect_pairs(root, None, (VOLUMES,))
    assert [pair.index for pair in pairs] == list(range(0, 65, 5))
    scan = read(sample.folder / "volume" / "ct.nii.gz")
    hu = scan.geometry.to_canonical().apply(scan.hu())
    image, mask = read_pair(pairs[6])
    assert np.array_equal(image, hu[30])
    assert set(np.unique(mask)) == {0, 1}
    assert np.median(image[mask > 0]) < -700


def test_slice_seen_to_show_no_lung_needs_no_mask(root):
    (pair,) = collect_pairs(root, None, (EMPTY,))
    image, mask = read_pair(pair)
    assert image.shape == mask.shape
    assert not mask.any()


def test_stored_values_are_taken_to_hu_by_the_factor(root):
    plain = read_pair(collect_pairs(root, None, (SLICES,))[0])[0]
    (first, *_) = collect_pairs(root, None, (SLICES.model_copy(update={"scale_factor": 0.5}),))
    assert np.array_equal(read_pair(first)[0], plain * 2)


def test_what_is_left_out_is_in_no_part_and_moves_no_boundary(root):
    names = [pair.name for pair in collect_pairs(root, None, (SLICES,))]
    without = SLICES.model_copy(update={"exclude": (names[1],)})
    assert names[1] not in {pair.name for pair in collect_pairs(root, None, (without,))}
    split = split_pairs(root, None, (without,), SORTED)
    assert split.training == (names[0], *names[2:6])
    assert split.validation == tuple(names[6:8])


def test_only_the_named_images_are_used(root):
    (pair,) = collect_pairs(root, None, (EMPTY.model_copy(update={"include": ("neck",)}),))
    assert pair.image.name == "neck.tif"
    with pytest.raises(DataError, match="no image matches the pattern"):
        collect_pairs(root, None, (EMPTY.model_copy(update={"include": ("head",)}),))


def test_include_and_exclude_hold_for_folders_and_whole_volumes_too(root):
    names = [pair.name for pair in collect_pairs(root, None, (SLICES,))]
    chosen = SLICES.model_copy(update={"include": (names[2], names[4].removesuffix(".tif"))})
    assert [pair.name for pair in collect_pairs(root, None, (chosen,))] == [names[2], names[4]]
    without = VOLUMES.model_copy(update={"exclude": ("101",)})
    assert len(collect_pairs(root, None, (SLICES, without))) == 10
    split = split_pairs(root, None, (SLICES, without), SORTED)
    assert len(split.subset_by_name()) == 10


@pytest.mark.parametrize("key", ["include", "exclude"])
def test_name_of_no_image_is_refused(root, key):
    for source in (SLICES, VOLUMES):
        wrong = source.model_copy(update={key: ("typo.tif",)})
        with pytest.raises(DataError, match=r"typo\.tif|no image matches the pattern"):
            collect_pairs(root, None, (wrong,))
    with pytest.raises(DataError, match=r"1 unknown image name: typo\.tif"):
        split_pairs(root, None, (SLICES,), SORTED.model_copy(update={"exclude": ("typo.tif",)}))


def test_what_the_split_leaves_out_is_in_no_source_whatever_its_part(root):
    names = [pair.name for pair in collect_pairs(root, None, (SLICES,))]
    recipe = SORTED.model_copy(update={"exclude": (names[0], "101#005", "neck.tif")})
    used = split_pairs(root, None, (SLICES, VOLUMES, EMPTY), recipe).subset_by_name()
    assert not {names[0], "101#005", "neck"} & used.keys()
    assert len(used) == 9 + 12


def test_sources_with_equal_names_are_told_apart_by_their_paths(root):
    shutil.copytree(root / "slices" / "images", root / "other" / "images")
    shutil.copytree(root / "slices" / "masks", root / "other" / "masks")
    other = Source(images="other/images", masks="other/masks", scale_factor=2)
    names = [pair.name for pair in collect_pairs(root, None, (SLICES,))]
    pairs = {pair.name: pair for pair in collect_pairs(root, None, (SLICES, other))}
    assert len(pairs) == 20
    first = pairs[f"slices/images/{names[0]}"], pairs[f"other/images/{names[0]}"]
    assert [pair.factor for pair in first] == [1, 2]
    split = split_pairs(root, None, (SLICES, other), SORTED)
    assert len(split.subset_by_name()) == 20
    with pytest.raises(DataError, match=r"2 images have the name"):
        split_pairs(root, None, (SLICES, other), SORTED.model_copy(update={"exclude": names[:1]}))
    recipe = SORTED.model_copy(update={"exclude": (f"other/images/{names[0]}",)})
    assert len(split_pairs(root, None, (SLICES, other), recipe).subset_by_name()) == 19
    with pytest.raises(DataError, match="the image is in two data sources"):
        collect_pairs(root, None, (SLICES, SLICES))


def test_split_file_holds_for_all_sources(root, tmp_path):
    sources = (SLICES, VOLUMES, EMPTY)
    split = split_pairs(root, None, sources, SORTED)
    split.write(tmp_path / "split.csv")
    recipe = SplitRecipe(method="file", file=tmp_path / "split.csv")
    again = split_pairs(root, None, sources, recipe)
    assert again.subset_by_name() == split.subset_by_name()
    text = (tmp_path / "split.csv").read_text()
    (tmp_path / "split.csv").write_text(text.replace("neck,training", "neck,test"))
    with pytest.raises(DataError, match=r"'subset: training' in another subset: neck"):
        split_pairs(root, None, sources, recipe)
    (tmp_path / "split.csv").write_text(text.replace("neck,training\n", ""))
    assert split_pairs(root, None, sources, recipe).subset_by_name() == split.subset_by_name()


def test_patient_of_two_sources_is_in_one_subset(root):
    halves = []
    for letter in "ab":
        halves.append(Source(images=f"{letter}/*.tif", masks=f"{letter}/*.png"))
        (root / letter).mkdir()
        for k, path in enumerate(sorted((root / "slices" / "images").iterdir())):
            mask = root / "slices" / "masks" / path.name
            shutil.copy(path, root / letter / f"P{k}_{letter}.tif")
            Image.fromarray(read_image_file(mask)).save(root / letter / f"P{k}_{letter}.png")
    recipe = SplitRecipe(method="grouped", patient_pattern=r"^P\d+", seed=3)
    subsets = split_pairs(root, None, halves, recipe).subset_by_name()
    assert len(subsets) == 20
    assert all(subsets[f"P{k}_a"] == subsets[f"P{k}_b"] for k in range(10))
    halves[1] = halves[1].model_copy(update={"subset": "training"})
    with pytest.raises(DataError, match="in validation or test: P"):
        split_pairs(root, None, halves, recipe)


@pytest.mark.parametrize("method", ["sorted", "shuffled"])
def test_volumes_are_never_cut_by_default(root, method):
    for number in range(102, 107):
        shutil.copytree(root / "volumes" / "101", root / "volumes" / str(number))
    source = VOLUMES.model_copy(update={"subset": "split"})
    recipe = SORTED.model_copy(update={"method": method})
    split = split_pairs(root, None, (source,), recipe)
    volumes = [{name.partition("#")[0] for name in part} for part in vars(split).values()]
    assert [len(part) for part in volumes] == [4, 1, 1]
    assert len(set.union(*volumes)) == 6
    two = source.model_copy(update={"include": ("101", "102")})
    with pytest.raises(DataError, match=r"(?s)test subset of the split is empty.*stay together"):
        split_pairs(root, None, (two,), recipe)


def test_dicom_files_of_a_patient_stay_together(tmp_path):
    shared = {}
    for i in range(9):
        hu = np.full((1, 16, 16), i)
        shared[f"s{i}"] = f"P{i // 3}"
        written = {"names": [f"s{i}.dcm"], "PatientID": shared[f"s{i}"]}
        write_series(tmp_path / "scans", hu, np.diag([5.0, 1.0, 1.0, 1.0]), **written)
    source = Source(images="scans/*.dcm", masks=None)
    split = split_pairs(tmp_path, None, (source,), SORTED)
    patients = [{shared[name.partition("#")[0]] for name in part} for part in vars(split).values()]
    assert [len(part) for part in patients] == [1, 1, 1]


def test_neither_masks_nor_sources_is_refused(root):
    with pytest.raises(DataError, match="the folder of the masks is missing"):
        collect_pairs(root / "slices" / "images", None, ())


def test_folder_without_masks_is_seen_to_show_no_lung(root):
    (pair,) = collect_pairs(root, None, (Source(images="empty", masks=None),))
    assert not read_pair(pair)[1].any()


@pytest.mark.parametrize(
    ("images", "masks"),
    [("a/*/b*.tif", "m"), ("a", "m/*.tif"), ("/abs/*.tif", "m/*.tif"), ("a\0b", "m")],
)
def test_impossible_source_is_refused(images, masks):
    with pytest.raises(ValidationError):
        Source(images=images, masks=masks)


def test_one_mask_for_several_images_is_refused(root):
    source = Source(images="slices/images/*.tif", masks="volumes/101/lungs.nii.gz")
    with pytest.raises(DataError, match="10 images match the same mask"):
        collect_pairs(root, None, (source,))


def test_brackets_in_a_pattern_stand_for_themselves(root):
    (root / "empty").rename(root / "set[1]")
    source = Source(images="set[1]/*.tif", masks=None)
    assert [pair.name for pair in collect_pairs(root, None, (source,))] == ["neck"]


def test_factor_keeps_large_values_from_wrapping_around(root):
    tiny = SLICES.model_copy(update={"scale_factor": 0.001})
    image = read_pair(collect_pairs(root, None, (tiny,))[0])[0]
    assert (image.min(), image.max()) == (-32768, 32767)


def test_missing_mask_or_set_is_named(root):
    (root / "volumes" / "101" / "lungs.nii.gz").unlink()
    with pytest.raises(DataError, match="the image has no mask"):
        collect_pairs(root, None, (VOLUMES,))
    with pytest.raises(DataError, match="no such folder"):
        collect_pairs(root / "elsewhere", None, (SLICES,))


def test_folders_may_mix_volumes_and_pictures(root, tmp_path):
    images, masks = tmp_path / "a", tmp_path / "b"
    for folder, kind in ((images, "ct"), (masks, "lungs")):
        folder.mkdir()
        shutil.copy(root / "volumes" / "101" / f"{kind}.nii.gz", folder / "chest.nii.gz")
        part = "images" if kind == "ct" else "masks"
        for picture in sorted((root / "slices" / part).iterdir())[:2]:
            shutil.copy(picture, folder / picture.name)
    pairs = find_pairs(images, masks)
    assert len(pairs) == 67
    assert {pair.name.partition("#")[0] for pair in pairs} >= {"chest.nii.gz"}
    assert all(read_pair(pair)[0].ndim == 2 for pair in pairs[-3:])


def test_mask_on_another_grid_is_refused(root):
    path = root / "volumes" / "101" / "lungs.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., :40], image.affine), path)
    with pytest.raises(DataError, match="different grids"):
        read_pair(collect_pairs(root, None, (VOLUMES,))[0])


def test_masks_that_ship_are_paired_with_images_of_these_names(root):
    (shipped,) = (
        s for s in load_recipe("default").data.sources if (s.masks or "").startswith("pleura:")
    )
    assert sorted(shipped.include) == sorted(
        path.stem for path in (PACKAGE_MASKS / "scans").iterdir()
    )
    name = shipped.include[0]
    (root / "scans").mkdir()
    hu = np.full((512, 512), -1000, np.int16)
    hu[100:400, 100:400] = 40
    Image.fromarray(hu).save(root / "scans" / f"{name}.tif")
    source = shipped.model_copy(update={"images": "scans/*.tif", "include": (name,)})
    (pair,) = collect_pairs(root, None, (source,))
    image, mask = read_pair(pair)
    assert image.shape == mask.shape == (512, 512)
    assert 0.05 < mask.mean() < 0.5
