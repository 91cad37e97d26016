import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.report.plots import axis, histogram, iou_histogram, line_plot

NUMBERS = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-4)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_axis_covers_the_values_with_few_round_ticks(values):
    made = axis("x", values)
    width = made.high - made.low
    assert made.low <= min(values) + 1e-6 * width
    assert made.high >= max(values) - 1e-6 * width
    assert 2 <= len(made.ticks) <= 6
    texts = [text for _, text in made.ticks]
    assert len(set(texts)) == len(texts)
    for value, text in made.ticks:
        assert float(text.replace(",", "")) == pytest.approx(value, abs=1e-6 * width)
        assert "e" not in text


@given(st.lists(NUMBERS, min_size=1, max_size=60))
def test_every_value_is_in_one_bin_of_a_histogram(values):
    plot = histogram("t", "x", values)
    assert sum(bar.count for bar in plot.bars) == len(values)
    assert len(plot.bars) <= 40
    assert all(tick.isdigit() or "," in tick for _, tick in plot.y.ticks)
    assert plot.y.high >= max(bar.count for bar in plot.bars)


def test_bins_have_round_limits():
    plot = histogram("t", "x", [32.0, 1410.0, 2070.0, 4035.0])
    assert [bar.start for bar in plot.bars[:3]] == [0, 500, 1000]
    assert plot.bars[2].label == "1,000 to 1,500"
    assert [text for _, text in plot.x.ticks] == ["0", "1,000", "2,000", "3,000", "4,000", "5,000"]


def test_a_value_on_a_limit_is_in_the_bin_above_it():
    plot = histogram("t", "x", [0.1 * i for i in range(1, 10)], n_bins=8)
    assert {bar.count for bar in plot.bars} == {1}


def test_bands_are_those_of_the_exercise():
    plot = iou_histogram([0.2, 0.85, 0.9, 0.94, 0.95, 1.0])
    assert [(bar.label, bar.count) for bar in plot.bars] == [
        ("[0, 0.85)", 1),
        ("[0.85, 0.9)", 1),
        ("[0.9, 0.95)", 2),
        ("[0.95, 1]", 2),
    ]


def test_undefined_values_of_a_line_are_left_out():
    plot = line_plot("t", ("Epoch", [1, 2, 3]), "Loss", {"training": [1.0, math.nan, 0.5]})
    assert plot.lines == (("training", ((1, 1.0), (3, 0.5))),)
