import platform
import subprocess
import sys

import pytest
import torch

from pleura.training.compute import torch_threads

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
