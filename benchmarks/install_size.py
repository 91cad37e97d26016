"""What `pip install` puts on the disk: pleura, lungmask, TotalSegmentator, each in a fresh place.

    python benchmarks/install_size.py

PyTorch is the CPU-only build where the package index has it under that number; the usual
one from PyPI brings gigabytes of CUDA with it. Writes benchmarks/results/install_size.json.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
PACKAGES = {
    "pleura": [[str(HERE.parent)]],
    "pleura[train]": [[TORCH], [f"{HERE.parent}[train]"]],
    "lungmask": [[TORCH], ["lungmask==0.2.22"]],
    "TotalSegmentator": [[TORCH], ["TotalSegmentator"]],
}


def size_of(folder: Path) -> float:
    """Bytes of all files, in MB."""
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6


def main() -> None:
    found = {}
    print("| package | MB | of which PyTorch | packages | seconds to install |")
    print("|---|---|---|---|---|")
    for name, steps in PACKAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            pip = [Path(folder, "bin", "python"), "-m", "pip", "--quiet", "install"]
            before = size_of(Path(folder))
            begin = time.perf_counter()
            for step in steps:
                done = subprocess.run([*pip, *step], capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"| {name} | cannot be installed here: {done.stderr.splitlines()[-1]} |")
                    break
            else:
                seconds = time.perf_counter() - begin
                site = next(Path(folder, "lib").glob("python3*/site-packages"))
                torch = size_of(site / "torch") if (site / "torch").exists() else 0.0
                count = len(list(site.glob("*.dist-info"))) - 1
                total = size_of(Path(folder)) - before
                found[name] = {"mb": total, "torch_mb": torch, "packages": count}
                print(f"| {name} | {total:.0f} | {torch:.0f} | {count} | {seconds:.0f} |")
    target = HERE / "results" / "install_size.json"
    target.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
