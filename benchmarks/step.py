"""The cost of a bare training step of the exercise (docs/experiments/speed.md, 7, 8).

    python benchmarks/step.py            # the step, with memory kept between steps and without
    python benchmarks/step.py --layers   # backward passes of the up-convolutions, part by part

On random images: a step costs the same whatever they show. Each kind runs in a process of its own.
"""

import argparse
import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F

from pleura.network.exercise import ExerciseUNet
from pleura.training.compute import reuse_freed_memory

STEPS = 10


def seconds(work: Callable[[], object], times: int) -> list[float]:
    work()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return taken


def step(kept: bool) -> None:
    network = ExerciseUNet().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    images = torch.randn(16, 1, 128, 128).contiguous(memory_format=torch.channels_last)
    targets = (torch.rand_like(images) > 0.7).float()

    def work() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images)
        loss = F.binary_cross_entropy_with_logits(logits.float(), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    with reuse_freed_memory() if kept else contextlib.nullcontext():
        taken = seconds(work, STEPS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    setting = "memory kept" if kept else "as glibc does"
    print(
        f"| {setting} | {median(taken):.3f} (fastest {min(taken):.3f}) | {peak:.0f} |", flush=True
    )


def layers() -> None:
    print("| layer | input | weight | bias | all three |\n|---|---|---|---|---|")
    for inputs, outputs, side in ((128, 64, 64), (256, 128, 32)):
        images, gradient = (
            torch.randn(16, channels, size, size)
            .bfloat16()
            .contiguous(memory_format=torch.channels_last)
            for channels, size in ((inputs, side), (outputs, 2 * side))
        )
        kernel = torch.randn(inputs, outputs, 3, 3).bfloat16()
        cells = []
        for wanted in (
            [True, False, False],
            [False, True, False],
            [False, False, True],
            [True] * 3,
        ):
            two, one = [2, 2], [1, 1]

            def work(
                wanted=wanted, image=images, grad=gradient, weight=kernel, n=outputs, s=two, p=one
            ):
                torch.ops.aten.convolution_backward(
                    grad, image, weight, [n], s, p, p, True, p, 1, wanted
                )

            cells.append(f"{1000 * min(seconds(work, 6)):.1f} ms")
        print(f"| {inputs} to {outputs}, to {2 * side}x{2 * side} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--kept", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.layers:
        layers()
    elif options.kept is not None:
        step(bool(options.kept))
    else:
        print("| | seconds a step | peak memory, MiB |\n|---|---|---|", flush=True)
        for kept in (0, 1):
            subprocess.run([sys.executable, __file__, f"--kept={kept}"], check=True)


if __name__ == "__main__":
    main()
