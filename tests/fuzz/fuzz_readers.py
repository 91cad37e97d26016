"""Fuzz every reader: damaged files in worker processes with 2.5 GB of memory and 20 s per file.

    python tests/fuzz/fuzz_readers.py --minutes 5 [--folder MORE_SEEDS] [--keep FOLDER]

Exit code 1 where a file crashed the process, took too long, or raised anything but PleuraError.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
WORKER = HERE / "fuzz_worker.py"
SECONDS = 20.0
START_SECONDS = 180.0
"""For a new process, until it has imported everything."""
GIGABYTES = 2.5
"""Address space of a worker process beyond that of the imported libraries."""
LARGEST_SEED = 1 << 20
BAD = ("foreign", "crash", "timeout")


class Worker:
    """A worker process, which is replaced when it dies or takes too long."""

    def __init__(self, seeds: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = (folder.parent / f"{folder.name}.err").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), str(seeds), str(folder / "now"), str(GIGABYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._results: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._results.get(timeout=START_SECONDS)

    def _listen(self) -> None:
        for line in self._process.stdout:
            self._results.put(line)
        self._results.put("")

    def run(self, number: int) -> dict[str, str]:
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
            line = self._results.get(timeout=SECONDS)
        except queue.Empty:
            return {"kind": "timeout", "text": f"over {SECONDS:.0f} s"}
        except OSError:
            line = ""
        if line:
            return json.loads(line)
        self._errors.seek(0)
        said = self._errors.read()[-300:].decode("utf-8", "replace")
        return {"kind": "crash", "text": f"exit code {self._process.wait()}: {said}"}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()


def fuzz(
    seeds: Path, work: Path, numbers, *, until: float = float("inf"), keep: Path | None = None
) -> tuple[collections.Counter[str], list[dict[str, str]]]:
    """Read the damaged files of these numbers; return how many went how, and what went wrong."""
    counts: collections.Counter[str] = collections.Counter()
    failures: list[dict[str, str]] = []
    worker = Worker(seeds, work / "worker")
    for number in numbers:
        if time.monotonic() > until:
            break
        result = worker.run(number)
        counts[result["kind"]] += 1
        counts["seconds"] = max(counts["seconds"], float(result.get("seconds", 0)))
        if result["kind"] in BAD:
            failures.append({**result, "number": str(number)})
            print(f"{number}: {result['kind']}: {result['text']}", flush=True)
            if keep is not None:
                target = keep / f"{result['kind']}-{number}"
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(work / "worker" / "now", target)
                (target / "result.json").write_text(json.dumps(result, indent=1))
            if result["kind"] != "foreign":
                worker.close()
                worker = Worker(seeds, work / "worker")
        if sum(counts[kind] for kind in ("ok", "PleuraError", *BAD)) % 1000 == 0:
            print(summary(counts), flush=True)
    worker.close()
    return counts, failures


def summary(counts: collections.Counter[str]) -> str:
    n = sum(counts[kind] for kind in ("ok", "PleuraError", *BAD))
    listed = ", ".join(f"{kind} {counts[kind]}" for kind in ("ok", "PleuraError", *BAD))
    return f"{n} files: {listed}; longest {counts['seconds']:.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first damaged file")
    parser.add_argument("--folder", type=Path, help="folder of further whole files to damage")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from fuzz_seeds import write_seeds

    with tempfile.TemporaryDirectory(prefix="pleura-fuzz-") as work:
        seeds = Path(work) / "seeds"
        write_seeds(seeds)
        if options.folder is not None:
            more = (f for f in options.folder.rglob("*") if f.is_file() and f.suffix != ".md")
            for i, file in enumerate(sorted(f for f in more if f.stat().st_size < LARGEST_SEED)):
                shutil.copy(file, seeds / "scan" / f"more-{i:04d}-{file.name}")
        until = time.monotonic() + 60 * options.minutes
        numbers = itertools.count(options.first)
        counts, failures = fuzz(seeds, Path(work), numbers, until=until, keep=options.keep)
    print(summary(counts))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
