"""The report of a cohort, served by the viewer, and links from it to scans."""

import shutil
import time

import pytest
from starlette.testclient import TestClient

from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import OutputOptions
from pleura.errors import DataError
from pleura.viewer.app import STATIC, create_app
from pleura.viewer.case_list import CaseList, find_cases
from pleura.viewer.view import ViewerOptions, view

HOST = "127.0.0.1:8000"
NAMES = ("LCTSC-201_058", "LCTSC-201_009")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def results(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for name in NAMES:
        (folder / "scans" / "a b").mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.images / f"{name}.tif", folder / "scans" / "a b")
    segment_cohort(folder / "scans", folder / "out", outputs=OutputOptions(preview=True))
    return folder / "out"


def client_of(cases):
    app = create_app(cases, "secret", [HOST])
    client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
    client.get("/?token=secret")
    return client


def test_the_report_of_a_folder_of_results_is_served_with_its_own_policy(results):
    answer = client_of(find_cases(results)).get("/report")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert '"viewer": "/"' in answer.text
    assert "_preview.png" not in answer.text  # the server does not serve files of the folder
    assert client_of(find_cases(results)).get("/").headers["content-security-policy"] != policy


def test_there_is_no_report_without_results(tmp_path):
    assert client_of(CaseList()).get("/report").status_code == 404
    assert client_of(CaseList((), tmp_path)).get("/report").status_code == 404


def test_the_address_of_a_scan_leads_to_it_and_cannot_leave_the_page():
    client = client_of(CaseList())
    first = client.get("/", params={"token": "secret", "scan": "a b/x"})
    assert first.headers["location"] == "/#scan=a%20b%2Fx"
    text = client.get("/", params={"token": "secret", "scan": '"><script>', "from": "file"}).text
    assert "<script>" not in text
    assert "url=/#scan=%22%3E%3Cscript%3E" in text


def test_an_unknown_scan_is_refused(results):
    with pytest.raises(DataError, match="no scan nobody"):
        view(results, options=ViewerOptions(selected="nobody"), open_browser=False)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.skipif(not (STATIC / "viewer.js").exists(), reason="the page is not built")
@pytest.mark.slow
def test_a_card_of_the_served_report_opens_the_scan(results):
    playwright = pytest.importorskip("playwright.sync_api")
    software = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    selected = f"a b/{NAMES[1]}"
    with (
        view(results, options=ViewerOptions(selected=selected), open_browser=False) as viewer,
        playwright.sync_playwright() as started,
    ):
        browser = started.chromium.launch(executable_path=CHROMIUM, args=software)
        page, faults = browser.new_page(), []
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.goto(viewer.url)
        assert shown_scan(page) == selected
        page.click("#report-link")
        card = page.locator("article", has_text=NAMES[0])
        card.get_by_text("Open in the viewer").click()
        assert shown_scan(page) == f"a b/{NAMES[0]}"
        assert faults == []
        browser.close()


def shown_scan(page):
    """Return the name of the selected scan, once it is loaded."""
    end = time.monotonic() + 30
    while page.evaluate("document.body.dataset.ready") is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return page.text_content("#cases button[aria-current=true] span")
