import shutil
import subprocess
import sys

import pytest
import torch

from pleura.dataset.sources import split_pairs
from pleura.errors import RunError
from pleura.training.data import load_data
from pleura.training.recipe_loading import load_recipe, override_recipe
from pleura.training.run import create_run, open_run
from pleura.training.run_files import clear_run
from pleura.training.tensor_files import load_tensors, save_tensors


@pytest.fixture
def run(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    return open_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["missing", "."])
def test_folder_without_a_run_is_refused(tmp_path, name):
    with pytest.raises(RunError, match=r"no such run folder|is not a run folder"):
        open_run(tmp_path / name)


def test_run_from_a_newer_version_is_refused(run):
    run.update(format=2)
    with pytest.raises(RunError, match=r"(?s)format 2.*install --upgrade pleura"):
        open_run(run.folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": "x"}', '{"format": 1}', "\x00"])
def test_damaged_record_is_refused(run, text):
    (run.folder / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        open_run(run.folder)


def test_truncated_weights_are_refused(run):
    content = run.weights.read_bytes()
    run.weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="truncated"):
        load_tensors(run.weights)


def test_weights_that_carry_code_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"network": Evil()}, tmp_path / "weights.pt")
    with pytest.raises(RunError):
        load_tensors(tmp_path / "weights.pt")


def test_record_names_no_user_and_no_host(run):
    import getpass
    import socket

    content = [path.read_bytes() for path in run.folder.rglob("*") if path.is_file()]
    names = "\n".join(str(path.relative_to(run.folder)) for path in run.folder.rglob("*"))
    assert socket.gethostname() not in names
    for secret in (f"/{getpass.getuser()}/", str(run.folder.parent)):
        assert not any(secret.encode() in text for text in content)


def test_run_that_was_cut_off_says_how_to_finish_it(run):
    run.weights.unlink()
    with pytest.raises(RunError, match="--resume"):
        load_tensors(run.weights)


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_full_disk_while_saving_keeps_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_tensors(path, {"epoch": 1})
    code = (
        "import resource, signal, torch; from pathlib import Path\n"
        "from pleura.training.tensor_files import save_tensors\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"save_tensors(Path({str(path)!r}), {{'w': torch.zeros(1_000_000)}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "RunError: the checkpoint cannot be saved" in done.stderr
    assert load_tensors(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_overwrite_takes_what_a_killed_run_left(run, tmp_path):
    for name in ("recipe.yaml", "run.json", "history.csv", "pairs.png", "model.onnx", "weights.pt"):
        (run.folder / f".{name}.0123abcd").write_bytes(b"half of it")
    (run.folder / ".DS_Store").write_bytes(b"")
    clear_run(run.folder)
    assert not list(run.folder.iterdir())


@pytest.mark.parametrize("name", [".thesis.txt.0123abcd", ".run.json.bak", "thesis.txt"])
def test_overwrite_leaves_what_others_left(run, name):
    (run.folder / name).write_text("precious")
    with pytest.raises(RunError, match="other files"):
        clear_run(run.folder)
    assert run.weights.exists()


def test_own_recipe_of_a_run_trains_it_again(sample, run, tmp_path, monkeypatch):
    """From anywhere, whatever the split came from: its own split file is beside it."""
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("run/recipe.yaml")
    data = load_data(sample.images, sample.masks, recipe)
    assert data.split == run.split(data.prepared.names)


@pytest.mark.parametrize(
    "overrides",
    [
        ("split.method=sorted",),
        ("split.method=grouped", r"split.patient_pattern=_(\d\d)"),
        ("split.method=grouped", "split.patient_file={patients}"),
        ("split.method=shuffled", "split.exclude=[LCTSC-101_013.tif]", "split.file={split}"),
    ],
)
def test_recipe_that_a_run_writes_splits_alike(sample, tiny, tmp_path, monkeypatch, overrides):
    files = {"patients": sample.folder / "patients.csv", "split": sample.split}
    overrides = [text.format(**files) for text in overrides]
    recipe = override_recipe(tiny, ["split={}", *overrides])
    names = [path.name for path in sample.images.iterdir()]
    split = split_pairs(sample.images, sample.masks, (), recipe.split)
    run = create_run(tmp_path / "run", recipe, split, "0" * 64)
    assert str(sample.folder) not in (run.folder / "recipe.yaml").read_text()
    monkeypatch.chdir("/")
    again = load_recipe(run.folder / "recipe.yaml")
    assert (
        split_pairs(sample.images, sample.masks, (), again.split).subset_by_name()
        == split.subset_by_name()
    )
    assert run.split(names) == split


def test_run_shows_its_curves_or_its_last_epoch(small_run, monkeypatch):
    assert 'src="data:image/png;base64,' in small_run._repr_html_()
    for name in ("pleura.figures.curves", "pleura.figures.backend"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    table = small_run._repr_html_()
    assert "validation_loss" in table
    assert "data:image" not in table
