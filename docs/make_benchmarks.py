"""Write docs/benchmarks.md and its plots from benchmarks/results; `make reference` runs this."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

from pleura.figures import palette

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PICTURES = DOCS / "pictures"
WRONG_REFERENCE = "ID_0254_Z_0075.tif"

PAGE = """\
<!-- Written by docs/make_benchmarks.py from benchmarks/results: change it there. -->

# Benchmarks

All tables and plots of this page are made from the files in `benchmarks/results`, which the
commands below wrote. The CPU is stated above each table of times. [Experiments](experiments.md)
explains how each design was chosen.

## Segmentation time

Whole commands, from the file to the written mask, compared with lungmask 0.2.22, on two cores of an
{cpu} ({gflops} GFLOP/s in a large matrix product, {bandwidth} GB/s copied), with all its
instructions (AVX-512) and with those of most laptops (AVX2). lungmask ran with its faster option
(`--cpu`) and with random weights of its network, which do the same work. Median of {repetitions}
processes of pleura (two for 600 slices), in turn with two of lungmask (one for 600 slices); memory:
highest peak.

| CPU | slices of 512×512 | `default` (s) | `accurate` (s) | lungmask (s) | faster | memory (MB) |
|---|---|---|---|---|---|---|
{segmentation}

![Time to segment 117 slices with pleura and lungmask]({pictures}/benchmark-time.svg)

    python benchmarks/segment.py --long --also whole-body.nii.gz
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/segment.py --also whole-body.nii.gz \\
        --output benchmarks/results/segment-avx2.json

By number and size of slices:

| scan | AVX-512 (s) | AVX2 (s) | of which network: AVX-512, AVX2 (s) | memory (MB) |
|---|---|---|---|---|
{lengths}

The whole body is made of real slices of several patients, 1 mm thick by repetition; 253 of its 900
slices contain lung. `python benchmarks/whole_body.py DATA whole-body.nii.gz` writes it.

![Time and peak memory by number and size of slices]({pictures}/benchmark-scaling.svg)

The lines at the bottom are limits of the hardware: the arithmetic of the network (0.44 GFLOP per
slice) at the GFLOP/s above, and one copy of the voxels at the GB/s above.

## Installed size

| package | size (MB) | of which PyTorch (MB) | packages |
|---|---|---|---|
{sizes}

    python benchmarks/install_size.py

## Accuracy of the shipped models

| data | cases | measure | `default` | `accurate` |
|---|---|---|---|---|
{accuracy}

![Dice of each case of three data sets]({pictures}/benchmark-accuracy.svg)

    python benchmarks/accuracy.py default DATA --sets card --runs RUNS
    python benchmarks/accuracy.py accurate DATA --sets kmader-test perturbed-test covid

The [model card](explanation/model.md#accuracy) has confidence intervals, surface distances, and the
test of each left-out patient.

## Precision of the arithmetic

The file of these results does not contain the CPU.

| precision | time per slice (ms) | Dice, *finding-lungs* | Dice, LCTSC | Dice, COVID-19 |
|---|---|---|---|---|
{precision}

    python benchmarks/precision.py DATA runs/default

## Training time

The recipe `exercise` and the same training in Keras on two cores, in turn: median of three
processes of three epochs each with bfloat16, one process of two epochs each with float32. With
AVX2, there was other work on the machine; compare the CPU time.

| CPU | pleura | steps per second: pleura, Keras | ratio | validation pass (s) | CPU time (s) \
| peak memory (MiB) |
|---|---|---|---|---|---|---|
{training}

Keras trains in float32. `training.precision: auto` selects bfloat16 on CPUs that are fast in it,
which are CPUs with AMX, and AMD with AVX512-BF16.

    python benchmarks/bench.py --images IMAGES --masks MASKS --epochs 3
    python benchmarks/bench.py --images IMAGES --masks MASKS --epochs 2 --repetitions 1 \\
        --set training.precision=fp32 --output benchmarks/results/bench-fp32.json
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/bench.py --images IMAGES \\
        --masks MASKS --epochs 2 --repetitions 1 --set training.precision=fp32 \\
        --output benchmarks/results/bench-fp32-avx2.json

## Accuracy of the exercise

Recipe `exercise` in both programs, five seeds, mean (worst):

| program, scaling | validation accuracy | test accuracy | test IoU at 0.1 | test IoU at 0.5 |
|---|---|---|---|---|
{exercise}

The notebook of the exercise itself has a validation accuracy of 0.9703, a test accuracy of 0.9783
and a test IoU of 0.8225 at threshold 0.1.

![Test IoU of five seeds with pleura and Keras]({pictures}/benchmark-seeds.svg)

    python benchmarks/seeds.py --table

Recipe `exercise-plus`, five seeds, mean (worst): test IoU {plus_128} at 128×128 and {plus} at
512×512; {plus_rest} at 512×512 without the slice whose [reference is
wrong](explanation/label-errors.md).

    python benchmarks/plus.py --table

## Learning curve

Mean Dice on COVID-19 slices of three patients, after training on slices of seven others: from
random weights, and from a shipped model (pleura-3, which did not see any slice of this set).

| training slices | random weights | fine-tuned |
|---|---|---|
{learning}

![Dice by number of training slices]({pictures}/benchmark-learning-curve.svg)

    python benchmarks/fine_tuning.py DATA
"""


def load(name: str) -> Any:
    """Return the content of a file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def rows(cells: Iterable[Iterable[object]]) -> str:
    """Return rows of a Markdown table."""
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in cells)


