"""Typical mistakes of new users, each with the whole answer."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from commands import pleura
from dicom_files import write_series

MR = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}
SUFFIXES = ".nii.gz, .nii, .nrrd, .mha, .tif, .tiff, .png, .npy, .rtstruct.dcm, .dcm"
FORMATS = "DICOM, NIfTI, NRRD, MetaImage, TIFF, PNG, .npy"
RECIPES = "default, exercise, exercise-plus, quick, unet2015"
OPTIONS = "run `pleura {} --help` to see arguments and options"
VALUES = "correct the value; docs/reference/recipes.md lists the values of each key"
TRAIN = "train images masks -o run"

# Arguments, exit code, error, where, hint.
MISTAKES = {
    "typo in a command": (
        "segmnt ct.nii.gz",
        (2, "there is no command segmnt; did you mean segment?", None),
        "run `pleura --help` to see arguments and options",
    ),
    "no output": (
        "segment ct.nii.gz",
        (2, "--output or -o is missing", None),
        "write, for example: pleura segment chest.nii.gz -o lungs.nii.gz",
    ),
    "output without -o": (
        "segment ct.nii.gz lungs.nii.gz -o out",
        (2, "unexpected argument: lungs.nii.gz", None),
        "write, for example: pleura segment chest.nii.gz -o lungs.nii.gz",
    ),
    "no mask folder": (
        "check images",
        (2, "MASKS is missing", None),
        "write, for example: pleura check images/ masks/",
    ),
    "typo in an option": (
        "segment ct.nii.gz -o out.nii.gz --thresold 0.4",
        (2, "there is no option --thresold; did you mean --threshold?", None),
        OPTIONS.format("segment"),
    ),
    "threshold in percent": (
        "segment ct.nii.gz -o out.nii.gz --threshold 50",
        (2, "invalid value for '--threshold': 50.0 is not in the range 0<=x<=1", None),
        OPTIONS.format("segment"),
    ),
    "typo in a path": (
        "segment ct.nii -o out.nii.gz",
        (1, "no such file or folder", "ct.nii"),
        "check the spelling of the path",
    ),
    "existing output": (
        "segment ct.nii.gz -o lungs.nii.gz",
        (1, "the output file already exists", "lungs.nii.gz"),
        "choose another path, or add --overwrite",
    ),
    "folder without CT": (
        "segment notes -o out.nii.gz",
        (1, "no CT found: not a DICOM file", "notes"),
        f"pass a file or folder of CT ({FORMATS})",
    ),
    "empty folder": (
        "segment empty -o out.nii.gz",
        (1, "the folder contains no files", "empty"),
        "check the path",
    ),
    "MR": (
        "segment mr -o out.nii.gz",
        (1, "no CT found: not a CT image but MR Image Storage (MR)", "mr"),
        f"pass a file or folder of CT ({FORMATS})",
    ),
    "MR listed": (
        "info mr",
        (1, "no CT found: not a CT image but MR Image Storage (MR)", "mr"),
        f"pass a file or folder of CT ({FORMATS})",
    ),
    "wrong suffix": (
        "segment ct.nii.gz -o lungs.jpg",
        (
            2,
            f".jpg is not the suffix of a mask: choose one of {SUFFIXES}; or a folder, without a "
            "suffix",
            None,
        ),
        OPTIONS.format("segment"),
    ),
    "images as one scan": (
        "segment images -o out.nii.gz",
        (1, "the folder or zip contains 60 images, not one scan", "images"),
        "pass one of them, or add --stack if they are one volume",
    ),
    "mask in place of the scan": (
        "measure lungs.nii.gz ct.nii.gz",
        (
            1,
            "cannot determine the intensity units (Unknown: the values are constant over large "
            "areas, as in a mask or label map)",
            "lungs.nii.gz",
        ),
        "pass the CT first, then its mask",
    ),
    "scan in place of the mask": (
        "measure ct.nii.gz ct.nii.gz",
        (1, "values from -1000 to 1636 are not labels", "ct.nii.gz"),
        "pass a mask, not a CT; save it losslessly (PNG, TIFF, NIfTI), with 0 outside the lungs",
    ),
    "masks before images": (
        "train masks images -o run",
        (
            1,
            "the image is a mask, and the mask is an image",
            "masks/LCTSC-101_013.tif and images/LCTSC-101_013.tif",
        ),
        "pass the images first, then the masks: IMAGES MASKS",
    ),
    "images as masks": (
        "train images images -o run",
        (
            1,
            "images and masks are the same folder",
            "images",
        ),
        "move the masks to a separate folder",
    ),
    "typo in a model": (
        "segment ct.nii.gz -o out.nii.gz --model accurat",
        (1, "no such model file; did you mean accurate?", "accurat"),
        "pass a file that `pleura export` wrote, or `default` or `accurate`",
    ),
    "typo in a recipe": (
        f"{TRAIN} --recipe exercize",
        (1, "there is no recipe 'exercize'; did you mean 'exercise'?", None),
        f"choose one of {RECIPES}, or pass the path of a .yaml file",
    ),
    "no such recipe file": (
        f"{TRAIN} --recipe mine.yaml",
        (1, "no such recipe file", "mine.yaml"),
        "check the spelling of the path; `pleura recipe` lists the recipes of the package",
    ),
    "key without its section": (
        f"{TRAIN} --set epochs=3",
        (1, "unknown key 'epochs'; did you mean 'training.epochs'?", "recipe exercise"),
        "correct the key; docs/reference/recipes.md lists them all",
    ),
    "number in letters": (
        f"{TRAIN} --set training.epochs=ten",
        (1, "training.epochs must be a whole number, not 'ten'", "recipe exercise"),
        VALUES,
    ),
    "too few epochs": (
        f"{TRAIN} --set training.epochs=0",
        (1, "training.epochs must be at least 1, not 0", "recipe exercise"),
        VALUES,
    ),
    "number in place of a list": (
        f"{TRAIN} --set preprocessing.size=128",
        (1, "preprocessing.size must be a list, such as [1, 2], not 128", "recipe exercise"),
        VALUES,
    ),
    "word in place of a section": (
        f"{TRAIN} --set network=unet",
        (
            1,
            "network must be a mapping of keys, such as {key: value}, not 'unet'",
            "recipe exercise",
        ),
        VALUES,
    ),
    "no such choice": (
        f"{TRAIN} --set training.precision=fp8",
        (1, "training.precision must be 'auto', 'fp32' or 'bf16', not 'fp8'", "recipe exercise"),
        VALUES,
    ),
    "no run": (
        "predict runs/first images -o out",
        (1, "no such run folder", "runs/first"),
        "pass the folder that `pleura train ... -o FOLDER` wrote",
    ),
    "no results": (
        "report images",
        (1, "the folder contains no summary of `pleura segment`", "images"),
        "pass the output folder of `pleura segment`",
    ),
    "nothing to view": (
        "view",
        (2, "pass a scan, a folder of results, or --open", None),
        OPTIONS.format("view"),
    ),
}


@pytest.fixture(scope="module")
def workplace(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    for name in ("ct.nii.gz", "lungs.nii.gz"):
        shutil.copy(sample.folder / "volume" / name, folder)
    for kind in ("images", "masks"):
        shutil.copytree(sample.folder / kind, folder / kind)
    (folder / "empty").mkdir()
    (folder / "notes").mkdir()
    (folder / "notes" / "notes.txt").write_text("a reminder to export the CT")
    noise = np.random.default_rng(1).integers(0, 100, (3, 16, 16)).astype(np.int16)
    write_series(folder / "mr", noise, np.eye(4), **MR)
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_answered(name, workplace, monkeypatch):
    arguments, (code, message, where), hint = MISTAKES[name]
    monkeypatch.chdir(workplace)
    before = sorted(workplace.rglob("*"))
    lines = [f"error: {message}", f"  where: {where}", f"  hint: {hint}"]
    expected = [line for line in lines if where is not None or "where:" not in line]
    printed = pleura(*arguments.split(), code=code).stderr.replace("\\", "/")
    assert printed.splitlines() == expected
    assert sorted(workplace.rglob("*")) == before


def test_quiet_segmentation_prints_nothing(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    done = pleura("segment", "ct.nii.gz", "-o", "quiet.nii.gz", "-q")
    assert done.stdout == ""
    assert done.stderr == ""


def test_a_new_output_folder_is_reported(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    done = pleura("segment", "ct.nii.gz", "-o", "new/lungs.nii.gz")
    assert done.stderr == "creating the folder new\n"
    assert "new/lungs.nii.gz (read" in done.stdout


def test_shell_completion_knows_commands_and_options():
    words = {"COMP_WORDS": "pleura segment --mod", "COMP_CWORD": "2"}
    environment = {**os.environ, **words, "_PLEURA_COMPLETE": "bash_complete"}
    command = [sys.executable, "-m", "pleura"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "plain,--model\n"
