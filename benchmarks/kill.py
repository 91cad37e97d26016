"""Kill cohorts, trainings, exports and corrections at random moments, and check the files.

    python benchmarks/kill.py --cohorts 50 --trainings 20 --exports 20 --corrections 20

Each trial runs its work in a separate process and kills it with SIGKILL: about half of the trials
at a random file operation in the output folder, the others at a random time. Afterwards no file may
be incomplete under its final name. The work is then started again, and must write the same files
as without interruption. Linux and macOS.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch; children are forked

import nibabel as nib
import numpy as np
import torch
from PIL import Image

from pleura.cohort.batch import segment_cohort
from pleura.cohort.options import DistributionOptions, OutputOptions
from pleura.corrections.cases import case_from_files
from pleura.corrections.saving import read_changed_slices, record_path, save_correction
from pleura.engine.model_file import read_metadata
from pleura.errors import RunError
from pleura.training.export import export
from pleura.training.options import TrainingOptions
from pleura.training.recipe_loading import load_recipe
from pleura.training.run import open_run
from pleura.training.tensor_files import load_tensors
from pleura.training.train import resume, train

SAMPLE = Path(__file__).parents[1] / "tests" / "data" / "sample"
MASKS = ("_lungs.nii.gz", "_lungs.tif")
PNG_END = b"IEND\xaeB`\x82"
Work = Callable[[], Any]


class WorkError(Exception):
    """The work failed without being killed."""


def run(work: Work, folder: Path, kill_at: int | None = None, after: float | None = None) -> int:
    """Do the work in a forked process; return the number of its file operations in the folder.

    The process is killed before operation ``kill_at``, or after ``after`` seconds; then return -1.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, folder, kill_at, writing)
    os.close(writing)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(reading) as pipe:
        counted = pipe.read()
    if status == -signal.SIGKILL:
        return -1
    if status:
        raise WorkError(f"exit code {status}")
    return int(counted)


def _work(work: Work, folder: Path, kill_at: int | None, writing: int) -> None:
    count = 0

    def count_operation(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count_operation)
        work()
        os.write(writing, str(count).encode())
        os._exit(0)
    except BaseException:  # the forked process ends here in any case
        traceback.print_exc()
        os._exit(1)


def killed(work: Work, folder: Path, rng: random.Random, operations: int, seconds: float) -> str:
    """Do the work and kill it; return the signal that killed it, or "finished" if it was faster."""
    if rng.random() < 0.5:
        run(work, folder, kill_at=rng.randint(1, operations))
        return "operation"
    return "time" if run(work, folder, after=rng.uniform(0, seconds)) < 0 else "finished"


def visible(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their paths, without temporary files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): p for p in files if not p.name.startswith(".")}


def temporary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.is_file()]


def voxels(mask: Path) -> Any:
    return np.asarray(Image.open(mask) if mask.suffix == ".tif" else nib.load(mask).dataobj)


def assert_same_mask(name: str, path: Path, other: Path) -> bool:
    """Return whether two masks are identical; fail if they differ by more than rounding.

    Float32 and bfloat16 differ in up to 0.2 % of the voxels of these masks.
    """
    if path.read_bytes() == other.read_bytes():
        return True
    one, two = (voxels(each) for each in (path, other))
    assert one.shape == two.shape, f"{name}: {one.shape} and {two.shape}"
    changed, lung = np.count_nonzero(one != two), np.count_nonzero(two)
    text = f"{name} differs in {changed} of {lung} voxels"
    assert changed <= 0.01 * lung, text
    print(text, flush=True)
    return False


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


