"""The wheel and the sdist are complete; installing them needs neither Node.js nor PyTorch."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = Path("src/pleura/viewer/static")
MEGABYTE = 10**6

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a clone")


def tracked(*paths):
    """Return the files of the repository, also new ones, that are not ignored."""
    options = ["--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(
        ["git", "ls-files", *options, *paths], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture
def clone(tmp_path):
    """A copy of what is packaged, without .git and without the built page."""
    for path in tracked("src", "*.md", "*.toml", "*.py", "*.cff", "LICENSE", ".gitignore"):
        (tmp_path / "clone" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / "clone" / path)
    return tmp_path / "clone"


@pytest.fixture
def clone_with_page(clone):
    (clone / STATIC).mkdir()
    for name in ("index.html", "style.css", "viewer.js"):
        (clone / STATIC / name).write_text("built before")
    return clone


def hatchling(clone, *arguments, path=""):
    """Run the build backend of this environment; by default npm and git are not on PATH."""
    return subprocess.run(
        [sys.executable, "-m", "hatchling", *arguments],
        cwd=clone,
        env={**os.environ, "PATH": path, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_page_and_node_a_build_fails_with_a_hint(clone):
    for target in ("wheel", "sdist"):
        done = hatchling(clone, "build", "-t", target)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-2:] == [
            "error: Node.js is not installed, so the page of `pleura view` cannot be built",
            "  hint: install Node.js 18 or newer, or install without the page: pip install -e .",
        ]
    assert not list(clone.glob("dist/*"))


def test_an_editable_installation_does_not_need_the_page(clone):
    done = hatchling(clone, "build", "-t", "wheel:editable")
    assert done.returncode == 0, done.stderr
    assert "Node.js is not installed: `pleura view` has no page" in done.stdout + done.stderr


def test_the_wheel_contains_every_file_of_the_package_and_the_page(clone_with_page):
    assert hatchling(clone_with_page, "build", "-t", "wheel").returncode == 0
    (wheel,) = (clone_with_page / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    web = Path("src/pleura/viewer/web")
    expected = {path for path in tracked("src") if not path.is_relative_to(web)}
    expected |= {STATIC / name for name in ("index.html", "style.css", "viewer.js")}
    assert names == {path.relative_to("src").as_posix() for path in expected}


def test_the_sdist_contains_the_sources_and_the_page(clone_with_page):
    assert hatchling(clone_with_page, "build", "-t", "sdist").returncode == 0
    (sdist,) = (clone_with_page / "dist").iterdir()
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {path.as_posix() for path in tracked("src")} <= names
    assert {"hatch_build.py", "LICENSE", "PKG-INFO", (STATIC / "viewer.js").as_posix()} <= names
    assert sdist.stat().st_size < 10 * MEGABYTE - (ROOT / STATIC / "viewer.js").stat().st_size


def test_the_version_is_that_of_the_tag(clone):
    def version():
        done = hatchling(clone, "version", path=os.environ["PATH"])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def git(*arguments):
        name = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *name, *arguments], cwd=clone, check=True, capture_output=True)

    assert version() == "0.1.0.dev0"  # an archive without .git
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    assert version().startswith("0.1.0.dev1+g")  # a clone without tags
    git("tag", "v1.2.3")
    assert version() == "1.2.3"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js")
@pytest.mark.skipif(sys.platform == "win32", reason="paths of POSIX environments")
def test_wheel_and_sdist_install_without_node_and_torch_and_segment(clone, tmp_path):
    done = hatchling(clone, "build", path=os.environ["PATH"])
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = clone.glob("dist/*.whl"), clone.glob("dist/*.tar.gz")
    assert sdist.stat().st_size < 10 * MEGABYTE
    for distribution in (wheel, sdist):
        assert_installs_and_segments(distribution, tmp_path / distribution.suffix[1:])


def assert_installs_and_segments(distribution, folder):
    """Install into a new environment, with nothing else on PATH, and segment the sample."""
    python = folder / "bin" / "python"
    environment = {**os.environ, "PATH": str(folder / "bin")}
    environment.pop("PYTHONPATH", None)

    def run(*command):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    run(python, "-m", "pip", "install", "--quiet", f"{distribution}[view]")
    assert "torch" not in run(python, "-m", "pip", "list")
    run(folder / "bin" / "pleura", "sample", "sample")
    run(folder / "bin" / "pleura", "segment", "sample/ct.nii.gz", "-o", "lungs.nii.gz")
    code = """if True:
        from urllib.request import HTTPCookieProcessor, build_opener
        import pleura
        with pleura.view("sample/ct.nii.gz", "lungs.nii.gz", open_browser=False) as viewer:
            assert b"viewer.js" in build_opener(HTTPCookieProcessor).open(viewer.url).read()
        assert pleura.__version__ == "0.1.0.dev0"
        """
    run(python, "-c", code)
