"""Kill batches, trainings, exports and corrections at random moments, and check what is left.

    python benchmarks/kill.py --batches 50 --trainings 20 --exports 20 --corrections 20

Each trial does its work in a process of its own and kills it (SIGKILL): about half of them at a
file operation in the output folder, drawn from all that the work makes there, the others at a
random time. Then no file may be half-written under its final name; the work is started again and
must end with the files that it writes without interruption. Linux and macOS.
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

from pleura.cohort.batch import segment_all
from pleura.cohort.work import Settings
from pleura.corrections.cases import case_from_files
from pleura.corrections.saving import read_changed_slices, record_path, save_correction
from pleura.engine.model_file import read_metadata
from pleura.errors import RunError
from pleura.training.export import export
from pleura.training.loop import resume, train
from pleura.training.recipe import load_recipe
from pleura.training.run import load_tensors, open_run

SAMPLE = Path(__file__).parents[1] / "tests" / "data" / "sample"
Work = Callable[[], Any]


class WorkError(Exception):
    """The work failed although nobody killed it."""


def run(work: Work, folder: Path, kill_at: int | None = None, after: float | None = None) -> int:
    """Do the work in a forked process; return how many file operations it made in the folder.

    The process is killed before operation ``kill_at``, or ``after`` seconds. Returns -1 if it was.
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

    def look(event: str, arguments: tuple[Any, ...]) -> None:
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
        sys.addaudithook(look)
        work()
        os.write(writing, str(count).encode())
        os._exit(0)
    except BaseException:  # the process ends here, whatever it was
        traceback.print_exc()
        os._exit(1)


def killed(work: Work, folder: Path, rng: random.Random, operations: int, seconds: float) -> str:
    """Do the work and kill it; return how, or "finished" if the time to kill came too late."""
    if rng.random() < 0.5:
        run(work, folder, kill_at=rng.randint(1, operations))
        return "operation"
    return "time" if run(work, folder, after=rng.uniform(0, seconds)) < 0 else "finished"


