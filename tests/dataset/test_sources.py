import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pleura.dataset.pairs import find_pairs, read_pair
from pleura.dataset.sources import SHIPPED, Source, collect_pairs, split_pairs
from pleura.dataset.splits import SplitRecipe
from pleura.errors import DataError
from pleura.scan.io import read
from pleura.training.recipe import load_recipe

SORTED = SplitRecipe(train=0.6, validation=0.2)


@pytest.fixture
def root(sample, tmp_path):
    """Ten pictures, one volume and one slice without mask, as three sets below one folder."""
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
    images="volumes/*/ct.nii.gz", masks="volumes/*/lungs.nii.gz", part="train", every=5
)
EMPTY = Source(images="empty/*.tif", masks=None, part="train")


def test_sources_are_collected_and_split_each_by_itself(root):
    sources = (SLICES, VOLUMES, EMPTY)
    pairs = collect_pairs(root, None, sources)
    split = split_pairs(root, None, sources, SORTED)
    assert [len(split.train), len(split.validation), len(split.test)] == [6 + 13 + 1, 2, 2]
    assert len(pairs) == 24
    assert {pair.name for pair in pairs} == {*split.train, *split.validation, *split.test}


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
    (first, *_) = collect_pairs(root, None, (SLICES.model_copy(update={"factor": 0.5}),))
    assert np.array_equal(read_pair(first)[0], plain * 2)


def test_what_is_left_out_is_in_no_part_and_moves_no_boundary(root):
    names = [pair.name for pair in collect_pairs(root, None, (SLICES,))]
    without = SLICES.model_copy(update={"leave_out": (names[1],)})
    assert names[1] not in {pair.name for pair in collect_pairs(root, None, (without,))}
    split = split_pairs(root, None, (without,), SORTED)
    assert split.train == (names[0], *names[2:6])
    assert split.validation == tuple(names[6:8])


def test_only_the_named_images_are_used(root):
    (pair,) = collect_pairs(root, None, (EMPTY.model_copy(update={"only": ("neck",)}),))
    assert pair.image.name == "neck.tif"
    with pytest.raises(DataError, match="no image of this pattern"):
        collect_pairs(root, None, (EMPTY.model_copy(update={"only": ("head",)}),))


def test_missing_mask_or_set_is_named(root):
    (root / "volumes" / "101" / "lungs.nii.gz").unlink()
    with pytest.raises(DataError, match="an image without mask"):
        collect_pairs(root, None, (VOLUMES,))
    with pytest.raises(DataError, match="no such file or folder"):
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
    (shipped,) = (s for s in load_recipe("default").data if (s.masks or "").startswith("pleura:"))
    assert sorted(shipped.only) == sorted(path.stem for path in (SHIPPED / "scans").iterdir())
    name = shipped.only[0]
    (root / "scans").mkdir()
    hu = np.full((512, 512), -1000, np.int16)
    hu[100:400, 100:400] = 40
    Image.fromarray(hu).save(root / "scans" / f"{name}.tif")
    source = shipped.model_copy(update={"images": "scans/*.tif", "only": (name,)})
    (pair,) = collect_pairs(root, None, (source,))
    image, mask = read_pair(pair)
    assert image.shape == mask.shape == (512, 512)
    assert 0.05 < mask.mean() < 0.5
