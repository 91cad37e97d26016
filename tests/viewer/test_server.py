import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from dicom_files import write_series
from starlette.testclient import TestClient

from pleura.cohort.batch import segment_cohort
from pleura.corrections.cases import case_from_files, cases_from_results
from pleura.corrections.saving import read_changed_slices, save_correction
from pleura.errors import DataError
from pleura.formats.read import read
from pleura.masks.labels import read_mask
from pleura.measurement.measure import AERATION
from pleura.scan.geometry import affine_from_axes
from pleura.viewer.app import create_app
from pleura.viewer.case_list import CaseList, find_cases
from pleura.viewer.uploads import Uploads

HOST = "127.0.0.1:8000"


@pytest.fixture
def client(pair):
    app = create_app(CaseList([case_from_files(*pair)]), "secret", [HOST])
    with TestClient(app, base_url=f"http://{HOST}") as client:
        client.get("/?token=secret")
        yield client


def test_scan_and_mask_are_served_on_their_own_grid(client, pair):
    for kind, path in zip(("scan", "mask"), pair, strict=True):
        answer = client.get(f"/api/cases/0/{kind}.nii")
        assert answer.status_code == 200
        sent = nib.Nifti1Image.from_bytes(answer.content)
        own = nib.load(path)
        np.testing.assert_allclose(sent.affine, own.affine, atol=1e-4)
        np.testing.assert_array_equal(sent.get_fdata(), own.get_fdata())
    assert client.get("/api/cases/0/reference.nii").status_code == 404
    assert client.get("/api/cases/1/scan.nii").status_code == 404


def test_masks_of_other_structures_are_not_corrected(pair):
    scan, mask = pair
    labels = shutil.copyfile(mask, mask.with_name("ct_labels.nii.gz"))
    case = case_from_files(scan, labels)
    with pytest.raises(DataError, match="other structures than lungs"):
        save_correction(case, mask.read_bytes())
    assert not case.corrected_path.exists()


def test_exchanged_scan_and_mask_are_reported(pair):
    scan, mask = pair
    app = create_app(CaseList([case_from_files(mask, scan)]), "secret", [HOST])
    with TestClient(app, base_url=f"http://{HOST}") as client:
        client.get("/?token=secret")
        answer = client.get("/api/cases/0/scan.nii")
    assert answer.status_code == 422
    assert "hint: pass the CT first, then its mask" in answer.json()["error"]


def test_a_correction_is_a_new_file_with_a_record_of_what_changed(client, pair):
    before = pair[1].read_bytes()
    mask = nib.load(pair[1])
    drawn = mask.get_fdata().astype(np.uint8)
    drawn[18, 8:20, 1:5] = 1
    content = nib.Nifti1Image(drawn, mask.affine).to_bytes()
    answer = client.put("/api/cases/0/corrected", content=content)
    assert answer.status_code == 200
    assert pair[1].read_bytes() == before
    corrected = pair[1].with_name("lungs.corrected.nii.gz")
    np.testing.assert_array_equal(nib.load(corrected).get_fdata(), drawn)
    np.testing.assert_allclose(nib.load(corrected).affine, mask.affine, atol=1e-4)
    record = json.loads(pair[1].with_name("lungs.corrected.json").read_text())
    assert {**record, "etag": answer.json()["etag"]} == answer.json()
    assert record["changes"]["right"]["voxels"] == 12 * 4
    assert record["changes"]["right"]["ml"] == pytest.approx(48 * 0.8 * 0.9 * 2.5 / 1000, abs=0.001)
    assert record["changes"]["right"]["dice"] == pytest.approx(2 * 480 / (480 + 528))
    assert record["changes"]["left"]["voxels"] == 0
    assert client.get("/api/cases").json()[0]["is_corrected"]
    again = nib.Nifti1Image.from_bytes(client.get("/api/cases/0/mask.nii").content)
    np.testing.assert_array_equal(again.get_fdata(), drawn)


