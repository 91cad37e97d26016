from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pleura.cohort.pool import SegmenterPool


def test_threads_share_a_segmenter(options):
    pool = SegmenterPool()
    with ThreadPoolExecutor(4) as executor:
        segmenters = set(executor.map(lambda _: pool.segmenter(options), range(4)))
    assert len(segmenters) == 1


def test_units_and_flip_need_no_other_model(options):
    pool = SegmenterPool()
    first = pool.segmenter(options)
    assert pool.segmenter(replace(options, units="hu", flip=True)) is first
    assert pool.segmenter(replace(options, threshold=0.3)) is not first
    pool.clear()
    assert pool.segmenter(options) is not first
