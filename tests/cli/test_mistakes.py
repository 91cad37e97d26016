"""Typical mistakes of new users, each with the whole answer."""

import os
import shutil
import subprocess
import sys

import click
import numpy as np
import pytest
from click.types import FloatParamType, IntParamType
from commands import pleura
from dicom_files import write_series

from pleura.cli import cli
from pleura.cli.types import Number, WholeNumber

MR = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}
SUFFIXES = ".nii.gz, .nii, .seg.nrrd, .nrrd, .mha, .tif, .tiff, .png, .npy, .rtstruct.dcm, .dcm"
FORMATS = "DICOM, NIfTI, NRRD, MetaImage, TIFF, PNG, .npy"
RECIPES = "default, dense, exercise, exercise-plus, quick, unet2015"
OPTIONS = "run `pleura {} --help` to see arguments and options"
VALUES = "correct the value; docs/reference/recipes.md lists the values of each key"
RUN_OR_MODEL = (
    "pass a folder that `pleura train` wrote, a file that `pleura export` wrote, or `default` or "
    "`accurate`"
)
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
        (2, "invalid value for '--threshold': expected a number from 0 to 1, not '50'", None),
        OPTIONS.format("segment"),
    ),
    "threshold in letters": (
        "segment ct.nii.gz -o out.nii.gz --threshold abc",
        (2, "invalid value for '--threshold': expected a number from 0 to 1, not 'abc'", None),
        OPTIONS.format("segment"),
    ),
    "threshold that is not a number": (
        "predict run images -o out --threshold nan",
        (2, "invalid value for '--threshold': expected a number from 0 to 1, not 'nan'", None),
        OPTIONS.format("predict"),
    ),
    "no jobs": (
        "segment images -o out --jobs 0",
        (2, "invalid value for '--jobs': expected a whole number of at least 1, not '0'", None),
        OPTIONS.format("segment"),
    ),
    "port out of range": (
        "view --open --port 1e5",
        (
            2,
            "invalid value for '--port': expected a whole number from 0 to 65535, not '1e5'",
            None,
        ),
        OPTIONS.format("view"),
    ),
    "negative seed": (
        f"{TRAIN} --seed -1",
        (2, "invalid value for '--seed': expected a whole number of at least 0, not '-1'", None),
        OPTIONS.format("train"),
    ),
    "factor of zero": (
        "evaluate default images masks --scale-factor 0",
        (2, "invalid value for '--scale-factor': expected a number above 0, not '0'", None),
        OPTIONS.format("evaluate"),
    ),
    "window in letters": (
        "measure ct.nii.gz lungs.nii.gz --window lung 1500",
        (2, "invalid value for '--window': expected a number, not 'lung'", None),
        OPTIONS.format("measure"),
    ),
    "window without width": (
        "measure ct.nii.gz lungs.nii.gz --window -600 0",
        (1, "a window of level -600 and width 0 is invalid", None),
        "pass level and width in HU, with a width above 0, such as -600 1500",
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
    "text to view": (
        "view notes/notes.txt --no-browser",
        (1, "no CT found: not a DICOM file", "notes/notes.txt"),
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
    "scan in place of the mask": (
        "measure ct.nii.gz ct.nii.gz",
        (1, "values from -1000 to 1636 are not labels", "ct.nii.gz"),
        "pass a mask, not a CT; save it losslessly (PNG, TIFF, NIfTI), with 0 outside the lungs",
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
    "file in place of a run": (
        "predict ct.nii.gz images -o out",
        (1, "the path is a file, not a run folder", "ct.nii.gz"),
        "pass the folder that `pleura train ... -o FOLDER` wrote",
    ),
    "no run to evaluate": (
        "evaluate runs/first images masks --subset all",
        (1, "no such run folder or model file", "runs/first"),
        RUN_OR_MODEL,
    ),
    "typo in a run to evaluate": (
        "evaluate imagse images masks",
        (1, "no such run folder or model file; did you mean images?", "imagse"),
        RUN_OR_MODEL,
    ),
    "no run to start from": (
        f"{TRAIN} --from runs/first",
        (1, "no such run folder or model file", "runs/first"),
        RUN_OR_MODEL,
    ),
    "folder in place of a model": (
        "segment ct.nii.gz -o out.nii.gz --model images",
        (1, "the path is a folder, not a model file", "images"),
        "pass a file that `pleura export` wrote, or `default` or `accurate`",
    ),
    "file in place of a folder": (
        "check ct.nii.gz masks",
        (1, "the path is a file, not a folder", "ct.nii.gz"),
        "check the spelling and the permissions of the path",
    ),
    "typo in a folder": (
        "check image masks",
        (1, "no such folder; did you mean images?", "image"),
        "check the spelling and the permissions of the path",
    ),
    "file in place of results": (
        "report ct.nii.gz",
        (1, "the path is a file, not a results folder", "ct.nii.gz"),
        "pass the output folder of `pleura segment`",
    ),
    "no corrected results": (
        "train --corrected image -o run",
        (1, "no such results folder; did you mean images?", "image"),
        "pass the output folder of `pleura segment`",
    ),
    "no list of names": (
        f"{TRAIN} --exclude exclude.txt",
        (1, "no such file", "exclude.txt"),
        "pass a text file in UTF-8",
    ),
    "no table of cases": (
        "compare lungs.nii.gz lungs.nii.gz --cases cases.csv",
        (1, "no such file", "cases.csv"),
        "pass a CSV file in UTF-8",
    ),
    "file in place of the output folder": (
        "segment ct.nii.gz -o notes/notes.txt/lungs.nii.gz",
        (1, "the folder of the output is a file", "notes/notes.txt"),
        "choose another folder",
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

SLICES = "masks/LCTSC-101_013.tif and images/LCTSC-101_013.tif"
VOLUMES = "volumes/masks/a.nii.gz and volumes/images/a.nii.gz"
EXCHANGED = {
    "train masks images -o run": SLICES,
    "train volumes/masks volumes/images -o run": VOLUMES,
    "preview masks images -o pairs.png": SLICES,
    "preview volumes/masks volumes/images -o pairs.png": VOLUMES,
    "evaluate default masks images": SLICES,
    "evaluate default volumes/masks volumes/images": VOLUMES,
    "evaluate default volumes/masks volumes/images --units hu": VOLUMES,
    "measure lungs.nii.gz ct.nii.gz": "lungs.nii.gz and ct.nii.gz",
    "measure lungs.nii.gz ct.nii.gz --units hu": "lungs.nii.gz and ct.nii.gz",
}
MISTAKES |= {
    f"masks before images: {arguments}": (
        arguments,
        (1, "the image is a mask, and the mask is an image", where),
        "pass the CT first, then its mask",
    )
    for arguments, where in EXCHANGED.items()
}


@pytest.fixture(scope="module")
def workplace(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    for name in ("ct.nii.gz", "lungs.nii.gz"):
        shutil.copy(sample.folder / "volume" / name, folder)
    for kind in ("images", "masks"):
        shutil.copytree(sample.folder / kind, folder / kind)
    for kind, name in (("images", "ct.nii.gz"), ("masks", "lungs.nii.gz")):
        (folder / "volumes" / kind).mkdir(parents=True)
        for case in "abc":
            shutil.copy(folder / name, folder / "volumes" / kind / f"{case}.nii.gz")
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


@pytest.mark.parametrize("units", ["HU", "Auto"])
def test_choices_may_be_in_upper_case(workplace, monkeypatch, units):
    monkeypatch.chdir(workplace)
    printed = pleura("measure", "ct.nii.gz", "lungs.nii.gz", "--units", units).stdout
    assert printed == pleura("measure", "ct.nii.gz", "lungs.nii.gz").stdout


def test_every_choice_and_number_of_an_option_has_the_types_of_this_package():
    for name in cli.list_commands(click.Context(cli)):
        for option in cli.get_command(click.Context(cli), name).params:
            for kind in getattr(option.type, "types", [option.type]):
                is_plain = isinstance(kind, FloatParamType | IntParamType)
                assert not is_plain or isinstance(kind, Number | WholeNumber), option.name
            if isinstance(option.type, click.Choice):
                assert not option.type.case_sensitive, option.name


def test_reason_of_skipped_scans_is_printed(workplace, monkeypatch, tmp_path):
    monkeypatch.chdir(workplace)
    (tmp_path / "scans").mkdir()
    shutil.copy("ct.nii.gz", tmp_path / "scans")
    command = ("segment", tmp_path / "scans", "-o", tmp_path / "out")
    first, second = (pleura(*command).stdout.splitlines() for _ in range(2))
    assert len(first) == 1
    assert second[0] == (
        "skipped  results of the same scans and options exist; --overwrite replaces them"
    )
    assert second[1].startswith("0 done, 1 skipped, 0 failed; ")


@pytest.mark.parametrize(("folder", "pairs"), [(".", 60), ("volumes", 3)])
def test_check_reports_exchanged_folders(workplace, monkeypatch, folder, pairs):
    monkeypatch.chdir(workplace / folder)
    printed = pleura("check", "masks", "images", code=1).stdout
    assert printed.startswith(f"pairs    {pairs} (0 readable)\n")
    assert printed.count("hint:") == 1
    assert f"error     {pairs} files with the same kind of error; the first: the image" in printed
    assert "the image is a mask, and the mask is an image\n" in printed
    assert "hint: pass the CT first, then its mask\n" in printed


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
