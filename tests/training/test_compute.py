import platform

import pytest
import torch

from pleura.training.compute import freed_memory_kept


def page_faults(allocate):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    allocate()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again_during_a_training_and_given_back_after_it():
    def feature_map():
        torch.zeros(1 << 24)  # 64 MiB: 16384 pages of 4 KiB, or 32 of 2 MiB

    assert page_faults(feature_map) >= 32
    with freed_memory_kept():
        feature_map()  # the heap grows
        feature_map()
        assert page_faults(feature_map) < 32
    assert page_faults(feature_map) >= 32
