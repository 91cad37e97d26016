import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pleura.cohort.pool import SegmenterPool


def test_threads_share_as_few_segmenters_as_they_need(options):
    pool, both = SegmenterPool(), threading.Barrier(2)

    def use(_):
        with pool.segmenter(options) as segmenter:
            both.wait(timeout=30)
            return segmenter

    with ThreadPoolExecutor(2) as executor:
        first = set(executor.map(use, range(2)))
        again = set(executor.map(use, range(2)))
    assert len(first) == 2
    assert again == first


def test_units_and_flip_need_no_other_model(options):
    pool = SegmenterPool()
    with pool.segmenter(options) as first:
        pass
    with pool.segmenter(replace(options, units="hu", flip=True)) as second:
        assert second is first
    with pool.segmenter(replace(options, threshold=0.3)) as third:
        assert third is not first
    pool.clear()
    with pool.segmenter(options) as fourth:
        assert fourth is not first
