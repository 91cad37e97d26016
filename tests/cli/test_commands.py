import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import pleura, refused
from PIL import Image

from pleura.formats.image_files import read_image_file, write_image_file

PLEURA = [sys.executable, "-m", "pleura"]
SHORT = [
    *("--set", "preprocessing.size=[32, 32]"),
    *("--set", "network.channels=[4, 8, 16]"),
    *("--set", "training.epochs=2"),
]


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy, in which evaluations may be written."""
    return shutil.copytree(tiny_run.folder, tmp_path_factory.mktemp("cli") / "run")


@pytest.fixture
def pair(sample, tmp_path):
    """Folders of images and masks that hold ten pairs, to be spoilt."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for path in sorted((sample.folder / kind).iterdir())[5:15]:
            shutil.copy(path, tmp_path / kind)
    return tmp_path / "images", tmp_path / "masks"


def test_help_is_there_at_once_and_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['pleura', '--help']\n"
        "from pleura.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("check", "preview", "train", "evaluate", "predict", "recipe"):
        assert name in done.stdout
    assert "not a medical device" in " ".join(done.stdout.split())


@pytest.mark.parametrize("name", ["check", "preview", "train", "evaluate", "predict"])
def test_every_command_has_help_with_examples(name):
    text = pleura(name, "--help").stdout
    assert "Examples:" in text
    assert f"pleura {name}" in text


def test_whole_way_from_check_to_predict(sample, run, tmp_path):
    checked = pleura("check", sample.images, sample.masks, "--json", tmp_path / "check.json", "-q")
    assert "\nunits    HU" in checked.stdout
    assert "\nmodel    the exported model will segment scans in HU\n" in checked.stdout
    assert json.loads((tmp_path / "check.json").read_text())["pairs"] == 60
    pleura("preview", sample.images, sample.masks, "-o", tmp_path / "pairs.png")
    assert read_image_file(tmp_path / "pairs.png").ndim == 3
    judged = pleura("evaluate", run, sample.images, sample.masks, "-q", "--json", "-")
    assert json.loads(judged.stdout)["n_cases"] == 20
    out = tmp_path / "out"
    listed = tmp_path / "predictions.json"
    pleura("predict", run, sample.images, "-o", out, "--overlay", "-q", "--json", listed)
    assert len(list(out.glob("*_overlay.png"))) == 60
    assert len(json.loads(listed.read_text())["images"]) == 60


def test_same_from_python(sample, tmp_path):
    import pleura

    recipe = pleura.load_recipe("exercise", [v for v in SHORT if v != "--set"])
    run = pleura.train(sample.images, sample.masks, tmp_path / "run", recipe)
    assert pleura.evaluate(run, sample.images, sample.masks).cases
    assert pleura.predict(tmp_path / "run", sample.images, tmp_path / "out")
    assert pleura.iou(np.ones((2, 2)), np.ones((2, 2))) == 1