def seconds(runs: list[dict[str, Any]]) -> float:
    """Return the median time of runs."""
    return median(run["seconds"] for run in runs)


def peak(runs: list[dict[str, Any]]) -> str:
    """Return the highest peak memory of runs."""
    return f"{max(run['peak_mb'] for run in runs):.0f}"


def segmentation(benches: dict[str, dict[str, Any]]) -> str:
    """Return the table of times and memory beside lungmask, by CPU."""
    lines = []
    titles = {"NIfTI": "NIfTI, 117", "DICOM": "DICOM folder, 117", "600": "NIfTI, 600"}
    for (cpu, bench), (kind, title) in product(benches.items(), titles.items()):
        groups = {
            "default": bench["ours"][kind],
            "accurate": bench["ours"].get(f"{kind}, --model accurate"),
            "lungmask": bench["theirs"].get(kind),
        }
        times = {name: seconds(runs) for name, runs in groups.items() if runs}
        faster = [
            f"{times['lungmask'] / times[name]:.0f}×"
            for name in ("default", "accurate")
            if {name, "lungmask"} <= times.keys()
        ]
        cells = [f"{times[name]:.1f}" if name in times else "" for name in groups]
        memory = ", ".join(peak(runs) for runs in groups.values() if runs)
        lines.append([cpu, title, *cells, " and ".join(faster), memory])
    return rows(lines)


def scaling(bench: dict[str, Any], avx2: dict[str, Any]) -> str:
    """Return the table of times by number and size of slices."""
    lines = []
    titles = {"ours": "{} of 512×512", "also": "900 of 512×512, {}", "sides": "100 of {0}×{0}"}
    for group, title in titles.items():
        for key in bench[group]:
            if group == "ours" and not key.isdigit():
                continue
            pair = bench[group][key], avx2[group][key]
            network = ", ".join(
                f"{median(run['stages']['inference'] for run in runs):.2f}" for runs in pair
            )
            times = [f"{seconds(runs):.2f}" for runs in pair]
            name = title.format(key.replace("-", " "))
            lines.append([name, *times, network, peak(pair[0] + pair[1])])
    return rows(lines)


def dice_by_set(model: str) -> dict[str, list[float]]:
    """Return the Dice of each case by data set, without the slice whose reference is wrong."""
    found = load(f"accuracy/{model}")
    return {
        name: [case["dice"] for case in found[name] if case["case"] != WRONG_REFERENCE]
        for name in ("kmader-test", "covid")
    }


def accuracy() -> str:
    """Return the table of mean Dice and of the loss of Dice after perturbation."""
    models = ("default", "accurate")
    dice = {model: dice_by_set(model) for model in models}
    titles = {"kmader-test": "*finding-lungs*, test", "covid": "COVID-19, 8-bit images"}
    lines = [
        [title, len(dice["default"][key]), "Dice", *(f"{mean(dice[m][key]):.4f}" for m in models)]
        for key, title in titles.items()
    ]
    drops = [[c["drop"] for c in load(f"accuracy/{m}")["perturbed-test"]] for m in models]
    lines.append(
        ["*finding-lungs*, test, 12 perturbations", len(drops[0]), "loss of Dice"]
        + [f"{mean(drop):.4f}" for drop in drops]
    )
    return rows(lines)


