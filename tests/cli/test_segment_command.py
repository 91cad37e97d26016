"""`pleura segment` with the model that ships: valid input, invalid input, and signals."""

import json
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pydicom
import pytest
from commands import pleura, refused
from dicom_files import write_series

from pleura.cli.common import describe_mask
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read

PLEURA = [sys.executable, "-m", "pleura"]


@pytest.fixture
def chest(sample):
    return sample.folder / "volume" / "ct.nii.gz"


def test_one_command_writes_mask_report_preview_and_masked_ct(chest, tmp_path):
    command = [
        *PLEURA,
        *("segment", chest, "-o", tmp_path / "lungs.nii.gz", "--preview"),
        *("--masked", tmp_path / "alone.nii.gz", "--crop", "--probability", tmp_path / "soft.nrrd"),
        *("--measure", "--json", tmp_path / "report.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "right" in done.stdout
    mask = read(tmp_path / "lungs.nii.gz", units="hu")
    assert mask.geometry.is_close(read(chest).geometry)
    assert set(np.unique(mask.hu())) == {0, 1, 2}
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["volume_ml"]["right"] > 1000
    right = report["measurements"]["regions"][1]
    assert right["volume_ml"] == pytest.approx(report["volume_ml"]["right"], abs=0.1)
    assert report["flags"] == {}
    assert read_image_file(tmp_path / "lungs_preview.png").shape[2] == 3
    assert read(tmp_path / "alone.nii.gz", units="hu").geometry.shape < mask.geometry.shape
    assert read(tmp_path / "soft.nrrd", units="hu").geometry.is_close(mask.geometry)
    again = pleura("segment", chest, "-o", tmp_path / "lungs.nii.gz", code=1)
    assert "the output file already exists" in again.stderr


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("a.dcm", "a.dcm (DICOM SEG; read 1.0 s)"),
        ("a.rtstruct.dcm", "a.rtstruct.dcm (RT Structure Set; read 1.0 s)"),
        ("a.nii.gz", "a.nii.gz (read 1.0 s)"),
    ],
)
def test_kind_of_a_dicom_mask_is_printed(path, start):
    assert describe_mask(path, {"read": 1.0}) == start


def test_dicom_folder_to_a_segmentation_object(chest, tmp_path):
    scan = read(chest)
    order = scan.geometry.to_canonical()
    grid = order.apply_to(scan.geometry)
    write_series(tmp_path / "series", order.apply(scan.hu()), grid.affine)
    pleura("segment", tmp_path / "series", "-o", tmp_path / "out", "--format", "dicom-seg", "-q")
    (written,) = (tmp_path / "out").glob("*_lungs.dcm")
    assert pydicom.dcmread(written).Modality == "SEG"


def test_binary_picture_of_one_slice(sample, tmp_path):
    pleura("segment", sample.images / "LCTSC-201_058.tif", "-o", tmp_path / "a.png", "--binary")
    assert set(np.unique(read_image_file(tmp_path / "a.png"))) == {0, 255}


def test_four_dimensional_nifti_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 4, 3), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    refused(
        "segment", tmp_path / "a.nii.gz", "-o", tmp_path / "b.nii.gz", says="not a single volume"
    )


@pytest.mark.parametrize("spoil", ["nan", "singular", "zero", "constant"])
def test_invalid_volumes_are_refused(tmp_path, spoil):
    values, affine = np.full((32, 32, 6), -1000, np.float32), np.diag([-1.0, -1, 3, 1])
    values[8:24, 8:24] = 40
    if spoil == "nan":
        values[3, 3, 3] = np.nan
    if spoil == "constant":
        values[:] = 7
    if spoil == "singular":
        affine[1] = affine[0]
    image = nib.Nifti1Image(values, np.eye(4))
    if spoil == "zero":
        image.header["dim"][3] = 0
    image.header.set_sform(affine, 2)
    image.header["vox_offset"] = 352
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4) + values.T.tobytes())
    words = {"nan": "NaN", "singular": "grid", "zero": "0", "constant": "constant"}
    refused("segment", tmp_path / "a.nii", "-o", tmp_path / "b.nii", says=words[spoil])
    assert not (tmp_path / "b.nii").exists()


def test_two_patients_in_a_folder_are_refused(chest, tmp_path):
    hu = read(chest).hu(20, 26)
    affine = np.diag([6.0, 1, 1, 1])[:, [2, 1, 0, 3]]
    for name in ("Anna^A", "Bert^B"):
        folder = tmp_path / "both" / name[0]
        write_series(folder, hu, affine, series=name, PatientName=name, PatientID=name)
    refused("segment", tmp_path / "both", "-o", tmp_path / "x.nii.gz", says="2 patients")


