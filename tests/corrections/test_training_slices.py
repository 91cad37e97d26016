import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from pleura.corrections.cases import ReviewCase
from pleura.corrections.saving import record_path
from pleura.corrections.training_slices import (
    _choose_held_out,
    corrected_cases,
    read_training_slices,
    write_training_slices,
)
from pleura.dataset.subsets import read_split
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file


def subsets(folder):
    names = [path.name for path in (folder / "images").iterdir()]
    return read_split(folder / "split.csv", names).subset_by_name()


def test_corrected_slices_and_a_fraction_of_the_others_are_written(results, tmp_path):
    cases = corrected_cases(results)
    assert [case.name for case in cases] == ["part0", "part1", "part2"]
    found = write_training_slices(cases, tmp_path / "all", uncorrected_fraction=1)
    assert (found.n_corrected, found.n_uncorrected) == (6, 24)
    few = write_training_slices(cases, tmp_path / "few", uncorrected_fraction=0.25)
    assert (few.n_corrected, few.n_uncorrected) == (6, 6)
    none = write_training_slices(cases, tmp_path / "none", uncorrected_fraction=0)
    assert (none.n_corrected, none.n_uncorrected) == (6, 0)
    (held,) = found.held_out
    split = subsets(tmp_path / "all")
    name = f"case-{[c.name for c in cases].index(held.name):04d}"
    assert {subset for file, subset in split.items() if file.startswith(name)} == {"test"}
    assert {subset for file, subset in split.items() if not file.startswith(name)} == {
        "training",
        "validation",
    }
    image = read_image_file(tmp_path / "all" / "images" / "case-0001_z0004.tif")
    mask = read_image_file(tmp_path / "all" / "masks" / "case-0001_z0004.tif")
    corrected = nib.load(results / "part1_lungs.corrected.nii.gz").get_fdata()[:, :, 4]
    assert (mask > 0).sum() == (corrected > 0).sum()
    assert image[mask > 0].mean() < -600


def test_held_out_cases_are_read_back_also_from_version_0_1_0(results, tmp_path):
    cases = corrected_cases(results)
    written = write_training_slices(cases, tmp_path)
    assert read_training_slices(cases, tmp_path).held_out == written.held_out
    table = tmp_path / "cases.csv"
    table.write_text(table.read_text().replace("subset", "part"))
    assert read_training_slices(cases, tmp_path).held_out == written.held_out
    table.unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        read_training_slices(cases, tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_scans_of_one_patient_are_held_out_together(seed):
    cases = [ReviewCase(f"scan{i}", lambda: None) for i in range(9)]
    patients = [f"P{i // 3}" for i in range(9)]
    held = {case.name for case in _choose_held_out(cases, patients, seed)}
    assert len(held) == 3
    assert len({patients[int(name[-1])] for name in held}) == 1
    assert _choose_held_out(cases, ["P"] * 9, seed) == []
    assert len(_choose_held_out(cases, [case.name for case in cases], seed)) == 1


def test_results_without_corrected_masks_are_refused(results, tmp_path):
    shutil.copytree(results.parent, tmp_path / "cohort")
    for path in (tmp_path / "cohort" / "out").glob("*.corrected.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match="no corrected masks"):
        corrected_cases(tmp_path / "cohort" / "out")


def test_one_scan_with_two_corrected_slices_is_enough_only_with_uncorrected_ones(results, tmp_path):
    cases = corrected_cases(results)[:1]
    with pytest.raises(DataError, match="not enough"):
        write_training_slices(cases, tmp_path / "none", uncorrected_fraction=0)
    found = write_training_slices(cases, tmp_path / "some", uncorrected_fraction=0.5)
    assert found.held_out == ()
    assert set(subsets(tmp_path / "some").values()) == {"training", "validation", "test"}


@pytest.mark.parametrize("key", ["changed_slices", "slices"])  # the second of version 0.1.0
def test_recorded_slices_count_as_corrected_where_the_mask_was_replaced(results, tmp_path, key):
    shutil.copytree(results.parent, tmp_path / "cohort")
    out = tmp_path / "cohort" / "out"
    for case in corrected_cases(out):
        record = record_path(case.corrected_path)
        record.write_text(json.dumps({key: [4]}))
        mask = nib.load(case.mask_path)  # another model's, empty
        nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), case.mask_path)
    found = write_training_slices(corrected_cases(out), tmp_path / "data", uncorrected_fraction=0.5)
    assert found.n_corrected == 3