class Cohort:
    """Segment six scans of three formats and one damaged file with two threads."""

    name = "cohort"

    def __init__(self, folder: Path) -> None:
        self.scans, self.folder = folder / "scans", folder / "cohort"
        self.scans.mkdir()
        for path in sorted((SAMPLE / "images").iterdir())[20:50:6]:
            shutil.copy(path, self.scans)
        shutil.copy(SAMPLE / "volume" / "ct.nii.gz", self.scans / "volume.nii.gz")
        (self.scans / "damaged.nrrd").write_bytes(b"NRRD0005\nno header")
        self.outputs = OutputOptions(preview=True, measure=True)
        self.two_jobs = DistributionOptions(2)

    def prepare(self, trial: int) -> None:
        """Do nothing: the folder does not exist before the first start."""

    def work(self) -> None:
        segment_cohort(
            self.scans, self.folder, outputs=self.outputs, distribution=DistributionOptions(2)
        )

    restart = work

    def check(self, reference: Path) -> None:
        """Check the files of a killed cohort, and record which scans are done."""
        wanted = visible(reference)
        self.done = {}
        for name, path in visible(self.folder).items():
            assert name in wanted, f"{name} is not a file of a cohort"
            if name.endswith("_lungs.json"):
                report = json.loads(path.read_text())
                mask = path.with_name(report["mask"])
                assert mask.exists(), f"{name} without its mask"
                self.done[mask] = mask.stat().st_mtime_ns
            elif name.endswith(".csv"):
                names = [(row["name"], row.get("region")) for row in rows(path)]
                assert len(names) == len(set(names)), f"{name} has a scan twice"
            elif name.endswith(".json"):
                json.loads(path.read_text())
            elif name.endswith(MASKS):
                assert_same_mask(name, path, wanted[name])
            elif name.endswith(".png"):
                assert path.read_bytes()[-8:] == PNG_END, f"{name} is truncated"
            elif not name.endswith(".parquet"):
                assert path.read_bytes() == wanted[name].read_bytes(), f"{name} differs"

    def compare(self, reference: Path) -> None:
        """Check that the restarted cohort has the files of the reference."""
        found, wanted = visible(self.folder), visible(reference)
        assert found.keys() == wanted.keys()
        for mask, time_ns in self.done.items():
            assert mask.stat().st_mtime_ns == time_ns, f"{mask.name} was written twice"
        masks = [name for name in found if name.endswith(MASKS)]
        same = {n: assert_same_mask(n, found[n], wanted[n]) for n in masks}
        rounded = {n.partition("_lungs")[0] for n in masks if not same[n]}
        for name, path in found.items():
            other = wanted[name]
            if name.partition("_lungs")[0] in rounded:
                continue
            if name.endswith("_lungs.json"):
                one, two = (json.loads(p.read_text()) for p in (path, other))
                assert without(one, "seconds") == without(two, "seconds"), name
            elif name.endswith(".csv"):
                one, two = (
                    [without(r, "seconds", "status") for r in rows(p) if r["name"] not in rounded]
                    for p in (path, other)
                )
                assert one == two, name
            elif not name.endswith(".parquet"):
                assert path.read_bytes() == other.read_bytes(), name
        assert not temporary(self.folder), temporary(self.folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Training:
    """Train a small network for three epochs, every second time from the weights of a run."""

    name = "training"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "training"
        self.start: Path | None = None
        values = (
            "preprocessing.size=[32, 32]",
            "network.channels=[4, 8, 16]",
            "training.epochs=3",
            "training.batch_size=8",
            "training.threads=1",
            "split.method=file",
            f"split.file={SAMPLE / 'split.csv'}",
        )
        self.recipe = load_recipe("quick", values)
        self.first = folder / "first"
        self.data = SAMPLE / "images", SAMPLE / "masks"
        run(lambda: train(*self.data, self.first, self.recipe), self.first)

    def prepare(self, trial: int) -> None:
        self.start = self.first if trial % 2 else None

    def work(self) -> None:
        recipe = self.recipe if self.start is None else replace_seed(self.recipe, 7)
        train(*self.data, self.folder, recipe, options=TrainingOptions(self.start))

    def restart(self) -> None:
        """Resume the run; train again if the run does not exist yet."""
        if not self.folder.exists():
            return self.work()
        try:
            resume(*self.data, self.folder)
        except RunError:
            recipe = self.recipe if self.start is None else replace_seed(self.recipe, 7)
            train(
                *self.data, self.folder, recipe, options=TrainingOptions(self.start, overwrite=True)
            )
        return None

    def check(self, reference: Path) -> None:
        for name, path in visible(self.folder).items():
            if path.suffix == ".pt":
                load_tensors(path)
            elif path.suffix == ".json":
                json.loads(path.read_text() or "{}")  # empty: the folder is reserved, without a run
            elif path.suffix == ".csv":
                assert rows(path) is not None
            elif name in ("pairs.png", "curves.png"):
                assert path.read_bytes()[-8:] == PNG_END, name

    def compare(self, reference: Path) -> None:
        one, two = open_run(self.folder), open_run(reference)
        assert one.finished
        assert without(dict(one.record)) == without(dict(two.record))
        tensors = [load_tensors(each.weights)["network"] for each in (one, two)]
        assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[1])
        histories = [[without(row, "seconds") for row in each.history()] for each in (one, two)]
        assert histories[0] == histories[1]
        names = [
            {name for name in visible(each) if not name.startswith("tensorboard")}
            for each in (self.folder, reference)
        ]
        assert names[0] == names[1]
        assert not temporary(self.folder), temporary(self.folder)


def replace_seed(recipe: Any, seed: int) -> Any:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": seed})})


class Export:
    """Export a run to a model file, in every second trial over an older one."""

    name = "export"

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder / "export", folder / "first"
        if not self.run.exists():
            Training(folder)

    def prepare(self, trial: int) -> None:
        self.older = b"an older model" if trial % 2 else None
        self.folder.mkdir()
        if self.older:
            (self.folder / "model.onnx").write_bytes(self.older)

    def work(self) -> None:
        export(self.run, self.folder / "model.onnx")

    restart = work

    def check(self, reference: Path) -> None:
        model = self.folder / "model.onnx"
        if not model.exists() or model.read_bytes() == self.older:
            assert model.exists() or self.older is None, "the older model is lost"
            return
        self.compare(reference, temporary_allowed=True)

    def compare(self, reference: Path, temporary_allowed: bool = False) -> None:
        one, two = (each / "model.onnx" for each in (self.folder, reference))
        assert read_metadata(one) == read_metadata(two)
        assert one.read_bytes() == two.read_bytes()
        assert temporary_allowed or not temporary(self.folder), temporary(self.folder)


