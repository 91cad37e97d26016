import tracemalloc

import numpy as np
import pytest
from scipy import stats

from pleura.evaluation import statistics
from pleura.evaluation.statistics import agreement, bootstrap_interval, paired_difference, summarise


def test_interval_of_many_patients_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.9, 0.05, 400)
    low, high = bootstrap_interval(values, [str(i) for i in range(400)])
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.001)
    assert high == pytest.approx(values.mean() + half, abs=0.001)


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(1).gamma(2, 1, 60)
    ours = bootstrap_interval(values, [str(i) for i in range(60)])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=0, n_resamples=4000)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.06)


def test_interval_does_not_depend_on_the_blocks_of_resamples(monkeypatch):
    values, patients = np.random.default_rng(4).random(90), [str(i // 2) for i in range(90)]
    at_once = bootstrap_interval(values, patients)
    for patients_of_a_block in (1, 45 * 700):  # one resample, and 700, of 2000
        monkeypatch.setattr(statistics, "_MAX_RESAMPLED", patients_of_a_block)
        assert bootstrap_interval(values, patients) == at_once


def test_interval_of_many_patients_needs_little_memory():
    values, patients = np.random.default_rng(5).random(20_000), [f"{i:05}" for i in range(20_000)]
    tracemalloc.start()
    bootstrap_interval(values, patients, n_resamples=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20  # 62 MiB with all resamples at once


def test_slices_of_few_patients_do_not_make_the_interval_narrow():
    rng = np.random.default_rng(2)
    patients = [str(i // 50) for i in range(300)]
    values = np.repeat(rng.normal(0.9, 0.05, 6), 50) + rng.normal(0, 0.001, 300)
    by_patient, by_slice = (
        bootstrap_interval(values, patients),
        bootstrap_interval(values, list(map(str, range(300)))),
    )
    assert by_patient[1] - by_patient[0] > 3 * (by_slice[1] - by_slice[0])


def test_summary_has_the_usual_statistics():
    values, patients = [0.8, 0.9, 1.0], ["a", "b", "c"]
    found = summarise(values, patients)
    assert (found.min, found.max) == (0.8, 1.0)
    assert (found.mean, found.median, found.n_cases, found.n_patients) == (
        pytest.approx(0.9),
        0.9,
        3,
        3,
    )
    assert found.std == pytest.approx(0.1)
    assert summarise([0.5], ["a"]).std == 0


def test_one_patient_has_no_interval():
    assert summarise([0.5, 0.6], ["a", "a"]).confidence_interval is None
    assert paired_difference([0.5, 0.6], [0.6, 0.6], ["a", "a"]).confidence_interval is None


def test_paired_difference_is_wilcoxons_over_patients():
    rng = np.random.default_rng(3)
    first = rng.normal(0.9, 0.03, 30)
    second = first + rng.normal(0.01, 0.01, 30)
    names = [str(i) for i in range(30)]
    found = paired_difference(first, second, names)
    assert found.mean == pytest.approx((second - first).mean())
    assert found.p_value == pytest.approx(stats.wilcoxon(second - first).pvalue)
    assert found.confidence_interval[0] < found.mean < found.confidence_interval[1]
    assert paired_difference(first, first, names).p_value == 1


def test_agreement_is_bland_and_altmans():
    """Their own example (Lancet 1986, table 1): peak flow by two meters, l/min."""
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = agreement(mini, wright)
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert (found.upper_limit - found.lower_limit) / 2 / 1.96 == pytest.approx(38.8, abs=0.05)
    assert found.mean_absolute_difference > abs(found.bias)