def test_folders_without_ct_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    refused("segment", tmp_path / "empty", "-o", tmp_path / "x.nii.gz", says="contains no file")
    (tmp_path / "empty" / "a.txt").write_text("words")
    refused("segment", tmp_path / "empty", "-o", tmp_path / "x.nii.gz", says="no CT found")
    refused("segment", tmp_path / "gone", "-o", tmp_path / "x.nii.gz", says="no such file")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-o", "scan.nii.gz", "--overwrite"), "the output path is the input scan"),
        (
            ("-o", "x.nii.gz", "--masked", "scan.nii.gz", "--overwrite"),
            "the output path is the input scan",
        ),
        (("-o", "x.nii.gz", "--masked", "x.nii.gz"), "two outputs"),
        (("-o", "x.nii.gz", "--preview", "--json", "x_preview.png"), "two outputs"),
        (("-o", "x.mhd"), "not the suffix of a mask"),
        (("-o", "x.nii.bz2"), "not the suffix of a mask"),
        (("-o", "x.nrrd", "--format", "nrrd"), "--format applies to a cohort"),
        (("-o", "x.nii.gz", "--jobs", "2"), "--jobs applies to a cohort"),
    ],
)
def test_no_output_replaces_the_scan_or_another_output(chest, tmp_path, monkeypatch, options, says):
    shutil.copy(chest, tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    code = 1 if "--overwrite" in options else 2
    assert says in pleura("segment", "scan.nii.gz", *options, "-q", code=code).stderr
    assert (tmp_path / "scan.nii.gz").read_bytes() == chest.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_no_slice_of_a_dicom_folder_is_replaced(chest, tmp_path):
    affine = np.diag([6.0, 1, 1, 1])[:, [2, 1, 0, 3]]
    paths = write_series(tmp_path / "series", read(chest).hu(20, 26), affine)
    before = paths[0].read_bytes()
    options = ("-o", paths[0], "--overwrite", "-q")
    refused("segment", tmp_path / "series", *options, says="the output path is the input scan")
    assert paths[0].read_bytes() == before


def test_a_scan_with_the_name_of_a_result_is_kept(chest, tmp_path):
    for name in ("a.nii.gz", "a_lungs.nii.gz"):
        shutil.copy(chest, tmp_path / name)
    refused("segment", tmp_path, "-o", tmp_path, "-q", says="the output path is an input scan")
    assert (tmp_path / "a_lungs.nii.gz").read_bytes() == chest.read_bytes()


def test_output_that_cannot_be_written_is_refused(chest, tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused(
        "segment",
        chest,
        "-o",
        tmp_path / "file" / "x.nii.gz",
        "-q",
        says="the folder of the output is a file",
    )


def test_a_file_that_is_not_a_model_is_refused(chest, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    arguments = ("segment", chest, "--model", tmp_path / "m.onnx", "-o", tmp_path / "x.nii.gz")
    refused(*arguments, says="not a model file of pleura")


def test_a_shipped_model_is_selected_by_name(chest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "accurate").mkdir()
    (tmp_path / "scans").mkdir()
    shutil.copy(chest, tmp_path / "scans" / "a.nii.gz")
    arguments = ("--model", "accurate", "-q", "--json", tmp_path / "r.json")
    pleura("segment", "scans", "-o", "x.nii.gz", *arguments)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["versions"]["model"].endswith("accurate")
    pleura("segment", "scans", "-o", "out", *arguments)
    names = "x.nii.gz", "out/a_lungs.nii.gz"
    one, many = (read(tmp_path / name, units="hu").hu() for name in names)
    assert np.array_equal(one, many)
    refused("segment", chest, "-o", tmp_path / "y.nii.gz", "--model", "best", says="no such model")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_full_disk_leaves_nothing_half_written(chest, tmp_path):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    command = [*PLEURA, "segment", chest, "-o", tmp_path / "x.nii.gz", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_stops_a_cohort_and_keeps_what_is_done(chest, tmp_path):
    (tmp_path / "cohort").mkdir()
    for i in range(400):  # more than are done before the signal, also on a slow machine
        shutil.copy(chest, tmp_path / "cohort" / f"{i:03d}.nii.gz")
    out = tmp_path / "out"
    command = [*PLEURA, "segment", str(tmp_path / "cohort"), "-o", str(out), "-q"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("*_lungs.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "Traceback" not in error
    done = list(out.glob("*_lungs.json"))
    assert 0 < len(done) < 400
    for report in done:
        mask = report.with_name(report.name.replace(".json", ".nii.gz"))
        assert read(mask, units="hu").hu().any()
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