def visible(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their paths, without temporary ones."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): p for p in files if not p.name.startswith(".")}


def temporary(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.is_file()]


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


class Batch:
    """Six scans of three formats and one damaged file, by two threads."""

    name = "batch"

    def __init__(self, folder: Path) -> None:
        self.scans, self.folder = folder / "scans", folder / "batch"
        self.scans.mkdir()
        for path in sorted((SAMPLE / "images").iterdir())[20:50:6]:
            shutil.copy(path, self.scans)
        shutil.copy(SAMPLE / "volume" / "ct.nii.gz", self.scans / "volume.nii.gz")
        (self.scans / "damaged.nrrd").write_bytes(b"NRRD0005\nno header")
        self.settings = Settings(preview=True, measure=True)

    def prepare(self, trial: int) -> None:
        """Nothing is there before the first start."""

    def work(self) -> None:
        segment_all(self.scans, self.folder, self.settings, jobs=2)

    restart = work

    def check(self, reference: Path) -> None:
        """Check what a killed batch left, and note what is done."""
        wanted = visible(reference)
        self.done = {}
        for name, path in visible(self.folder).items():
            assert name in wanted, f"{name} is not a file of a batch"
            if name.endswith("_lungs.json"):
                report = json.loads(path.read_text())
                mask = path.with_name(report["mask"])
                assert mask.exists(), f"{name} without its mask"
                self.done[mask] = mask.stat().st_mtime_ns
            elif name.endswith(".csv"):
                names = [(row["name"], row.get("lung")) for row in rows(path)]
                assert len(names) == len(set(names)), f"{name} has a scan twice"
            elif name.endswith(".json"):
                json.loads(path.read_text())
            elif not name.endswith(".parquet"):
                assert path.read_bytes() == wanted[name].read_bytes(), f"{name} differs"

    def compare(self, reference: Path) -> None:
        """Check that the restarted batch has the files of the reference."""
        found, wanted = visible(self.folder), visible(reference)
        assert found.keys() == wanted.keys()
        for mask, time_ns in self.done.items():
            assert mask.stat().st_mtime_ns == time_ns, f"{mask.name} was done twice"
        for name, path in found.items():
            other = wanted[name]
            if name.endswith("_lungs.json"):
                one, two = (json.loads(p.read_text()) for p in (path, other))
                assert without(one, "seconds") == without(two, "seconds"), name
            elif name.endswith(".csv"):
                one, two = (
                    [without(row, "seconds", "status") for row in rows(p)] for p in (path, other)
                )
                assert one == two, name
            elif not name.endswith(".parquet"):
                assert path.read_bytes() == other.read_bytes(), name
        assert not temporary(self.folder), temporary(self.folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Training:
    """Three epochs of a small network; every second training starts from the weights of a run."""

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
        train(*self.data, self.folder, recipe, start=self.start)

    def restart(self) -> None:
        """Resume; where a run was not yet there, train again."""
        if not self.folder.exists():
            return self.work()
        try:
            resume(*self.data, self.folder)
        except RunError:
            recipe = self.recipe if self.start is None else replace_seed(self.recipe, 7)
            train(*self.data, self.folder, recipe, start=self.start, overwrite=True)
        return None

    def check(self, reference: Path) -> None:
        for name, path in visible(self.folder).items():
            if path.suffix == ".pt":
                load_tensors(path)
            elif path.suffix == ".json":
                json.loads(path.read_text() or "{}")  # empty: the folder is taken, no run yet
            elif path.suffix == ".csv":
                assert rows(path) is not None
            elif name in ("pairs.png", "curves.png"):
                assert path.read_bytes()[-8:] == b"IEND\xaeB`\x82", name

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
    """A run to a model file; in every second trial over an older one."""

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
    """A second correction of a mask of 20 slices, on other slices than the first."""

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
        """Check that a whole correction is there, and that no corrected slice is forgotten."""
        before = hashlib.sha256((self.folder / "ct_lungs.nii.gz").read_bytes()).digest()
        assert before == self.before, "the mask before the correction changed"
        case = self._case(self.folder)
        voxels = np.asarray(nib.load(case.corrected_path).dataobj)
        matches = [np.array_equal(voxels, labels) for labels in self.labels]
        json.loads(record_path(case.corrected_path).read_text())
        assert any(matches), "neither correction is there"
        listed = read_changed_slices(case.corrected_path)
        assert listed is None or matches[0] or len(listed) == 6, f"only {listed} are recorded"

    def compare(self, reference: Path) -> None:
        one, two = (
            json.loads(record_path(self._case(each).corrected_path).read_text())
            for each in (self.folder, reference)
        )
        assert without(one, "when") == without(two, "when")
        assert len(one["slices"]) == 6
        names = [set(visible(each)) for each in (self.folder, reference)]
        assert names[0] == names[1]
        corrected = [
            self._case(each).corrected_path.read_bytes() for each in (self.folder, reference)
        ]
        assert corrected[0] == corrected[1]
        assert not temporary(self.folder), temporary(self.folder)


SCENARIOS = {"batches": Batch, "trainings": Training, "exports": Export, "corrections": Correction}


def kill_often(scenario: Any, times: int, seed: int) -> Counter[str]:
    """Kill a scenario's work so often and restart it; return how it was killed, and failures."""
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
        how = "finished"
        while how == "finished":
            shutil.rmtree(scenario.folder, ignore_errors=True)
            scenario.prepare(trial)
            how = killed(scenario.work, scenario.folder, rng, operations, seconds)
        found[how] += 1
        try:
            scenario.check(reference)
            run(scenario.restart, scenario.folder)
            scenario.compare(reference)
        except (AssertionError, WorkError, OSError, ValueError, KeyError) as error:
            found["failed"] += 1
            print(f"{scenario.name} {trial}, killed by {how}: {type(error).__name__}: {error}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in SCENARIOS:
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    warnings.simplefilter("ignore")  # of the sample, whose slices are nearly equal
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