def training() -> str:
    """Return the table of training speed beside Keras."""
    files = {
        "AMD EPYC": ("bench", "bfloat16"),
        "Intel Xeon, AVX-512": ("bench-fp32", "float32"),
        "Intel Xeon, AVX2": ("bench-fp32-avx2", "float32"),
    }
    measures = {
        "steps_per_second": ".2f",
        "validation_seconds": ".1f",
        "cpu_seconds": ".0f",
        "peak_memory_mb": ".0f",
    }
    lines = []
    for cpu, (file, precision) in files.items():
        runs = load(file)["runs"]
        ours, theirs = (
            {key: median(run[key] for run in runs if run["peer"] == peer) for key in measures}
            for peer in ("pleura", "keras")
        )
        ratio = f"{ours['steps_per_second'] / theirs['steps_per_second']:.2f}"
        speed, *others = (
            f"{ours[key]:{form}}, {theirs[key]:{form}}" for key, form in measures.items()
        )
        lines.append([cpu, precision, speed, ratio, *others])
    return rows(lines)


def mean_and_worst(values: list[float]) -> str:
    """Return the mean, with the worst in brackets."""
    return f"{mean(values):.4f} ({min(values):.4f})"


def seeds(peer: str, scaling: str) -> list[dict[str, Any]]:
    """Return the results of the five seeds."""
    paths = sorted((RESULTS / "seeds").glob(f"{peer}_{scaling}_*.json"))
    return [json.loads(path.read_text("utf-8")) for path in paths]


def exercise() -> str:
    """Return the table of the accuracy of recipe ``exercise`` beside Keras."""
    keys = ("validation_accuracy", "test_accuracy", "test_iou_0.1", "test_iou_0.5")
    return rows(
        [f"{title}, `{scaling}`"]
        + [mean_and_worst([run[key] for run in seeds(peer, scaling)]) for key in keys]
        for scaling in ("max", "minmax")
        for peer, title in (("pleura", "pleura"), ("keras", "Keras"))
    )


def page() -> str:
    """Return the page."""
    bench, sizes, arithmetic = load("segment"), load("install_size"), load("precision")
    avx2 = load("segment-avx2")
    plus = [json.loads(path.read_text("utf-8")) for path in (RESULTS / "plus").glob("*.json")]
    plus_keys = {"plus_128": "test_128", "plus": "test", "plus_rest": "test_rest"}
    return PAGE.format(
        pictures="pictures",
        repetitions={2: "two", 3: "three"}[len(bench["ours"]["NIfTI"])],
        segmentation=segmentation({"AVX-512": bench, "AVX2": avx2}),
        lengths=scaling(bench, avx2),
        cpu=bench["machine"]["cpu"].removesuffix(" Processor"),
        gflops=f"{bench['gflops']:.0f}",
        bandwidth=f"{bench['gb_per_s']:.0f}",
        sizes=rows(
            [f"`{name}`", f"{size['mb']:.0f}", f"{size['torch_mb']:.0f}", size["packages"]]
            for name, size in sizes.items()
        ),
        accuracy=accuracy(),
        precision=rows(
            [name, f"{found['ms']:.1f}", *(f"{dice:.4f}" for dice in found["dice"].values())]
            for name, found in arithmetic.items()
        ),
        training=training(),
        exercise=exercise(),
        learning=rows(
            [row["slices"], f"{mean(row['random']):.4f}", f"{mean(row['model']):.4f}"]
            for row in load("fine_tuning")
        ),
        **{name: mean_and_worst([run[key] for run in plus]) for name, key in plus_keys.items()},
    )


def draw_times(axes: Any) -> None:
    """Draw the times of pleura and lungmask as bars."""
    bench = load("segment")
    bars = {
        "lungmask --cpu": bench["theirs"]["NIfTI"],
        "pleura --model accurate": bench["ours"]["NIfTI, --model accurate"],
        "pleura": bench["ours"]["NIfTI"],
    }
    times = [seconds(runs) for runs in bars.values()]
    drawn = axes.barh(list(bars), times, color=[palette.TEXT, palette.TRAINING, palette.TRAINING])
    axes.bar_label(drawn, [f"{time:.1f} s" for time in times], padding=4)
    axes.set(xlabel="time to segment 117 slices (s)", xlim=(0, max(times) * 1.12))