def test_training_prints_its_epochs_and_what_to_do_next(sample, tmp_path):
    command = [*PLEURA, "train", sample.images, sample.masks, "-o", tmp_path / "run", *SHORT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "epoch   2/2" in done.stderr
    assert f"next     pleura evaluate {tmp_path / 'run'}" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_saves_and_resume_goes_on(sample, tmp_path):
    import signal

    command = [*PLEURA, "train", sample.images, sample.masks, "-o", tmp_path / "run", *SHORT]
    command += ["--set", "training.epochs=200"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    history = tmp_path / "run" / "history.csv"  # of its first epoch: the training is under way
    deadline = time.monotonic() + 60
    while not history.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert not record["finished"]


def test_json_on_standard_output_is_json_alone(sample, run, tmp_path):
    data = [sample.images, sample.masks]
    commands = [
        ["check", *data, "-q"],
        ["preview", *data, "-o", tmp_path / "pairs.png"],
        ["train", *data, "-o", tmp_path / "run", *SHORT, "-q"],
        ["evaluate", run, *data, "--subset", "validation", "-q"],
        ["predict", run, sorted(sample.images.iterdir())[9], "-o", tmp_path / "out", "-q"],
    ]
    for command in commands:
        json.loads(pleura(*command, "--json", "-").stdout)


def test_options_of_predict_reach_it(sample, run, tmp_path):
    image = sample.images / "LCTSC-201_058.tif"
    options = ["--threshold", "0.001", "--masked", "--crop", "-q"]
    pleura("predict", run, image, "-o", tmp_path, *options, "--json", tmp_path / "p.json")
    (result,) = json.loads((tmp_path / "p.json").read_text())["images"]
    assert result["crop_box"] == [0, 0, 256, 256]
    assert (tmp_path / "LCTSC-201_058_masked.tif").exists()
    refused("predict", run, image, "-o", tmp_path, says="exists already")
    pleura("predict", run, image, "-o", tmp_path, "--overwrite", "-q")


def test_seed_and_number_reach_their_commands(sample, tmp_path):
    data = [sample.images, sample.masks]
    pleura("train", *data, "-o", tmp_path / "run", *SHORT, "--seed", 7, "-q")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seed"] == 7
    heights = []
    for number in (1, 2):
        pleura("preview", *data, "-o", tmp_path / "p.png", "-n", number)
        heights.append(read_image_file(tmp_path / "p.png").shape[0])
    assert heights[1] > 1.5 * heights[0]


def test_resume_takes_no_other_recipe(sample, run):
    arguments = ["train", sample.images, sample.masks, "-o", run, "--resume"]
    assert "own recipe" in pleura(*arguments, "--seed", 3, code=2).stderr


def test_mask_with_nan(pair, tmp_path):
    name = spoil(pair[1], lambda mask: np.where(mask, np.nan, 0).astype(np.float32))
    train_refused(pair, tmp_path, name, "contains NaN")


def test_run_is_exported_and_segments_without_overwriting(sample, small_run, tmp_path):
    image, mask = sample.images / "LCTSC-201_058.tif", tmp_path / "lungs.png"
    runs = [small_run.folder] * 2
    pleura("export", *runs, "-o", tmp_path / "m.onnx", "--name", "small")
    arguments = ["segment", image, "--model", tmp_path / "m.onnx", "-o", mask]
    done = pleura(*arguments, "--json", tmp_path / "r.json")
    assert "right" in done.stdout
    assert set(np.unique(read_image_file(mask))) == {0, 1, 2}
    assert json.loads((tmp_path / "r.json").read_text())["volume_ml"] is None
    refused(*arguments, says="the output file already exists")
    pleura(*arguments, "--overwrite", "--single-label")
    assert set(np.unique(read_image_file(mask))) == {0, 1}


def test_info_tells_what_there_is_and_what_cannot_be_read(sample, tmp_path):
    folder = shutil.copytree(sample.images, tmp_path / "cohort")
    for path in sorted(folder.iterdir())[2:]:
        path.unlink()
    output = pleura("info", folder, "-q").stdout
    assert "LCTSC-101_013  TIFF; 1 slice of 256x256; HU" in output
    assert "2 of 2 scans can be read" in output
    (folder / "bad.nii.gz").write_bytes(b"no volume")
    output = pleura("info", folder, "-q", "--json", tmp_path / "info.json", code=1).stdout
    assert "2 of 3 scans can be read" in output
    rows = json.loads((tmp_path / "info.json").read_text())["scans"]
    assert [row["error"] is None for row in rows] == [True, True, False]


def test_recipe_can_be_printed_changed_and_used(tmp_path):
    text = pleura("recipe", "exercise", "--set", "training.epochs=3").stdout
    assert yaml.safe_load(text)["training"]["epochs"] == 3
    assert "unet2015" in pleura("recipe").stdout


def train_refused(pair, tmp_path, *words):
    refused("train", *pair, "-o", tmp_path / "run", *SHORT, says=words)
    assert not (tmp_path / "run").exists()


def test_missing_folder(tmp_path):
    train_refused((tmp_path / "images", tmp_path), tmp_path, "no such folder", "images")


def test_empty_folder(tmp_path):
    (tmp_path / "images").mkdir()
    train_refused((tmp_path / "images", tmp_path / "images"), tmp_path, "no images")


def test_no_pairs(pair, tmp_path):
    for path in pair[1].iterdir():
        path.rename(path.with_name(f"mask_{path.name}"))
    train_refused(pair, tmp_path, "no image has a mask with the same name")


@pytest.mark.parametrize("side", [0, 1])
def test_unpaired_name(pair, tmp_path, side):
    gone = sorted(pair[side].iterdir())[3]
    gone.unlink()
    train_refused(pair, tmp_path, gone.name, "without " + ("image", "mask")[side])


def spoil(folder, change):
    path = sorted(folder.iterdir())[4]
    write_image_file(path, change(read_image_file(path)))
    return path.name


def test_image_and_mask_of_different_size(pair, tmp_path):
    name = spoil(pair[1], lambda mask: mask[:100])
    train_refused(pair, tmp_path, name, "256x256 and 100x256")


def test_constant_mask(pair, tmp_path):
    name = spoil(pair[1], lambda mask: np.full_like(mask, 255))
    train_refused(pair, tmp_path, name, "constant: every value is 255")


def test_mask_with_grey_levels(pair, tmp_path):
    def grey(mask):
        mask[0, :3] = (17, 99, 200)
        return mask

    train_refused(pair, tmp_path, spoil(pair[1], grey), "5 grey levels")


def test_truncated_image(pair, tmp_path):
    path = sorted(pair[0].iterdir())[4]
    path.write_bytes(path.read_bytes()[:3000])
    train_refused(pair, tmp_path, path.name, "truncated")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_or_infinity(pair, tmp_path, value):
    def broken(image):
        image = image.astype(np.float32)
        image[5, 5] = value
        return image

    train_refused(pair, tmp_path, spoil(pair[0], broken), "NaN, infinity")


def test_constant_image(pair, tmp_path):
    name = spoil(pair[0], np.zeros_like)
    train_refused(pair, tmp_path, name, "constant: every value is 0")


def test_rgb_picture(pair, tmp_path):
    path = sorted(pair[0].iterdir())[4]
    path.unlink()
    Image.new("RGB", (256, 256), "red").save(path.with_suffix(".png"))
    train_refused(pair, tmp_path, path.stem, "3 colour channels")


def test_unknown_recipe_key(sample, tmp_path):
    arguments = ["train", sample.images, sample.masks, "-o", tmp_path / "run"]
    refused(*arguments, "--set", "training.epoch=3", says="did you mean 'training.epochs'")


def test_split_that_leaves_a_subset_empty(pair, tmp_path):
    for folder in pair:
        for path in sorted(folder.iterdir())[3:]:
            path.unlink()
    train_refused(pair, tmp_path, "subset of the split is empty")


def test_existing_run(sample, run):
    arguments = ("train", sample.images, sample.masks, "-o", run)
    refused(*arguments, says=("--overwrite", "--resume"))


def test_run_from_a_newer_version(sample, run, tmp_path):
    newer = shutil.copytree(run, tmp_path / "newer")
    record = json.loads((newer / "run.json").read_text())
    (newer / "run.json").write_text(json.dumps({**record, "format": 99}))
    refused("predict", newer, sample.images, "-o", tmp_path / "out", says="format 99")


def test_folder_that_is_no_run(sample, tmp_path):
    refused("evaluate", tmp_path, sample.images, sample.masks, says="is not a run folder")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written(sample, run):
    done = pleura("predict", run, sample.images, "-o", "/dev/full/out", "-q", code=1)
    assert "cannot be written" in done.stderr
    assert "hint:" in done.stderr


def test_info_survives_a_file_that_raises_anything(sample, tmp_path, monkeypatch):
    import json
    import shutil

    from click.testing import CliRunner

    import pleura as pleura_package
    from pleura.cli import cli
    from pleura.formats import find

    for name in ("a.nii.gz", "b.nii.gz"):
        shutil.copy(sample.folder / "volume" / "ct.nii.gz", tmp_path / name)
    whole = find.read

    def damaged(path, **options):
        if path.name == "a.nii.gz":
            raise ValueError("attempt to get argmax of an empty sequence\nand more")
        return whole(path, **options)

    monkeypatch.setattr(find, "read", damaged)
    done = CliRunner().invoke(cli, ["info", str(tmp_path), "--json", "-"], standalone_mode=False)
    assert done.return_value == 1
    damaged_scan, _ = pleura_package.describe_scans(tmp_path)
    assert repr(damaged_scan).startswith("ScanDescription(a; error: unexpected ValueError")
    first, second = json.loads(done.stdout)["scans"]
    assert first["error"] == "unexpected ValueError: attempt to get argmax of an empty sequence"
    assert second["error"] is None