class Correction:
    """Correct a mask of 20 slices a second time, on other slices than the first time."""

    name = "correction"

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder / "correction", folder / "corrected once"
        self.made.mkdir()
        for source, name in (("ct", "ct"), ("lungs", "ct_lungs")):
            image = nib.load(SAMPLE / "volume" / f"{source}.nii.gz")
            nib.save(image.slicer[:, :, 20:40], self.made / f"{name}.nii.gz")
        mask = nib.load(self.made / "ct_lungs.nii.gz")
        labels = np.asarray(mask.dataobj).astype(np.uint8)
        self.drawn, self.labels = [], []
        for slices in (slice(2, 4), slice(8, 12)):
            labels = labels.copy()
            labels[:, 64:, slices] = 0
            self.labels.append(labels)
            self.drawn.append(nib.Nifti1Image(labels, mask.affine).to_bytes())
        save_correction(self._case(self.made), self.drawn[0])
        self.before = hashlib.sha256((self.made / "ct_lungs.nii.gz").read_bytes()).digest()

    def _case(self, folder: Path) -> Any:
        return case_from_files(folder / "ct.nii.gz", folder / "ct_lungs.nii.gz")

    def prepare(self, trial: int) -> None:
        shutil.copytree(self.made, self.folder)

    def work(self) -> None:
        save_correction(self._case(self.folder), self.drawn[1])

    restart = work

    def check(self, reference: Path) -> None:
        """Check that one correction is complete and that no corrected slice is missing."""
        before = hashlib.sha256((self.folder / "ct_lungs.nii.gz").read_bytes()).digest()
        assert before == self.before, "the mask before the correction changed"
        case = self._case(self.folder)
        voxels = np.asarray(nib.load(case.corrected_path).dataobj)
        matches = [np.array_equal(voxels, labels) for labels in self.labels]
        json.loads(record_path(case.corrected_path).read_text())
        assert any(matches), "neither correction exists"
        listed = read_changed_slices(case.corrected_path)
        assert listed is None or matches[0] or len(listed) == 6, f"only {listed} are recorded"

    def compare(self, reference: Path) -> None:
        one, two = (
            json.loads(record_path(self._case(each).corrected_path).read_text())
            for each in (self.folder, reference)
        )
        assert without(one, "time") == without(two, "time")
        assert len(one["changed_slices"]) == 6
        names = [set(visible(each)) for each in (self.folder, reference)]
        assert names[0] == names[1]
        corrected = [
            self._case(each).corrected_path.read_bytes() for each in (self.folder, reference)
        ]
        assert corrected[0] == corrected[1]
        assert not temporary(self.folder), temporary(self.folder)


SCENARIOS = {"cohorts": Cohort, "trainings": Training, "exports": Export, "corrections": Correction}


def kill_often(scenario: Any, times: int, seed: int) -> Counter[str]:
    """Kill and restart a scenario's work; return the counts of kills by kind, and of failures."""
    rng, found = random.Random(f"{seed} {scenario.name}"), Counter[str]()
    references: dict[int, tuple[Path, int, float]] = {}
    for trial in range(times):
        if trial % 2 not in references:
            shutil.rmtree(scenario.folder, ignore_errors=True)
            scenario.prepare(trial)
            begin = time.monotonic()
            operations = run(scenario.work, scenario.folder)
            seconds = time.monotonic() - begin
            kept = scenario.folder.with_name(f"{scenario.name} reference {trial}")
            scenario.folder.rename(kept)
            references[trial % 2] = kept, operations, seconds
        reference, operations, seconds = references[trial % 2]
        outcome = "finished"
        while outcome == "finished":
            shutil.rmtree(scenario.folder, ignore_errors=True)
            scenario.prepare(trial)
            outcome = killed(scenario.work, scenario.folder, rng, operations, seconds)
        found[outcome] += 1
        try:
            scenario.check(reference)
            run(scenario.restart, scenario.folder)
            scenario.compare(reference)
        except (AssertionError, WorkError, OSError, ValueError, KeyError) as error:
            found["failed"] += 1
            print(f"{scenario.name} {trial}, killed by {outcome}: {type(error).__name__}: {error}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in SCENARIOS:
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    warnings.simplefilter("ignore")  # the slices of the sample are near duplicates
    failed = 0
    print("| killed | times | at a file operation | at a random time | failures |")
    print("|---|---|---|---|---|")
    for name, scenario in SCENARIOS.items():
        if not options[name]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = kill_often(scenario(Path(folder)), options[name], options["seed"])
        failed += found["failed"]
        counts = found["operation"], found["time"], found["failed"]
        print(f"| {name} | {options[name]} | " + " | ".join(map(str, counts)) + " |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
