"""`pleura segment` beside `lungmask` on the same scans: whole commands, from file to written mask.

    python benchmarks/segment.py                       # the shipped scan, enlarged to 512x512
    python benchmarks/segment.py --scan chest.nii.gz   # your own
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/segment.py --output avx2.json  # as on CPUs with AVX2

Both take two threads and as many slices; each run is a whole process of either, in turn, with each
of pleura's models. lungmask's weights are not distributed with it, so its network gets random ones,
with background favoured so that its own clean-up has least to do. Linux only (peak memory). Writes
benchmarks/results/segment.json, prints Markdown tables.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine, spread, start_up

HERE = Path(__file__).resolve().parent
VOLUME = HERE.parent / "tests" / "data" / "sample" / "volume" / "ct.nii.gz"
ENVIRONMENT = HERE.parent / ".cache" / "lungmask"
LUNGMASK = "lungmask==0.2.22"
MODELS = {"default": "", "accurate": ", --model accurate"}
"""And how their lines are marked."""
Run = dict[str, Any]

MAKE_SCANS = """
import sys, numpy as np, nibabel as nib
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from dicom_files import write_series
import pleura
source, folder, lengths = sys.argv[1], Path(sys.argv[2]), [int(n) for n in sys.argv[3].split()]
sides = [int(n) for n in sys.argv[5].split()]
image = nib.load(source)
values = np.asarray(image.dataobj).astype(np.int16)
repeat = max(1, 512 // values.shape[0])
values = values.repeat(repeat, 0).repeat(repeat, 1)
zooms = np.array([repeat, repeat, 1])
affine = image.affine.copy()
affine[:3, :3] = affine[:3, :3] / zooms
for n in lengths:
    tiled = np.concatenate([values] * -(-n // values.shape[2]), 2)[..., :n]
    nib.save(nib.Nifti1Image(tiled, affine), folder / f"{n}.nii.gz")
    if n == lengths[0]:
        scan = pleura.read(folder / f"{n}.nii.gz", units="hu")
        order = scan.geometry.to_canonical()
        grid = order.apply_to(scan.geometry)
        write_series(folder / "dicom", order.apply(scan.hu()), grid.affine)
for side in sides:
    pixels = np.arange(side) * values.shape[0] // side
    resized = values[pixels][:, pixels]
    tiled = np.concatenate([resized] * -(-100 // values.shape[2]), 2)[..., :100]
    zooms = np.array([side / values.shape[0]] * 2 + [1])
    grid = affine.copy()
    grid[:3, :3] = affine[:3, :3] / zooms
    nib.save(nib.Nifti1Image(tiled, grid), folder / f"side{side}.nii.gz")
"""

MAKE_WEIGHTS = """
import sys, torch
from lungmask.resunet import UNet
torch.manual_seed(0)
network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True)
with torch.no_grad():
    list(network.parameters())[-1][0] = 100  # the bias of background
torch.save(network.state_dict(), sys.argv[1])
"""

PEAK = """
import sys, time, numpy as np, openvino as ov, openvino.opset13 as ops
n, threads = 2048, int(sys.argv[1])
a = ops.parameter([n, n], np.float32)
node = a
rng = np.random.default_rng(0)
for _ in range(8):
    node = ops.matmul(node, ops.constant(rng.standard_normal((n, n), np.float32) / n), False, False)
options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
options["INFERENCE_PRECISION_HINT"] = "f32"
request = ov.Core().compile_model(ov.Model([node], [a]), "CPU", options).create_infer_request()
x = rng.standard_normal((n, n), np.float32)
best = 9e9
for _ in range(8):
    begin = time.perf_counter(); request.infer([x]); best = min(best, time.perf_counter() - begin)
big = np.zeros(1 << 28, np.uint8); copy = big.copy()
begin = time.perf_counter(); np.copyto(copy, big); seconds = time.perf_counter() - begin
print(8 * 2 * n**3 / best / 1e9, 2 * big.nbytes / seconds / 1e9)
"""


def lungmask_command(cached: Path) -> Path:
    ready = cached / ".ready"
    if not ready.exists():
        print(f"making {cached} for lungmask (about 1 GB)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", cached], check=True)
        pip = [cached / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "torch==2.13.0"], check=True)
        subprocess.run([*pip, LUNGMASK], check=True)
        ready.touch()
    weights = cached / "random.pth"
    if not weights.exists():
        subprocess.run([cached / "bin" / "python", "-c", MAKE_WEIGHTS, weights], check=True)
    return cached / "bin" / "lungmask"


def run(command: list[str | Path], threads: int) -> Run:
    """Return seconds and peak memory of a whole process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    begin = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    child.returncode = 0
    return {"seconds": seconds, "peak_mb": usage.ru_maxrss / 1024}


def pleura_run(scan: Path, folder: Path, threads: int, model: str = "default") -> Run:
    report = folder / "report.json"
    mask = folder / "mask.nii.gz"
    options = ["--overwrite", "--quiet", "--threads", str(threads), "--json", report]
    options += ["--model", model]
    command = [Path(sys.executable).with_name("pleura"), "segment", scan, "-o", mask, *options]
    done = run(command, threads)
    return {**done, "stages": json.loads(report.read_text())["seconds"]}


def lungmask_run(command: Path, scan: Path, folder: Path, threads: int) -> Run:
    weights = command.parents[1] / "random.pth"
    options = ["--cpu", "--noprogress", "--modelpath", weights]
    return run([command, scan, folder / "theirs.nii.gz", *options], threads)


def beside(ours: list[Run], theirs: list[Run], what: str) -> str:
    ratio = median(r["seconds"] for r in theirs) / median(r["seconds"] for r in ours)
    cells = []
    for runs in (ours, theirs):
        cells.append(spread([r["seconds"] for r in runs], ".2f"))
        cells.append(f"{max(r['peak_mb'] for r in runs):.0f}")
    return f"| {what} | {cells[0]} | {cells[2]} | {ratio:.1f} | {cells[1]} | {cells[3]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=Path, default=VOLUME)
    parser.add_argument("--slices", type=int, default=117, help="of one scan")
    parser.add_argument("--lengths", type=int, nargs="*", default=[1, 30, 150, 300, 600, 1200])
    parser.add_argument("--sides", type=int, nargs="*", default=[256, 512, 768, 1024, 1280])
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="other scans, unchanged")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without-lungmask", action="store_true")
    parser.add_argument("--long", action="store_true", help="also lungmask on 600 slices")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "segment.json")
    options = parser.parse_args()
    python, threads = Path(sys.executable), options.threads
    peer = None if options.without_lungmask else lungmask_command(ENVIRONMENT)
    bench: Run = {"machine": machine(), "start_up": start_up(), "ours": {}, "theirs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lengths = list(dict.fromkeys([options.slices, *options.lengths]))
        wanted = " ".join(map(str, lengths))
        helper = HERE.parent / "tests"
        sides = " ".join(map(str, options.sides))
        making = [python, "-c", MAKE_SCANS, options.scan, folder, wanted, helper, sides]
        subprocess.run(making, check=True)
        one = {"NIfTI": folder / f"{options.slices}.nii.gz", "DICOM": folder / "dicom"}
        for kind, scan in one.items():
            theirs = bench["theirs"].setdefault(kind, [])
            for _ in range(options.repetitions):
                for model, mark in MODELS.items():
                    ours = bench["ours"].setdefault(kind + mark, [])
                    ours.append(pleura_run(scan, folder, threads, model))
                if peer and len(theirs) < 2:
                    theirs.append(lungmask_run(peer, scan, folder, threads))
        for n in options.lengths:
            runs = [pleura_run(folder / f"{n}.nii.gz", folder, threads) for _ in range(2)]
            bench["ours"][str(n)] = runs
        bench["also"] = {}
        for scan in options.also:
            runs = [pleura_run(scan, folder, threads) for _ in range(options.repetitions)]
            bench["also"][scan.name.split(".")[0]] = runs
        bench["sides"] = {}
        for side in options.sides:
            scan = folder / f"side{side}.nii.gz"
            bench["sides"][side] = [pleura_run(scan, folder, threads) for _ in range(2)]
        if peer and options.long and 600 in options.lengths:
            bench["theirs"]["600"] = [lungmask_run(peer, folder / "600.nii.gz", folder, threads)]
    peak = subprocess.run(
        [python, "-c", PEAK, str(threads)], capture_output=True, text=True, check=True
    )
    bench["gflops"], bench["gb_per_s"] = map(float, peak.stdout.split())
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(bench, indent=1) + "\n")
    print(tables(bench, options.slices))


def tables(bench: Run, slices: int) -> str:
    lines = [
        "| from | pleura, s | lungmask --cpu, s | times faster | pleura, MB | lungmask, MB |",
        "|---|---|---|---|---|---|",
    ]
    names = {"NIfTI": f"NIfTI, {slices} slices", "DICOM": f"DICOM folder, {slices} slices"}
    names["600"] = "NIfTI, 600 slices"
    for mark in MODELS.values():
        for kind, what in names.items():
            ours, theirs = bench["ours"].get(kind + mark), bench["theirs"].get(kind)
            if ours and theirs:
                lines.append(beside(ours, theirs, what + mark))
    lines += [
        "",
        "| slices | seconds | read | network | clean | rest | peak MB |",
        "|" + "---|" * 7,
    ]
    sides = {f"100 slices of {side}x{side}": runs for side, runs in bench["sides"].items()}
    for key, runs in {**bench["ours"], **bench["also"], **sides}.items():
        best = min(runs, key=lambda r: r["seconds"])
        stages = [best["stages"].get(s, 0) for s in ("read", "inference", "postprocessing")]
        cells = [best["seconds"], *stages, best["seconds"] - sum(stages)]
        cells_text = " | ".join(f"{cell:.2f}" for cell in cells)
        lines.append(f"| {names.get(key, key)} | {cells_text} | {best['peak_mb']:.0f} |")
    lines += ["", "| start-up, s | median |", "|---|---|"]
    lines += [f"| {k} | {spread(v, '.3f')} |" for k, v in bench["start_up"].items()]
    lines += [
        "",
        f"This machine's peak: {bench['gflops']:.0f} GFLOP/s in a large matrix product of ",
    ]
    lines[-1] += f"OpenVINO, {bench['gb_per_s']:.1f} GB/s copied."
    return "\n".join(lines)


if __name__ == "__main__":
    main()
