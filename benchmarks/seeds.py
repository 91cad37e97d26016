"""Is pleura as accurate as Keras? The course exercise over scalings and seeds, by either peer.

    python benchmarks/seeds.py IMAGES MASKS --peer pleura
    python benchmarks/seeds.py IMAGES MASKS --peer keras
    python benchmarks/seeds.py --table

One JSON a run in benchmarks/results/seeds; a run that is there is not repeated. From epoch 27 on
the learning rate is at most 1e-9, so no weight moves any more and `--epochs 26` gives the figures
of all 40.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from peers import HERE, Result, keras_python, run_peer

SCALINGS = ("max", "minmax")
SEEDS = (220, 1, 2, 3, 4)
FIGURES = {
    "validation_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "test_iou_0.1": "test IoU at 0.1",
    "test_iou_0.5": "test IoU at 0.5",
}
NOTEBOOK = {"validation_accuracy": 0.9703, "test_accuracy": 0.9783, "test_iou_0.1": 0.8225}
"""The exercise's own figures, of its one run with scaling `max` and seed 220."""


class Summary(NamedTuple):
    """A figure over the seeds of a peer and scaling; ``sd`` is the sample's, NaN for one run."""

    n: int
    mean: float
    sd: float
    worst: float


class Comparison(NamedTuple):
    """pleura's mean and worst of a figure beside another's; a notebook's one run is both."""

    scaling: str
    figure: str
    against: str
    mean: float
    their_mean: float
    worst: float
    their_worst: float

    # To the four decimals that are printed, so that the table shows what was compared.
    @property
    def mean_reached(self) -> bool:
        return round(self.mean, 4) >= round(self.their_mean, 4)

    @property
    def worst_reached(self) -> bool:
        return round(self.worst, 4) >= round(self.their_worst, 4)


Summaries = Mapping[tuple[str, str], Mapping[str, Summary]]
"""By peer and scaling, then by figure."""


def read_results(folder: Path) -> list[Result]:
    """Read every run in the folder: pleura before Keras, then in the order of SCALINGS, SEEDS."""
    files = [
        folder / f"{peer}_{scaling}_{seed}.json"
        for peer in ("pleura", "keras")
        for scaling in SCALINGS
        for seed in SEEDS
    ]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def summarise(results: Sequence[Result]) -> Summaries:
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result["peer"], result["scaling"]), []).append(result)
    return {
        group: {figure: _summary([run[figure] for run in runs]) for figure in FIGURES}
        for group, runs in groups.items()
    }


def _summary(values: Sequence[float]) -> Summary:
    sd = stdev(values) if len(values) > 1 else float("nan")
    return Summary(len(values), fmean(values), sd, min(values))


def compare(summaries: Summaries) -> list[Comparison]:
    """Hold pleura against Keras, and with scaling `max` against the notebook's own figures."""
    found = []
    for scaling in SCALINGS:
        ours = summaries.get(("pleura", scaling), {})
        theirs = summaries.get(("keras", scaling), {})
        for figure, a in ours.items():
            if figure in theirs:
                b = theirs[figure]
                values = a.mean, b.mean, a.worst, b.worst
                found.append(Comparison(scaling, figure, "Keras", *values))
            if scaling == "max" and figure in NOTEBOOK:
                values = a.mean, NOTEBOOK[figure], a.worst, NOTEBOOK[figure]
                found.append(Comparison(scaling, figure, "notebook", *values))
    return found


def table(results: Sequence[Result]) -> str:
    """Return three Markdown tables: every run; each peer and scaling; the comparison."""
    summaries = summarise(results)
    labels = " | ".join(FIGURES.values())
    lines = [
        f"| peer | scaling | seed | epochs | {labels} | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in results:
        figures = " | ".join(f"{run[figure]:.4f}" for figure in FIGURES)
        lines.append(
            f"| {run['peer']} | {run['scaling']} | {run['seed']} | {run['epochs']} | {figures} "
            f"| {run['cpu_seconds']:.0f} |"
        )
    lines += ["", f"| peer | scaling | over runs | {labels} |", "|---|---|---|---|---|---|---|"]
    over: dict[str, Callable[[Summary], str]] = {
        "mean": lambda s: f"{s.mean:.4f}",
        "SD": lambda s: f"{s.sd:.4f}" if s.n > 1 else "",
        "worst": lambda s: f"{s.worst:.4f}",
    }
    for (peer, scaling), by_figure in summaries.items():
        n = by_figure["test_accuracy"].n
        for name, text in over.items():
            cells = " | ".join(text(summary) for summary in by_figure.values())
            lines.append(f"| {peer} | {scaling} | {name} of {n} | {cells} |")
    lines += [
        "",
        "| scaling | figure | against | mean: pleura, theirs | | worst: pleura, theirs | |",
        "|---|---|---|---|---|---|---|",
        *(_row(comparison) for comparison in compare(summaries)),
    ]
    return "\n".join(lines)


def _row(found: Comparison) -> str:
    reached = ("below", "reached")
    return (
        f"| {found.scaling} | {FIGURES[found.figure]} | {found.against} "
        f"| {found.mean:.4f}, {found.their_mean:.4f} | {reached[found.mean_reached]} "
        f"| {found.worst:.4f}, {found.their_worst:.4f} | {reached[found.worst_reached]} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("masks", type=Path, nargs="?")
    parser.add_argument("--peer", choices=["pleura", "keras"])
    parser.add_argument("--scaling", choices=SCALINGS, nargs="+", default=SCALINGS)
    parser.add_argument("--seed", type=int, choices=SEEDS, nargs="+", default=SEEDS)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, help="as many as there are cores if unset")
    parser.add_argument("--keras", type=Path, metavar="PYTHON", help="an interpreter with Keras")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "seeds")
    parser.add_argument("--table", action="store_true", help="print what there is, after any runs")
    options = parser.parse_args()
    if options.peer and not options.masks:
        parser.error("give IMAGES and MASKS")
    if not options.peer and not options.table:
        parser.error("give --peer, --table or both")
    if options.peer:
        run_missing(options)
    if options.table:
        print(table(read_results(options.results)))


def run_missing(options: argparse.Namespace) -> None:
    """Run the peer with each scaling and seed that has no result yet."""
    ours = options.peer == "pleura"
    python = Path(sys.executable) if ours else options.keras or keras_python()
    options.results.mkdir(parents=True, exist_ok=True)
    for scaling in options.scaling:
        for seed in options.seed:
            file = options.results / f"{options.peer}_{scaling}_{seed}.json"
            if file.exists():
                continue
            print(file.stem, file=sys.stderr)
            arguments = [f"--scaling={scaling}", f"--seed={seed}", f"--epochs={options.epochs}"]
            if options.threads:
                arguments.append(f"--threads={options.threads}")
            result = run_peer(options.peer, python, options.images, options.masks, arguments)
            file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