def test_record_of_an_earlier_correction_does_not_count_for_a_later_one(pair, monkeypatch):
    """Saving is killed between the mask and its record, and then done again."""
    case = case_from_files(*pair)
    mask = nib.load(pair[1])
    axis = read(pair[0]).geometry.to_canonical().axes[0]
    drawn = []
    for index in (1, 3):
        labels = np.asarray(mask.dataobj).copy()
        labels[(slice(None),) * (2 - axis) + (index,)] = 0
        drawn.append(nib.Nifti1Image(labels, mask.affine).to_bytes())
    first = save_correction(case, drawn[0])["changed_slices"]
    with monkeypatch.context() as patched:
        patched.setattr("pleura.corrections.saving.write_json", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_correction(case, drawn[1])
    assert read_changed_slices(case.corrected_path) is None
    second = save_correction(case, drawn[1])["changed_slices"]
    assert read_changed_slices(case.corrected_path) == second
    assert set(first) < set(second)


def test_upload_that_is_no_mask_of_the_scan_is_refused(client, pair):
    mask = nib.load(pair[1])
    labels = mask.get_fdata().astype(np.uint8)
    for content in (
        b"",
        b"no NIfTI at all",
        gzip.compress(b"neither"),
        nib.Nifti1Image(labels[:-1], mask.affine).to_bytes(),
        nib.Nifti1Image(labels * 7, mask.affine).to_bytes(),
        nib.Nifti1Image(labels * np.float32(0.5), mask.affine).to_bytes(),
    ):
        answer = client.put("/api/cases/0/corrected", content=content)
        assert answer.status_code == 422, content[:20]
        assert "hint" in answer.json()["error"]
    assert sorted(p.name for p in pair[0].parent.iterdir()) == ["ct.nii.gz", "lungs.nii.gz"]


def test_requests_without_the_token_are_rejected(pair):
    with TestClient(
        create_app(CaseList([case_from_files(*pair)]), "secret", [HOST]), base_url=f"http://{HOST}"
    ) as client:
        for path in ("/", "/?token=guess", "/api/cases", "/static/viewer.js"):
            assert client.get(path).status_code == 403
        assert client.put("/api/cases/0/corrected", content=b"").status_code == 403
        assert client.get("/?token=secret").status_code in (200, 404)  # 404: the page is not built
        assert client.get("/api/cases").status_code == 200


def test_requests_of_other_sites_and_host_names_are_rejected(client):
    assert client.get("/api/cases", headers={"host": "evil.example:8000"}).status_code == 403
    assert client.get("/api/cases", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/cases", headers={"origin": f"http://{HOST}"}).status_code == 200


def test_only_the_cases_can_be_read(client):
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/api/cases/0/..%2fx.nii"):
        assert client.get(path).status_code in (403, 404)


def test_only_scripts_of_this_server_run(client):
    policy = client.get("/api/cases").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy


def test_results_of_a_cohort_are_found_with_their_scans_worst_flags_first(sample, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    (scans / "a").mkdir(parents=True)
    shutil.copy(sample.folder / "volume" / "ct.nii.gz", scans / "a" / "whole.nii.gz")
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    nib.save(image.slicer[:, :, 20:34], scans / "part.nii.gz")
    rows = segment_cohort(scans, out)
    assert [row.status for row in rows] == ["done", "done"]
    cases = cases_from_results(out)
    assert {case.name for case in cases} == {"a/whole", "part"}
    counts = [len(case.report["flags"]) for case in cases]
    assert counts == sorted(counts, reverse=True)
    for case in cases:
        assert case.read_scan().geometry.matches(read(case.mask_path, units="hu").geometry)
    scans.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="are missing"):
        cases_from_results(out)
    assert len(cases_from_results(out, tmp_path / "moved")) == 2


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "uploads"
    folder.mkdir()
    app = create_app(CaseList(), "secret", [HOST], Uploads(folder))
    with TestClient(app, base_url=f"http://{HOST}") as client:
        client.get("/?token=secret")
        yield client


def test_an_uploaded_scan_is_segmented_and_can_be_corrected(empty, sample):
    content = (sample.folder / "volume" / "ct.nii.gz").read_bytes()
    assert empty.put("/api/uploads/7/ct.nii.gz", content=content).status_code == 200
    assert empty.post("/api/uploads/7").json() == {"index": 0}
    (served,) = empty.get("/api/cases").json()
    assert served["name"] == "ct"
    assert served["report"]["volume_ml"]["right"] > 1000
    mask = nib.Nifti1Image.from_bytes(empty.get("/api/cases/0/mask.nii").content)
    assert set(np.unique(mask.get_fdata())) == {0, 1, 2}
    assert empty.put("/api/cases/0/corrected", content=mask.to_bytes()).status_code == 200


def test_a_dicom_series_is_uploaded_file_by_file(empty, sample, tmp_path):
    hu = np.zeros((3, 96, 96), np.int16)
    hu[:, 20:70, 10:80] = -800
    write_series(
        tmp_path / "series",
        hu,
        affine_from_axes((0, 0, 0), ((0, 0, 5.0), (0, 1.0, 0), (1.0, 0, 0))),
    )
    for i, path in enumerate(sorted((tmp_path / "series").iterdir())):
        empty.put(f"/api/uploads/8/{i}-{path.name}", content=path.read_bytes())
    assert empty.post("/api/uploads/8").json() == {"index": 0}
    assert empty.get("/api/cases").json()[0]["name"] == "scan 8"


def test_uploads_stay_inside_their_folder(empty, tmp_path):
    for name in ("..%2f..%2fa.nii", "%2e%2e", "a%00b.nii", "C:%5cb.nii"):
        empty.put(f"/api/uploads/9/{name}", content=b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["uploads"]
    assert {p.name for p in (tmp_path / "uploads").iterdir()} <= {"9"}
    answer = empty.post("/api/uploads/9")
    assert answer.status_code == 422
    assert "hint" in answer.json()["error"]
    assert empty.post("/api/uploads/10").status_code == 422


def test_the_size_of_uploads_is_limited(tmp_path):
    uploads = Uploads(tmp_path, max_bytes=5)
    assert uploads.reserve(5)
    assert not uploads.reserve(1)


def test_the_second_of_two_windows_that_correct_one_scan_is_refused(client, pair):
    etag = client.get("/api/cases/0/mask.nii").headers["ETag"]
    mask = nib.load(pair[1])
    drawn = mask.get_fdata().astype(np.uint8)
    drawn[18, 8:20, 1:5] = 1
    content = nib.Nifti1Image(drawn, mask.affine).to_bytes()
    path, headers = "/api/cases/0/corrected", {"If-Match": etag}
    first = client.put(path, content=content, headers=headers)
    assert first.status_code == 200
    second = client.put(
        path, content=nib.Nifti1Image(drawn * 0, mask.affine).to_bytes(), headers=headers
    )
    assert second.status_code == 409
    assert "in another window" in second.json()["error"]
    kept = nib.load(pair[1].with_name("lungs.corrected.nii.gz")).get_fdata()
    np.testing.assert_array_equal(kept, drawn)
    again = client.put(path, content=content, headers={"If-Match": first.json()["etag"]})
    assert again.status_code == 200


def test_results_of_a_manifest_and_of_scans_of_one_name_are_shown(sample, tmp_path):
    for name in ("a.tif", "a.nii.gz"):  # a hash distinguishes results of the same name
        source = (
            sample.images / "LCTSC-201_049.tif"
            if name == "a.tif"
            else sample.folder / "volume" / "ct.nii.gz"
        )
        (tmp_path / "scans").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / "scans" / name)
    table = tmp_path / "table.csv"
    table.write_text("path,name,units,flip\nscans/a.tif,first,hu,true\nscans/a.nii.gz,second,,\n")
    for inputs in (tmp_path / "scans", table):
        out = tmp_path / f"out-{inputs.name}"
        segment_cohort(inputs, out)
        cases = cases_from_results(out)
        assert len(cases) == 2
        for case in cases:
            mask = read_mask(case.mask_path, case.read_scan())
            assert mask.labels.any()
    first = next(case for case in cases if case.name == "first")
    columns = [
        np.argwhere(read_mask(first.mask_path, first.read_scan()).labels == side)[:, 2]
        for side in (1, 2)
    ]
    assert columns[0].mean() > columns[1].mean()  # flipped: the right lung is on the right


def test_results_of_a_newer_version_are_refused(sample, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    nib.save(image.slicer[:, :, 20:24], scans / "part.nii.gz")
    segment_cohort(scans, out)
    report = out / "part_lungs.json"
    served = json.loads(report.read_text())
    report.write_text(json.dumps({**served, "versions": {"pleura": "99.1"}}))
    with pytest.raises(DataError, match=r"results are of pleura 99\.1"):
        cases_from_results(out)


def test_the_progress_of_a_cohort_and_of_a_training_is_served(sample, small_run, tmp_path):
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    image = nib.load(sample.folder / "volume" / "ct.nii.gz")
    nib.save(image.slicer[:, :, 20:24], scans / "one.nii.gz")
    segment_cohort(scans, out)
    cases = cases_from_results(out)
    app = create_app(CaseList(cases, out, lambda: cases_from_results(out)), "secret", [HOST])
    with TestClient(app, base_url=f"http://{HOST}") as client:
        client.get("/?token=secret")
        served = client.get("/api/progress").json()
        assert served == {
            "unit": "scans",
            "completed": 1,
            "failed": 0,
            "total": 1,
            "finished": True,
        }
        nib.save(image.slicer[:, :, 24:28], scans / "another.nii.gz")
        segment_cohort(scans, out)
        assert client.get("/api/progress").json()["completed"] == 2
        assert [case["name"] for case in client.get("/api/cases").json()] == ["one", "another"]
    training = create_app(CaseList((), small_run.folder), "secret", [HOST])
    with TestClient(training, base_url=f"http://{HOST}") as client:
        client.get("/?token=secret")
        served = client.get("/api/progress").json()
        assert served["unit"] == "epochs"
        assert served["finished"]
        assert len(served["curves"]["loss"]) == served["completed"] == served["total"]


def test_a_port_in_use_is_reported(pair):
    import socket

    from click.testing import CliRunner

    from pleura.cli import cli
    from pleura.errors import PleuraError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        arguments = ["view", *map(str, pair), "--port", str(taken.getsockname()[1]), "--no-browser"]
        result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, PleuraError)
    assert "cannot listen at 127.0.0.1" in str(result.exception)


MALFORMED = ("9" * 300, "9" * 5000, "-1", "1e3", "\u0661", "0x1", "1.0", "%00", "+1")


@pytest.mark.parametrize("number", MALFORMED)
def test_malformed_numbers_are_not_found(client, empty, number):
    for method, path in (
        ("GET", f"/api/cases/{number}/scan.nii"),
        ("PUT", f"/api/cases/{number}/corrected"),
        ("PUT", f"/api/uploads/{number}/a.nii"),
        ("POST", f"/api/uploads/{number}"),
    ):
        browser = empty if "uploads" in path else client
        assert browser.request(method, path, content=b"").status_code == 404, path
    for header in (f"bytes={number}-", f"bytes=-{number}", f"bytes={number}-{number}"):
        answer = client.get("/api/cases/0/mask.nii", headers={"range": header.encode()})
        assert answer.status_code in (200, 206, 400, 416), header


def test_failed_requests_leave_no_temporary_files(client, tmp_path, monkeypatch):
    from pleura.files import temporary as scratch

    monkeypatch.setattr(scratch._PROCESS_FOLDER, "_process", 0)
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    for header in ("bytes=99999999-", "bytes=5-1", "bytes=a-b", "bytes=0-1,3-4", "bytes=0-3"):
        client.get("/api/cases/0/scan.nii", headers={"range": header})
        client.head("/api/cases/0/scan.nii", headers={"range": header})
    assert {path.name for path in tmp_path.glob("pleura-*/*")} == {"lock"}


def test_names_of_any_length_and_script_are_stored_once(empty, tmp_path):
    for name in ("a" * 300, "\u80ba" * 120, "." * 200 + "b"):
        assert empty.put(f"/api/uploads/3/{name}", content=b"x").status_code == 200
    assert empty.put("/api/uploads/4/a b.dcm", content=b"x").status_code == 200
    second = empty.put("/api/uploads/4/a_b.dcm", content=b"y")
    assert second.status_code == 409
    assert (tmp_path / "uploads" / "4" / "a_b.dcm").read_bytes() == b"x"


def test_an_upload_that_is_too_large_is_removed_and_releases_its_storage(tmp_path):
    app = create_app(CaseList(), "secret", [HOST], Uploads(tmp_path, max_bytes=5))
    with TestClient(app, base_url=f"http://{HOST}") as client:
        client.get("/?token=secret")
        assert client.put("/api/uploads/1/a", content=b"123456").status_code == 413
        assert client.put("/api/uploads/1/a", content=b"12345").status_code == 200


def test_the_mask_before_the_correction_is_served_beside_the_corrected_one(client, pair):
    mask = nib.load(pair[1])
    drawn = mask.get_fdata().astype(np.uint8)
    drawn[18, 8:20, 1] = 1
    assert client.get("/api/cases/0/changed-slices").json() == []
    record = client.put(
        "/api/cases/0/corrected", content=nib.Nifti1Image(drawn, mask.affine).to_bytes()
    ).json()
    for kind, expected in (("original", mask.get_fdata()), ("mask", drawn)):
        sent = nib.Nifti1Image.from_bytes(client.get(f"/api/cases/0/{kind}.nii").content)
        np.testing.assert_array_equal(sent.get_fdata(), expected)
    changed = client.get("/api/cases/0/changed-slices").json()
    assert changed == record["changed_slices"]
    assert len(changed) == 1
    assert client.get("/api/cases/1/changed-slices").status_code == 404


def test_the_page_learns_whether_the_spacing_is_known(client, sample):
    assert client.get("/api/cases/0/scan.nii").headers["spacing-known"] == "1"
    picture = next((sample.folder / "images").glob("*.tif"))
    app = create_app(CaseList([case_from_files(picture)]), "secret", [HOST])
    with TestClient(app, base_url=f"http://{HOST}") as other:
        other.get("/?token=secret")
        assert other.get("/api/cases/0/scan.nii").headers["spacing-known"] == "0"


def test_failed_scans_of_a_cohort_are_listed(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "damaged.nii.gz").write_bytes(b"\x1f\x8b no scan")
    (result,) = segment_cohort(scans, tmp_path / "out")
    app = create_app(find_cases(tmp_path / "out"), "secret", [HOST])
    with TestClient(app, base_url=f"http://{HOST}") as client:
        assert client.get("/api/failures").status_code == 403
        client.get("/?token=secret")
        expected = {"name": "damaged", "source": "damaged.nii.gz", "error": result.error}
        assert client.get("/api/failures").json() == [expected]
        assert client.get("/api/cases").json() == []


def test_the_page_measures_with_the_limits_of_the_library(client):
    limits = client.get("/api/limits").json()
    assert limits["aeration"] == {name: list(limit) for name, limit in AERATION.items()}
    assert limits["low_attenuation"] == -950
