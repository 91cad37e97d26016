import contextlib
import csv
import json
import shutil
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from dicom_files import write_series
from pyarrow import parquet

from pleura.cli import cli
from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import DistributionOptions, OutputOptions
from pleura.errors import DataError
from pleura.formats.image_files import read_image_file
from pleura.formats.read import read
from pleura.scan.geometry import affine_from_axes

AXIAL = affine_from_axes((-128, -128, 40), ((0, 0, 12.0), (0, 2.0, 0), (2.0, 0, 0)))


@pytest.fixture
def scans(sample, tmp_path):
    """A DICOM series in a folder with a patient's name, and two images."""
    folder = tmp_path / "scans"
    names = [f"LCTSC-201_{n:03d}.tif" for n in (49, 54, 58)]
    hu = np.stack([read_image_file(sample.images / name) for name in names]).astype(np.int16)
    write_series(folder / "DOE_JANE", hu, AXIAL)
    (folder / "b").mkdir()
    for name in names[:2]:
        shutil.copy(sample.images / name, folder / "b")
    return folder


@pytest.fixture
def bucket(monkeypatch):
    """The address of a bucket in a local S3 server."""
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="cohort")
    s3fs.S3FileSystem.clear_instance_cache()
    yield "s3://cohort"
    server.stop()


def uploaded(folder, address):
    import s3fs

    store = s3fs.S3FileSystem()
    store.put(str(folder), f"{address}/", recursive=True)
    return store


@pytest.mark.filterwarnings("default")
def test_scans_of_a_bucket_get_their_masks_there(bucket, scans, options, tmp_path):
    store = uploaded(scans, bucket)
    out = f"{bucket}/lungs"
    rows = segment_cohort(f"{bucket}/scans", out, options)
    assert [row.status for row in rows] == ["done", "done", "done"]
    written = {path.removeprefix("cohort/lungs/") for path in store.find(out)}
    assert {"b/LCTSC-201_049_lungs.tif", "b/LCTSC-201_049_lungs.json", "summary.csv"} <= written
    assert not any("doe" in path.lower() for path in written)
    (series,) = (row for row in rows if row.name.startswith("dicom-"))
    store.get(f"{out}/{series.mask}", str(tmp_path / "mask.nii.gz"))
    mask = read(tmp_path / "mask.nii.gz", units="hu")
    assert mask.geometry.is_close(read(scans / "DOE_JANE").geometry)
    here = segment_cohort(scans, tmp_path / "here", options)
    assert sorted(row.right_ml or 0 for row in here) == sorted(row.right_ml or 0 for row in rows)

    again = segment_cohort(f"{bucket}/scans", out, options)
    assert {row.status for row in again} == {"skipped"}
    around = segment_cohort(bucket, f"{bucket}/lungs", options)
    assert len(around) == 3
    store.put(str(scans / "b" / "LCTSC-201_054.tif"), f"{bucket}/scans/b/LCTSC-201_049.tif")
    changed = {row.name: row.status for row in segment_cohort(f"{bucket}/scans", out, options)}
    assert changed["b/LCTSC-201_049"] == "done"
    assert list(changed.values()).count("skipped") == 2


@pytest.mark.filterwarnings("default")
def test_one_scan_at_an_address_and_a_manifest_of_them(bucket, scans, options, tmp_path):
    uploaded(scans, bucket)
    address = f"{bucket}/scans/b/LCTSC-201_049.tif"
    result = CliRunner().invoke(
        cli, ["segment", address, "-o", str(tmp_path / "one.tif")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "one.tif").exists()
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path,name\n{address},first\n{bucket}/scans/DOE_JANE,second\n")
    rows = segment_cohort(manifest, tmp_path / "out", options)
    assert [(row.name, row.status) for row in rows] == [("first", "done"), ("second", "done")]
    assert json.loads((tmp_path / "out" / "second_lungs.json").read_text())["scan"] == "second"


@pytest.mark.filterwarnings("default")
def test_unusable_addresses_are_errors(bucket, options, monkeypatch, tmp_path):
    import s3fs

    with pytest.raises(DataError, match="no such file or folder"):
        segment_cohort(f"{bucket}/nowhere", tmp_path / "out", options)
    with pytest.raises(DataError, match="rotocol not known: nothing"):
        segment_cohort("nothing://somewhere", tmp_path / "out", options)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=r"redentials") as raised:
        segment_cohort(f"{bucket}/scans", tmp_path / "out", options)
    assert "credentials in the environment" in raised.value.hint
    s3fs.S3FileSystem.clear_instance_cache()


def test_scans_of_a_zip_are_read_in_place(scans, options, tmp_path):
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        for path in (scans / "b").iterdir():
            archive.write(path, f"b/{path.name}")
    address = f"zip://::{tmp_path / 'scans.zip'}"
    rows = segment_cohort(address, tmp_path / "out", options)
    assert [row.name for row in rows] == ["b/LCTSC-201_049", "b/LCTSC-201_054"]
    assert {row.status for row in rows} == {"done"}
    again = segment_cohort(address, tmp_path / "out", options)
    assert {row.status for row in again} == {"skipped"}