def draw_scaling(axes: Any) -> None:
    """Draw time and memory by number and by size of slices, and the limits of the hardware."""
    results = {"AVX-512": load("segment"), "AVX2": load("segment-avx2")}
    colours = dict(zip(results, (palette.TRAINING, palette.VALIDATION), strict=True))
    groups = {
        "ours": ("slices of 512×512", lambda n: n, lambda n: 512 * 512 * n),
        "sides": ("rows and columns of 100 slices", lambda n: 100, lambda n: n * n * 100),
    }
    for column, (group, (label, slices, voxels)) in enumerate(groups.items()):
        time, memory = axes[0][column], axes[1][column]
        for name, bench in results.items():
            keys = sorted(int(key) for key in bench[group] if key.isdigit())
            runs = [bench[group][str(key)] for key in keys]
            style = {"color": colours[name], "label": name, "marker": "o", "ms": 4}
            time.plot(keys, [seconds(r) for r in runs], **style)
            memory.plot(keys, [max(x["peak_mb"] for x in r) for r in runs], **style)
        bench = results["AVX-512"]
        arithmetic = [0.44 * slices(key) / bench["gflops"] for key in keys]
        time.plot(keys, arithmetic, "--", color=palette.TEXT, lw=1)
        copied = [2 * 2 * voxels(key) / 1e9 / bench["gb_per_s"] for key in keys]
        time.plot(keys, copied, ":", color=palette.TEXT, lw=1)
        for name, text in (("network", "arithmetic of the network"), ("copy", "one copy")):
            line = {"network": "--", "copy": ":"}[name]
            time.plot([], [], line, color=palette.TEXT, lw=1, label=text)
        time.set(yscale="log", ylabel="time (s)")
        memory.set(ylim=(0, None), xlabel=label, ylabel="peak memory (MB)")
    axes[0][0].legend(frameon=False, fontsize=9)


def draw_accuracy(axes: Any) -> None:
    """Draw the Dice of each case of the default model."""
    sets = dice_by_set("default")
    left_out = [case["dice"] for case in load("accuracy/default")["left-out"]]
    groups = {
        f"finding-lungs, test\n({len(sets['kmader-test'])} slices)": sets["kmader-test"],
        "LCTSC, left out\n(3 scans: both, right, left)": left_out,
        f"COVID-19\n({len(sets['covid'])} slices)": sets["covid"],
    }
    for place, values in enumerate(groups.values()):
        shift = [(7 * i % 19 - 9) / 40 for i in range(len(values))]
        axes.plot([place + s for s in shift], values, "o", ms=4, alpha=0.5, color=palette.TRAINING)
        axes.hlines(median(values), place - 0.3, place + 0.3, color=palette.VALIDATION, lw=2)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set(ylabel="Dice (line: median)", ylim=(0.5, 1.0))


def draw_seeds(axes: Any) -> None:
    """Draw the test IoU of each seed of recipe ``exercise``."""
    for place, scaling in enumerate(("max", "minmax")):
        for peer, colour, shift in (
            ("pleura", palette.TRAINING, -0.15),
            ("keras", palette.VALIDATION, 0.15),
        ):
            values = [run["test_iou_0.5"] for run in seeds(peer, scaling)]
            label = {"pleura": "pleura", "keras": "Keras"}[peer] if place == 0 else None
            axes.plot([place + shift] * len(values), values, "o", color=colour, label=label)
    axes.set_xticks((0, 1), ("scaling max", "scaling minmax"))
    axes.set(ylabel="test IoU at threshold 0.5", xlim=(-0.6, 1.6))
    axes.legend(frameon=False)


def draw_learning_curve(axes: Any) -> None:
    """Draw Dice by number of training slices."""
    curve = load("fine_tuning")
    slices = [row["slices"] for row in curve]
    for key, label, colour in (
        ("model", "from the shipped model", palette.TRAINING),
        ("random", "from random weights", palette.VALIDATION),
    ):
        axes.plot(slices, [mean(row[key]) for row in curve], "o-", color=colour, label=label)
    axes.set(xlabel="training slices", ylabel="Dice", xscale="log", ylim=(0.7, 1.0))
    axes.set_xticks(slices, [str(n) for n in slices])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower right")


def draw_all() -> None:
    """Write all plots."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "pleura", "font.size": 11, "svg.fonttype": "path"})
    plots = {
        "time": (draw_times, (8, 2.6)),
        "scaling": (draw_scaling, (8, 5.6)),
        "accuracy": (draw_accuracy, (8, 4)),
        "seeds": (draw_seeds, (8, 3.6)),
        "learning-curve": (draw_learning_curve, (8, 3.6)),
    }
    for name, (draw, size) in plots.items():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(2, 2, sharex="col") if name == "scaling" else figure.subplots()
        for part in figure.axes:
            part.spines[["top", "right"]].set_visible(False)
        draw(axes)
        figure.savefig(PICTURES / f"benchmark-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    (DOCS / "benchmarks.md").write_text(page(), encoding="utf-8")
    draw_all()
