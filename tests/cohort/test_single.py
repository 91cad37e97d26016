import json
import os
from pathlib import Path

import numpy as np
import pytest

import pleura
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import DistributionOptions, OutputFiles, OutputOptions
from pleura.cohort.single import segment_file
from pleura.engine.engine import Engine
from pleura.errors import DataError, ScanError
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.formats.write import write_volume
from pleura.scan.geometry import Geometry


@pytest.fixture
def picture(sample):
    return sample.images / "LCTSC-201_054.tif"


def test_a_path_is_enough(picture, options, tmp_path):
    report = segment_file(str(picture), tmp_path / "lungs.png", options)
    assert set(np.unique(read_image_file(tmp_path / "lungs.png"))) == {0, 1, 2}
    assert report.voxels["right"] == np.count_nonzero(read_image_file(tmp_path / "lungs.png") == 1)
    assert [path.name for path in tmp_path.iterdir()] == ["lungs.png"]


def test_all_outputs_are_written(picture, options, tmp_path):
    named = {
        "mask": "mask.tif",
        "preview": "preview.png",
        "masked": "masked.tif",
        "probability": "probability.png",
        "report": "report.json",
    }
    # Text and any path-like object are paths.
    paths = {key: str(tmp_path / name) for key, name in named.items()}
    files = OutputFiles(**paths | {"mask": tmp_path / named["mask"]}, measure=True)
    seen = []
    report = segment_file(picture, files, options, progress=lambda n, total: seen.append(total))
    assert {path.name for path in tmp_path.iterdir()} == set(named.values())
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(
        json.dumps(report.to_dict())
    )
    assert report.measurements["regions"]
    assert seen == [1]


def test_a_file_and_a_cohort_have_the_same_report(picture, options, tmp_path):
    report = segment_file(picture, tmp_path / "lungs.tif", options).to_dict()
    segment_cohort(picture, tmp_path / "out", options)
    other = json.loads((tmp_path / "out" / f"{picture.stem}_lungs.json").read_text())
    assert report.keys() == other.keys()
    own = {"seconds", "mask", "source", "fingerprint"}
    assert {k: v for k, v in report.items() if k not in own} == {
        k: v for k, v in other.items() if k not in own
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"masked": "a.nii.gz"}, "two outputs have the same path"),
        ({"report": "./a.nii.gz"}, "two outputs have the same path"),
        ({"crop": True}, "crop applies only to the masked CT"),
    ],
)
def test_contradicting_outputs_are_refused(fields, message):
    fields = {
        key: Path(value) if isinstance(value, str) else value for key, value in fields.items()
    }
    with pytest.raises(DataError, match=message):
        OutputFiles(Path("a.nii.gz"), **fields)


def test_existing_files_are_kept(picture, options, tmp_path):
    mask = tmp_path / "a.png"
    mask.write_bytes(b"mine")
    with pytest.raises(DataError, match="the output file already exists"):
        segment_file(picture, mask, options)
    assert mask.read_bytes() == b"mine"
    segment_file(picture, OutputFiles(mask, overwrite=True), options)
    assert mask.read_bytes() != b"mine"


def test_the_public_names_are_exported():
    assert pleura.segment_file is segment_file
    assert pleura.segment_cohort is segment_cohort
    assert pleura.OutputOptions is OutputOptions


@pytest.mark.parametrize(
    "fields", [{"jobs": 0}, {"shard": (0, 3)}, {"shard": (4, 3)}, {"retries": -1}]
)
def test_distributions_out_of_range_are_refused(fields):
    with pytest.raises(DataError, match="out of range"):
        DistributionOptions(**fields)


@pytest.fixture
def compiled(monkeypatch):
    """The sizes of slices for which models are compiled, in order."""
    sizes, prepare = [], Engine.prepare

    def record(self, shape):
        sizes.append(shape[1:])
        prepare(self, shape)

    monkeypatch.setattr(Engine, "prepare", record)
    return sizes


@pytest.mark.parametrize("stored", ["axial", "sagittal", "DICOM"])
def test_the_model_is_compiled_for_the_slices_while_the_scan_is_read(
    stored, sample, cohort, options, compiled, tmp_path
):
    path, size = cohort / "a", (256, 256)
    if stored != "DICOM":
        scan = read(sample.folder / "volume" / "ct.nii.gz")
        hu, affine, size = scan.hu()[:, :96], scan.geometry.affine, (96, 128)
        if stored == "sagittal":
            hu, affine = np.moveaxis(hu, 2, 0), affine[:, [2, 0, 1, 3]]
        path = tmp_path / "ct.nii.gz"
        write_volume(path, np.ascontiguousarray(hu), Geometry(hu.shape, affine))
    segment_file(path, tmp_path / "lungs.nii.gz", options)
    assert compiled == [size, size]


def test_no_model_is_compiled_before_the_values_of_an_image_are_known(
    picture, options, compiled, tmp_path
):
    segment_file(picture, tmp_path / "lungs.png", options)
    assert compiled == [(256, 256)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_opened(options, tmp_path):
    os.mkfifo(tmp_path / "ct.dcm")
    with pytest.raises(ScanError, match="a pipe"):
        segment_file(tmp_path / "ct.dcm", tmp_path / "lungs.nii.gz", options)