def test_a_zip_cannot_write_outside_of_the_results(scans, options, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.write(scans / "b" / "LCTSC-201_049.tif", "../../evil.tif")
    out = tmp_path / "deep" / "er" / "out"
    with contextlib.suppress(DataError):  # fsspec may not list such a member
        segment_cohort(f"zip://::{tmp_path / 'evil.zip'}", out, options)
    assert all(path.is_relative_to(out) for path in tmp_path.rglob("evil*lungs*"))


def test_header_and_voxels_of_two_files_are_fetched_together(sample, options, tmp_path):
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(sample.folder / "volume" / "ct.nii.gz"))[:, :, 20:24]
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        sitk.WriteImage(image, str(tmp_path / "chest.mhd"))
        for suffix in (".mhd", ".raw"):
            archive.write(tmp_path / f"chest{suffix}", f"chest{suffix}")
    rows = segment_cohort(f"zip://::{tmp_path / 'scans.zip'}", tmp_path / "out", options)
    assert [(row.name, row.status) for row in rows] == [("chest", "done")]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_manifest_names_scans_and_their_options(scans, options, tmp_path, kind):
    listed = [
        {"path": "scans/DOE_JANE", "name": "p1/ct", "patient": "p1", "units": "hu", "flip": ""},
        {
            "path": "scans/b/LCTSC-201_049.tif",
            "name": "",
            "patient": "p2",
            "units": "",
            "flip": "yes",
        },
        {"path": "scans/b/missing.tif", "name": "", "patient": "p3", "units": "", "flip": ""},
    ]
    manifest = tmp_path / f"list.{kind}"
    if kind == "csv":
        with manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(listed[0]))
            writer.writeheader()
            writer.writerows(listed)
    else:
        parquet.write_table(pa.Table.from_pylist(listed), manifest)
    rows = {row.name: row for row in segment_cohort(manifest, tmp_path / "out", options)}
    assert {name: row.status for name, row in rows.items()} == {
        "p1/ct": "done",
        "LCTSC-201_049": "done",
        "missing": "failed",
    }
    assert "no such file" in rows["missing"].error
    assert rows["p1/ct"].patient == "p1"
    plain = segment_cohort(scans / "b", tmp_path / "plain", options)[0]
    assert plain.right_ml == rows["LCTSC-201_049"].left_ml or plain.right_ml is None
    flipped, straight = (
        read_image_file(tmp_path / where / "LCTSC-201_049_lungs.tif") for where in ("out", "plain")
    )
    both = (flipped > 0) & (straight > 0)
    assert (flipped[both] != straight[both]).mean() > 0.95


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,colour\na.png,red\n", "unknown columns: colour"),
        ("scan\na.png\n", "unknown columns: scan"),
        ("name\na.png\n", "no column named path"),
        ("path\n", "empty"),
        (
            "path,units\na.png,HU\na.png,stones\n",
            "row 3 of the manifest: units must be 'auto', 'hu', 'offset', 'grey' or 'inverted', "
            "not 'stones'",
        ),
        ("path,stack\na.png,often\n", "row 2 of the manifest: stack must be true or false, not"),
        ("path,name\na.png,x\nb.png,x,y\n", "row 3 of the manifest: more cells than columns"),
        ("path,name\na.png,x,y\n", "unknown columns: more"),
        ("path,name\n,x\n", "row 2 of the manifest: path is empty"),
        ("path\na.png\na.png\n", "have the same name"),
    ],
)
def test_a_bad_manifest_is_refused(options, tmp_path, text, says):
    manifest = tmp_path / "list.csv"
    manifest.write_text(text)
    with pytest.raises(DataError, match=says):
        segment_cohort(manifest, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_the_tables_have_one_row_per_scan_and_region(sample, options, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    shutil.copy(sample.folder / "volume" / "ct.nii.gz", folder)
    (folder / "bad.nrrd").write_bytes(b"NRRD0005\nno header")
    out = tmp_path / "out"
    segment_cohort(folder, out, options, outputs=OutputOptions(measure=True))
    table = parquet.read_table(out / "lungs.parquet").to_pylist()
    assert [(row["name"], row["region"], row["status"]) for row in table] == [
        ("bad", None, "failed"),
        ("ct", "lungs", "done"),
        ("ct", "right", "done"),
        ("ct", "left", "done"),
    ]
    both, right, left = table[1:]
    assert both["volume_ml"] == pytest.approx(right["volume_ml"] + left["volume_ml"])
    assert -900 < right["mean"] < -500
    assert {"pleura_version", "model", "low_attenuation_LAA-950", "Perc15", "centroid_mm_x"} <= set(
        both
    )
    assert table[0]["error"]
    with (out / "lungs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["region"] for row in rows] == ["", "lungs", "right", "left"]
    assert float(rows[1]["mean"]) == pytest.approx(both["mean"])


def test_addresses_in_errors_have_no_signature(options, tmp_path):
    signed = "https://user:secret@127.0.0.1:9/scans/chest.nii.gz?signature=secret"
    with pytest.raises(DataError) as raised:
        segment_cohort(signed, tmp_path / "out", options)
    assert "secret" not in str(raised.value)


@pytest.mark.filterwarnings("default")
def test_a_scan_is_retried_after_an_error_of_the_store(
    bucket, scans, options, monkeypatch, tmp_path
):
    from pleura.cohort import stores

    uploaded(scans, bucket)
    failed, fetched = [], stores.RemoteScan.download

    def once(self, name):
        if not failed:
            failed.append(name)
            raise stores.StoreError("it is away", where=None, hint="wait")
        return fetched(self, name)

    monkeypatch.setattr(stores.RemoteScan, "download", once)
    rows = segment_cohort(
        f"{bucket}/scans/b", tmp_path / "out", options, distribution=DistributionOptions(retries=1)
    )
    assert failed
    assert {row.status for row in rows} == {"done"}
    failed.clear()
    rows = segment_cohort(f"{bucket}/scans/b", tmp_path / "other", options)
    assert [row.error for row in rows if row.status == "failed"] == ["it is away; hint: wait"]
