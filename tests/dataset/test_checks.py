import json
import shutil
import tracemalloc

import numpy as np
import pytest

from pleura.dataset.check_report import describe_model_input
from pleura.dataset.pairs import find_pairs, match_folders
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file, write_image_file
from pleura.intensity.estimate import UnitsEstimate
from pleura.training.check import check


@pytest.fixture
def pairs(sample, tmp_path):
    """Eight real slices with lung and their masks, in folders that a test may spoil."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    with_lung = [
        p for p in find_pairs(sample.images, sample.masks) if read_image_file(p.mask).any()
    ]
    for pair in with_lung[::6][:8]:
        for source, folder in ((pair.image, images), (pair.mask, masks)):
            folder.mkdir(exist_ok=True)
            shutil.copy(source, folder / source.name)
    return find_pairs(images, masks)


def check_folders(pairs):
    return check(pairs[0].image.parent, pairs[0].mask.parent)


def findings(report, severity):
    return [f for f in report.findings if f.severity == severity]


def rewrite(path, change):
    write_image_file(path, change(read_image_file(path)))


def test_a_sound_set_has_nothing_to_find(pairs):
    report = check_folders(pairs)
    assert report.findings == ()
    assert report.fit_to_train
    assert (report.pairs, report.readable) == (8, 8)
    assert (report.sizes, report.dtypes) == ({"256x256": 8}, {"int16": 8})
    assert report.units.kind == "HU"
    pixels = np.stack([read_image_file(pair.image) for pair in pairs])
    assert report.values == (pixels.min(), pixels.max())
    lungs = [np.mean(read_image_file(pair.mask) > 0) for pair in pairs]
    assert report.lung_fraction.median == pytest.approx(np.median(lungs))
    lung = report.lung_fraction
    assert (lung.minimum, lung.maximum) == pytest.approx((min(lungs), max(lungs)))


def test_the_sample_is_fit_and_its_empty_masks_are_noted(sample):
    report = check(sample.images, sample.masks)
    assert report.fit_to_train
    (empty,) = findings(report, "note")
    assert len(empty.files) == report.lung_fraction.empty == 9
    for path in empty.files:
        assert not read_image_file(path).any()


def test_slices_of_one_scan_are_told_and_those_of_two_patients_are_not(sample):
    (alike,) = findings(check(sample.images, sample.masks), "warning")
    assert "near duplicates" in alike.message
    first = [path.name for path in alike.files if path.name.startswith("LCTSC-101")]
    assert len(first) > 5
    pair = alike.message.partition(": ")[2].split(", ")[0].split(" and ")
    assert len({name[:9] for name in pair}) == 1


def test_report_survives_json(pairs):
    pairs[0].image.unlink()
    report = check_folders(pairs)
    again = json.loads(json.dumps(report.to_dict()))
    assert again["fit_to_train"] is False
    assert again["findings"][0]["files"] == [str(pairs[0].mask)]
    assert again["units"]["kind"] == "HU"


def test_progress_counts_every_pair(pairs):
    calls = []
    check(pairs[0].image.parent, pairs[0].mask.parent, progress=lambda *n: calls.append(n))
    assert calls == [(i + 1, 8) for i in range(8)]


def test_every_bad_file_is_found_in_one_go(pairs):
    images, masks = pairs[0].image.parent, pairs[0].mask.parent
    pairs[0].image.write_bytes(pairs[0].image.read_bytes()[:5000])
    rewrite(pairs[1].mask, lambda m: np.uint8(m // 2 + np.arange(256) // 8))
    rewrite(pairs[2].mask, lambda m: m[:128])
    rewrite(pairs[3].image, lambda i: np.full_like(i, -1000))
    pairs[4].mask.unlink()
    pairs[5].image.rename(images / "alone.tif")
    write_image_file(masks / pairs[6].mask.with_suffix(".npy").name, read_image_file(pairs[6].mask))
    report = check_folders(pairs)
    messages = {f.message: {p.name for p in f.files} for f in findings(report, "error")}

    def files(words):
        return next(names for what, names in messages.items() if words in what)

    assert files("truncated or") == {pairs[0].name}
    assert files("grey levels") == {pairs[1].name}
    assert files("differ in size: 256x256 and 128x256") == {pairs[2].name}
    assert files("the image is constant") == {pairs[3].name}
    assert files("2 files without mask") == {pairs[4].name, "alone.tif"}
    assert files("1 file without image") == {pairs[5].name}
    assert len(files("share the name")) == 2
    assert (report.pairs, report.readable) == (5, 1)
    assert not report.fit_to_train


def test_errors_of_one_kind_are_told_together(pairs):
    for pair in pairs[:5]:
        rewrite(pair.mask, lambda m: np.uint8(m // 2 + np.arange(256) // 8))
    (finding,) = findings(check_folders(pairs), "error")
    assert finding.files == tuple(pair.mask for pair in pairs[:5])
    assert finding.message.startswith("5 files")


def test_folders_without_one_common_name_are_reported(sample, pairs):
    for pair in pairs:
        pair.mask.rename(pair.mask.with_name("mask_" + pair.name))
    report = check_folders(pairs)
    assert (report.pairs, report.values, report.lung_fraction) == (0, None, None)
    assert [len(f.files) for f in findings(report, "error")] == [8, 8]
    json.dumps(report.to_dict())


def test_a_missing_folder_is_an_error_at_once(pairs, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        check(tmp_path / "nowhere", pairs[0].mask.parent)


def test_the_same_image_under_another_name_and_dtype_is_found(pairs):
    image, mask = read_image_file(pairs[0].image), read_image_file(pairs[0].mask)
    write_image_file(pairs[0].image.with_name("zz.npy"), image.astype(np.float32))
    write_image_file(pairs[0].mask.with_name("zz.npy"), mask)
    report = check_folders(pairs)
    (finding,) = findings(report, "warning")
    assert {path.stem for path in finding.files} == {pairs[0].image.stem, "zz"}
    assert "2 images have the same pixels" in finding.message
    assert "the masks are equal" in finding.message
    assert report.dtypes == {"int16": 8, "float32": 1}
    assert report.fit_to_train


def test_the_same_image_with_another_mask_is_found(pairs):
    shutil.copy(pairs[0].image, pairs[0].image.with_name("zz.tif"))
    shutil.copy(pairs[1].mask, pairs[0].mask.with_name("zz.tif"))
    messages = [f.message for f in findings(check_folders(pairs), "warning")]
    assert "the masks differ" in messages[0]
    assert "2 masks have the same pixels, but belong to different images" in messages[1]


def test_a_mask_of_another_image_is_found(pairs):
    shutil.copy(pairs[0].mask, pairs[1].mask)
    near_duplicates, suspect = findings(check_folders(pairs), "warning")
    assert near_duplicates.files == (pairs[0].mask, pairs[1].mask)
    assert "different images" in near_duplicates.message
    assert suspect.files == (pairs[1].mask,)


def test_empty_masks_are_no_duplicates(pairs):
    for pair in pairs[:2]:
        rewrite(pair.mask, np.zeros_like)
    report = check_folders(pairs)
    (note,) = findings(report, "note")
    assert note.message == "2 masks without lung"
    assert [suspect.name for suspect in report.label_errors] == [
        pairs[1].name
    ]  # the other shows little


def test_a_set_without_any_lung_is_not_fit_to_train(pairs):
    for pair in pairs:
        rewrite(pair.mask, np.zeros_like)
    (finding,) = findings(check_folders(pairs), "error")
    assert "all masks are empty" in finding.message


def test_exchanged_folders_are_named(pairs):
    report = check(pairs[0].mask.parent, pairs[0].image.parent)
    (finding,) = report.findings
    assert "the image is a mask, and the mask is an image" in finding.message
    assert finding.hint == "pass the CT first, then its mask"


def test_inverted_masks_are_a_warning(pairs):
    for pair in pairs[:2]:
        rewrite(pair.mask, lambda mask: np.uint8(mask == 0))
    (finding,) = (f for f in check_folders(pairs).findings if "more than half" in f.message)
    assert finding.severity == "warning"
    assert finding.files == tuple(pair.mask for pair in pairs[:2])


def test_different_sizes_are_a_note(pairs):
    for path in (pairs[0].image, pairs[0].mask):
        rewrite(path, lambda x: x[:240])
    report = check_folders(pairs)
    assert [f.severity for f in report.findings] == ["note"]
    assert report.findings[0].message == "images of 2 sizes: 256x256 (7), 240x256 (1)"


@pytest.mark.parametrize(
    ("change", "kind", "fix"),
    [
        (lambda x: np.int16(x * 0.8), "scaled HU", "HU = stored / 0."),
        (lambda x: np.uint16(x + 1024), "offset HU", "HU = stored - 1024"),
        (lambda x: np.int32(x) * 3 + 3072, "scaled HU", "HU = (stored - 3"),
        (lambda x: np.uint8((x.clip(-1000, 600) + 1000) / 6.4), "grey", "export the CT values"),
    ],
)
def test_other_units_are_a_warning_with_the_way_back(pairs, change, kind, fix):
    for pair in pairs:
        rewrite(pair.image, change)
    report = check_folders(pairs)
    (finding,) = findings(report, "warning")
    assert report.units.kind == kind
    assert finding.message == report.units.reason
    assert fix in finding.hint
    assert report.fit_to_train


@pytest.mark.parametrize(
    ("kind", "limits", "expected"),
    [
        ("HU", None, "the exported model will segment scans in HU"),
        ("scaled HU", None, "the exported model will segment scans in HU"),
        ("unknown", None, "unknown: the exported model will take the stored values as HU"),
        ("mixed", None, "mixed: a run trained on these images cannot be exported"),
        ("wrapped HU", None, "wrapped HU: a run trained on these images cannot be exported"),
        ("grey", (0, 255), "8-bit grey values: the exported model will segment 8-bit images"),
        ("grey", (255, 0), "8-bit grey values: the exported model will segment 8-bit images"),
        ("grey", (0, 4095), "grey values: the exported model will segment greyscale images"),
    ],
)
def test_input_of_an_exported_model_depends_on_the_units(kind, limits, expected):
    text = describe_model_input(UnitsEstimate(kind, "", grey_limits=limits))
    assert text == expected + (", not scans in HU" if kind == "grey" else "")


def test_an_image_in_other_units_is_named(pairs):
    rewrite(pairs[5].image, lambda x: np.int16(x + 1024))
    (finding,) = findings(check_folders(pairs), "warning")
    assert finding.files == (pairs[5].image,)
    assert finding.message == "1 image in other units than the rest"


def test_images_are_not_kept_in_memory(sample):
    tracemalloc.start()
    try:
        check(sample.images, sample.masks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 256 * 256 * 8


def test_match_names_keeps_what_find_pairs_refuses(pairs):
    images, masks = pairs[0].image.parent, pairs[0].mask.parent
    pairs[0].image.unlink()
    pairs[1].mask.unlink()
    shutil.copy(pairs[2].image, pairs[2].image.with_suffix(".npy"))
    matched = match_folders(images, masks)
    assert matched.pairs == tuple(pairs[3:])
    assert matched.unmatched_masks == (pairs[0].mask,)
    assert matched.unmatched_images == (pairs[1].image,)
    assert matched.ambiguous == ((pairs[2].image.with_suffix(".npy"), pairs[2].image),)
    with pytest.raises(DataError, match="share the name"):
        find_pairs(images, masks)


@pytest.mark.slow
def test_finding_lungs_set_is_fit_but_not_in_hounsfield_units(data):
    folder = data / "kmader"
    if not folder.is_dir():
        pytest.skip(f"needs the set finding-lungs-in-ct-data in {folder}")
    report = check(folder / "2d_images", folder / "2d_masks")
    assert report.pairs == report.readable == 267
    assert report.fit_to_train
    finding, *suspects = findings(report, "warning")
    large, *suspects = suspects
    assert "more than half of the image" in large.message
    assert [path.name for path in large.files] == ["ID_0254_Z_0075.tif"]  # its mask is wrong
    assert len(suspects) == 5
    (prone,) = findings(report, "note")
    names = [path.name[:7] for path in prone.files]
    assert names == ["ID_0045", "ID_0049", "ID_0066", "ID_0200", "ID_0214"]  # 0049 is not
    assert "HU times 0.8165" in finding.message
    assert "White noise" in finding.message
    assert report.units.noise.sd == pytest.approx(63, abs=3)
    assert report.units.differing == ()
