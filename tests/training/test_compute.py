import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from pleura.network.build import build_network
from pleura.training.compute import ComputeDevice, torch_threads
from pleura.training.recipe_loading import load_recipe

# In a process of its own: what an older one has freed before may hold the blocks already.
CODE = """
import resource, torch
from pleura.training.compute import reuse_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(1 << 24)  # 64 MiB: 16384 pages of 4 KiB, or 32 of 2 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

page_faults()
before = page_faults()
with reuse_freed_memory():
    during = [page_faults() for _ in range(20)]  # the heap grows a few times first
print(before, max(during[-8:]), page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_reused_in_training_and_released_after_it():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, during, after = map(int, done.stdout.split())
    assert during < 32 <= min(before, after)


def test_threads_are_restored():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with torch_threads(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("capability", "name", "planar"),
    [
        ("AVX2", "exercise", True),
        ("AVX2", "unet2015", True),
        ("AVX2", "quick", False),
        ("AVX512", "exercise", False),
    ],
)
def test_only_wide_networks_are_planar_and_only_with_avx2(monkeypatch, capability, name, planar):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    recipe = load_recipe(name, ["training.device=cpu"])
    compute = ComputeDevice(recipe.training)
    network = compute.place(build_network(recipe.network))
    weight = next(p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous() == planar
    images = compute.tensor(np.zeros((2, 3, 8, 8), np.float32), network)
    assert images.stride() == ((192, 64, 8, 1) if planar else (192, 1, 24, 3))
