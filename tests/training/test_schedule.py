from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pleura.training.recipe import ScheduleRecipe
from pleura.training.schedule import learning_rate


def test_the_exercise_holds_its_rate_to_epoch_20_and_then_takes_tenths():
    rates = [learning_rate(ScheduleRecipe(), epoch, 0, 40, 10) for epoch in range(40)]
    assert rates[:21] == [0.001] * 21
    assert rates[21] == pytest.approx(0.0001)
    assert rates[25] == pytest.approx(1e-8)
    assert rates == pytest.approx([0.001 * 0.1 ** max(0, epoch - 20) for epoch in range(40)])


def test_one_cycle_rises_to_its_rate_and_falls_to_zero():
    recipe = ScheduleRecipe(name="one-cycle", learning_rate=0.01, warmup_fraction=0.2)
    rates = [learning_rate(recipe, e, s, 10, 10) for e in range(10) for s in range(10)]
    assert rates[:20] == pytest.approx([0.01 * (i + 1) / 20 for i in range(20)])
    assert rates[20] == pytest.approx(0.01)
    assert all(a > b for a, b in pairwise(rates[20:]))
    assert 0 < rates[-1] < 1e-5


@given(epochs=st.integers(1, 12), steps=st.integers(1, 12), warmup_fraction=st.floats(0, 0.95))
def test_one_cycle_never_passes_its_rate(epochs, steps, warmup_fraction):
    recipe = ScheduleRecipe(name="one-cycle", learning_rate=0.01, warmup_fraction=warmup_fraction)
    rates = [
        learning_rate(recipe, e, s, epochs, steps) for e in range(epochs) for s in range(steps)
    ]
    assert 0 < min(rates) <= max(rates) <= 0.01 * (1 + 1e-9)


def test_a_restart_is_a_cycle_of_its_own_at_half_the_rate():
    cycle = ScheduleRecipe(name="one-cycle", learning_rate=0.01, warmup_fraction=0.2)
    recipe = cycle.model_copy(update={"restarts": (6, 8, 20)})
    rates = [learning_rate(recipe, e, s, 12, 5) for e in range(12) for s in range(5)]
    alone = [
        [learning_rate(cycle, e, s, length, 5) for e in range(length) for s in range(5)]
        for length in (6, 2, 4)
    ]
    assert rates[:30] == alone[0]
    assert rates[30:] == [rate / 2 for rate in alone[1] + alone[2]]


def test_constant_rate_is_constant():
    recipe = ScheduleRecipe(name="constant", learning_rate=0.3)
    assert {learning_rate(recipe, e, 0, 40, 10) for e in range(40)} == {0.3}
