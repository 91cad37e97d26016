"""Reads damaged files in a process of its own: one number a line in, one result a line out.

    python tests/fuzz/fuzz_worker.py SEEDS_FOLDER WORK_FOLDER GIGABYTES

The number is the seed of the damage, so a failure can be made again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from mutate import mutate  # noqa: E402

MORE = "more-"
"""How the names of seeds begin that are not made here; they are larger."""

OWN = 0.9
COMPANIONS = (".img", ".raw", ".zraw")


def seeds_below(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if path.suffix not in COMPANIONS]


def damaged(number: int, seeds: list[Path], folder: Path) -> Path:
    """Write damaged file ``number``, beside what belongs to it."""
    random = Random(number)
    own = [seed for seed in seeds if not seed.name.startswith(MORE)]
    seed = random.choice(own if random.random() < OWN else seeds)
    other = random.choice(seeds)
    content = mutate(seed.read_bytes(), seed.suffix.lower(), random, other.read_bytes())
    kind = seed.parent.name if seed.parent.name in READERS else "scan"
    target = folder / kind
    target.mkdir(parents=True, exist_ok=True)
    for suffix in COMPANIONS:
        if seed.with_suffix(suffix).is_file():
            shutil.copy(seed.with_suffix(suffix), target)
    (target / seed.name).write_bytes(content)
    return target / seed.name


def read_scan(path: Path) -> None:
    """Read a file in every way in which a user can."""
    from pleura.errors import PleuraError
    from pleura.formats.describe import describe_scans
    from pleura.formats.image_files import IMAGE_SUFFIXES, read_image_file
    from pleura.formats.read import read
    from pleura.masks.labels import read_mask

    describe_scans(path)
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        with contextlib.suppress(PleuraError):  # a stack of pages is not a single slice
            read_image_file(path)
        with contextlib.suppress(PleuraError):
            read(path.parent, stack=True, units="hu").hu()
    scan = read(path, units="hu")
    scan.hu()
    with contextlib.suppress(PleuraError):  # a CT has too many values for a mask
        read_mask(path, scan)


def read_labels(path: Path) -> None:
    from pleura.masks.labels import read_mask

    read_mask(path)


def read_structures(path: Path) -> None:
    import numpy as np

    from pleura.masks.labels import read_stored_mask
    from pleura.scan.geometry import Geometry, affine_from_axes

    affine = affine_from_axes((0, 0, 0), ((0, 0, 2.5), (0, 0.7, 0), (0.7, 0, 0)))
    labels = read_stored_mask(path, Geometry((3, 40, 36), affine)).labels
    assert labels.dtype == np.uint8


def read_model(path: Path) -> None:
    import numpy as np

    from pleura.engine.engine import Engine

    Engine(path, 1).probability(np.zeros((2, 9, 8), np.int16))


def read_recipe(path: Path) -> None:
    from pleura.training.recipe_loading import load_recipe

    load_recipe(path)


def read_split(path: Path) -> None:
    from pleura.dataset import subsets

    subsets.read_split(path, ["a.tif", "b.tif", "c.tif", "d.tif"])


def read_cases(path: Path) -> None:
    from pleura.evaluation.cases import read_case_table as read

    read(path, "group")


def read_manifest(path: Path) -> None:
    from pleura.cohort.find import find_tasks

    find_tasks(path, str(path.parent / "out"))


def read_summary(path: Path) -> None:
    from pleura.cohort.tables import read_summary as read

    read(path)


def read_history(path: Path) -> None:
    from pleura.training.recipe_loading import load_recipe
    from pleura.training.run import Run

    Run(path.parent, load_recipe("quick"), {}).history()


def read_run(path: Path) -> None:
    from pleura.training.recipe_loading import load_recipe
    from pleura.training.run import open_run

    (path.parent / "recipe.yaml").write_text(load_recipe("quick").to_yaml())
    open_run(path.parent)


READERS = {
    "scan": read_scan,
    "mask": read_labels,
    "structures": read_structures,
    "model": read_model,
    "recipe": read_recipe,
    "split": read_split,
    "cases": read_cases,
    "manifest": read_manifest,
    "summary": read_summary,
    "record": read_run,
    "history": read_history,
}


def outcome(path: Path) -> dict[str, str]:
    from pleura.errors import PleuraError

    start = time.monotonic()
    try:
        READERS[path.parent.name](path)
    except PleuraError as error:
        result = {"kind": "PleuraError", "text": error.message}
    except BaseException as error:  # noqa: BLE001
        where = traceback.extract_tb(error.__traceback__)
        ours = [f for f in where if "/pleura/" in f.filename]
        last = (ours or where)[-1]
        result = {
            "kind": "foreign",
            "text": f"{type(error).__name__}: {str(error)[:200]} at {last.filename}:{last.lineno}",
            "trace": traceback.format_exc()[-3000:],
        }
    else:
        result = {"kind": "ok", "text": ""}
    return {**result, "seconds": f"{time.monotonic() - start:.2f}"}


def limit_memory(gigabytes: float) -> None:
    """Limit the address space to ``gigabytes`` more than are used now.

    The libraries of a CUDA build of PyTorch alone use over 4 GB of addresses.
    """
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(gigabytes * (1 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    sys.modules["imagecodecs"] = None  # not among pleura's requirements
    seeds = seeds_below(Path(sys.argv[1]))
    folder = Path(sys.argv[2])
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # decoders print
    for path in seeds_below(Path(sys.argv[1])):  # imports take their time on a busy machine
        if path.parent.name in READERS and not path.name.startswith(MORE):
            outcome(path)
    if sys.platform == "linux":
        limit_memory(float(sys.argv[3]))
    results.write("ready\n")
    results.flush()
    for line in sys.stdin:
        shutil.rmtree(folder, ignore_errors=True)
        path = damaged(int(line), seeds, folder)
        results.write(json.dumps({**outcome(path), "file": path.name}) + "\n")
        results.flush()


if __name__ == "__main__":
    main()
