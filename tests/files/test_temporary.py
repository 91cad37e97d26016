"""Temporary folders; tests/viewer/test_serving.py kills processes that have some."""

import os
import sys

import pytest

from pleura.files import temporary as scratch
from pleura.files.temporary import new_folder, temporary_folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch._PROCESS_FOLDER, "_process", 0)


def test_folders_of_a_process_share_a_root_that_only_the_user_reads(tmp_path):
    with temporary_folder() as first:
        second = new_folder()
        assert first.parent == second.parent
        assert first.parent.parent == tmp_path
        if sys.platform != "win32":
            assert first.parent.stat().st_mode & 0o077 == 0
    assert not first.exists()
    assert second.exists()


def test_only_folders_whose_lock_is_free_are_removed(tmp_path, monkeypatch):
    mine = new_folder().parent
    (tmp_path / "pleura-stale" / "deep").mkdir(parents=True)
    (tmp_path / "pleura-stale" / "lock").touch()
    (tmp_path / "pleura-without-lock").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lock").touch()
    (tmp_path / "pleura-link").symlink_to(tmp_path / "other")
    monkeypatch.setattr(
        scratch._PROCESS_FOLDER, "_process", 0
    )  # as another process: flock is of the file
    new_folder()
    names = {path.name for path in tmp_path.iterdir()}
    assert {mine.name, "pleura-without-lock", "other", "pleura-link"} < names
    assert "pleura-stale" not in names


def test_a_root_that_was_cleaned_away_is_made_anew():
    root = new_folder().parent
    scratch.shutil.rmtree(root)
    assert new_folder().is_dir()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_a_root_of_its_own(tmp_path):
    root = new_folder().parent
    child = os.fork()
    if child == 0:
        os._exit(0 if new_folder().parent != root else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert root.is_dir()
