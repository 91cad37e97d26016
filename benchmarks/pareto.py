"""Accuracy against milliseconds: networks trained alike, in the same time on the same data.

    python benchmarks/pareto.py DATA RUNS --steps 910 [--only NAME ...]

Recipe `default` without one patient of LCTSC and without masks of a model, with another network
each time, and as many epochs as fit into the time in which that of pleura-2 makes so many steps.
Evaluated on that patient, on the validation slices of kmader and on covid; `--only` without a name
times those of RUNS again. Prints a Markdown table, writes benchmarks/results/pareto.json, and draws
docs/pictures/pareto.png from all that the file holds.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from accuracy import LINES, run
from leave_one_out import recipe_without
from precision import milliseconds
from torch.utils.flop_counter import FlopCounterMode

from pleura.dataset.sources import split_pairs
from pleura.engine.engine import Engine
from pleura.network.build import build_network
from pleura.segmentation.segmenter import Segmenter
from pleura.training.compute import ComputeDevice, reuse_freed_memory, torch_threads
from pleura.training.export import export
from pleura.training.options import TrainingOptions
from pleura.training.train import train

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "pareto.json"
PATIENT = "202"
PLEURA_2 = "the same, one outer convolution"
DRAWING = 0.1  # seconds a step, beside the network: what drawing a batch takes from it

PLAIN = "network.separable=false"
NETWORKS = {
    "six levels, 16 channels": [PLAIN, "network.full_resolution_convs=2"],
    "the same, one outer convolution": [PLAIN],
    "six levels, 8 channels": [PLAIN, "network.channels=[8,16,32,64,128,256]"],
    "five levels, 16 channels": [PLAIN, "network.channels=[16,32,64,128,256]"],
    "six levels, 16 channels, grid of 192": [PLAIN, "preprocessing.size=[192,192]"],
    "the same, one outer convolution, depthwise": [],
    "the exercise's": [
        "network.architecture=exercise",
        "network.channels=[64,128,256]",
        "preprocessing.size=[128,128]",
    ],
    "lungmask's": [PLAIN, "network.channels=[64,128,256,512,1024]"],
}


def seconds_a_step(name: str) -> float:
    """Forward and backward on noise, the best of three, and the drawing of a batch."""
    recipe = recipe_without(PATIENT, NETWORKS[name])
    compute = ComputeDevice(recipe.training)
    network = compute.place(build_network(recipe.network)).train()
    batch = torch.rand(recipe.training.batch_size, 1, *recipe.preprocessing.size)
    batch = batch.contiguous(memory_format=torch.channels_last)
    seconds = []
    with reuse_freed_memory(), torch_threads(recipe.training.threads):
        for _ in range(4):
            begin = time.perf_counter()
            with compute.mixed_precision():
                logits = network(batch)
            logits.float().mean().backward()
            seconds.append(time.perf_counter() - begin)
    return min(seconds) + DRAWING


def model_of(name: str, runs: Path) -> Path:
    return runs / f"{name.translate(str.maketrans(' ', '-', chr(39) + ','))}.onnx"


def train_and_evaluate(name: str, share: float, options: argparse.Namespace) -> dict[str, Any]:
    recipe = recipe_without(PATIENT, NETWORKS[name])
    images = len(split_pairs(options.data, None, recipe.data.sources, recipe.split).train)
    steps = images // recipe.training.batch_size
    epochs = max(1, round(options.steps * share / steps))
    recipe = recipe_without(PATIENT, [*NETWORKS[name], f"training.epochs={epochs}"])
    model = model_of(name, options.runs)
    folder = model.with_suffix("")
    begin = time.perf_counter()
    train(options.data, None, folder, recipe, options=TrainingOptions(overwrite=True))
    trained = time.perf_counter() - begin
    export(folder, model)
    network = build_network(recipe.network).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 1, *recipe.preprocessing.size))
    found = {
        "minutes": trained / 60,
        "steps": steps * epochs,
        "weights": sum(p.numel() for p in network.parameters()),
        "gflop": counter.get_total_flops() / 1e9,
    }
    with Segmenter(model) as segmenter:
        for kind in ("kmader-validation", "lctsc", "covid"):
            cases = run(kind, options.data, segmenter, [PATIENT])
            for line in LINES[kind.partition("-")[0]]:
                found[f"{kind}: {line.name}"] = line.value(cases)
    return found


def table(results: dict[str, Any]) -> None:
    columns = {
        "steps": "steps",
        "gflop": "GFLOP a slice",
        "ms": "ms a slice",
        "kmader-validation: Dice, native, right references": "kmader Dice",
        "lctsc: Dice of each lung": "LCTSC Dice",
        "lctsc: HD95 of each lung, mm": "HD95, mm",
        "covid: Dice": "covid Dice",
    }
    print(f"| network | {' | '.join(columns.values())} |\n|{'---|' * (len(columns) + 1)}")
    for name, found in results.items():
        cells = [f"{found[k]:.4f}" if "Dice" in k else f"{found[k]:.4g}" for k in columns]
        print(f"| {name} | {' | '.join(cells)} |")


def draw(results: dict[str, Any], target: Path) -> None:
    from matplotlib.figure import Figure

    sets = {
        "kmader, validation": "kmader-validation: Dice, native, right references",
        "LCTSC, the patient left out": "lctsc: Dice of each lung",
        "covid": "covid: Dice",
    }
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    for axes, (title, key) in zip(figure.subplots(1, 3), sets.items(), strict=True):
        for i, (name, found) in enumerate(results.items()):
            axes.plot(found["ms"], found[key], "o^vDPX*s"[i], color=f"C{i}", label=name, ms=8)
        axes.set(xscale="log", title=title, xlabel="ms per slice", ylabel="Dice")
        axes.grid(alpha=0.3, which="both")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=910)
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), metavar="NAME")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    seconds = {}  # of all before the first training: what else runs meanwhile changes no result
    for name in dict.fromkeys([PLEURA_2, *options.only]) if options.only else ():
        seconds[name] = seconds_a_step(name)
    for name in options.only:
        results[name] = train_and_evaluate(name, seconds[PLEURA_2] / seconds[name], options)
        results = {n: results[n] for n in NETWORKS if n in results}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    for name, found in results.items():  # one after the other, and nothing between
        if model_of(name, options.runs).exists():
            engine = Engine(model_of(name, options.runs), 2, "auto")
            found["ms"] = milliseconds(engine)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    table(results)
    draw(results, HERE.parent / "docs" / "pictures" / "pareto.png")


if __name__ == "__main__":
    main()
