import numpy as np
import pytest
from scipy import stats

from pleura.evaluation.statistics import agreement, bootstrap, paired, spread


def test_interval_of_many_patients_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(0.9, 0.05, 400)
    low, high = bootstrap(values, [str(i) for i in range(400)])
    half = 1.96 * values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - half, abs=0.001)
    assert high == pytest.approx(values.mean() + half, abs=0.001)


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(1).gamma(2, 1, 60)
    ours = bootstrap(values, [str(i) for i in range(60)])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=0, n_resamples=4000)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.06)


def test_slices_of_few_patients_do_not_make_the_interval_narrow():
    rng = np.random.default_rng(2)
    patients = [str(i // 50) for i in range(300)]
    values = np.repeat(rng.normal(0.9, 0.05, 6), 50) + rng.normal(0, 0.001, 300)
    by_patient, by_slice = (
        bootstrap(values, patients),
        bootstrap(values, list(map(str, range(300)))),
    )
    assert by_patient[1] - by_patient[0] > 3 * (by_slice[1] - by_slice[0])


def test_spread_says_which_end_is_worst():
    values, patients = [0.8, 0.9, 1.0], ["a", "b", "c"]
    assert spread(values, patients).worst == 0.8
    assert spread(values, patients, max).worst == 1.0
    found = spread(values, patients)
    assert (found.mean, found.median, found.cases, found.patients) == (
        pytest.approx(0.9),
        0.9,
        3,
        3,
    )
    assert found.sd == pytest.approx(0.1)
    assert spread([0.5], ["a"]).sd == 0


def test_one_patient_has_no_interval():
    assert spread([0.5, 0.6], ["a", "a"]).interval is None
    assert paired([0.5, 0.6], [0.6, 0.6], ["a", "a"]).interval is None


def test_paired_difference_is_wilcoxons_over_patients():
    rng = np.random.default_rng(3)
    first = rng.normal(0.9, 0.03, 30)
    second = first + rng.normal(0.01, 0.01, 30)
    names = [str(i) for i in range(30)]
    found = paired(first, second, names)
    assert found.mean == pytest.approx((second - first).mean())
    assert found.p == pytest.approx(stats.wilcoxon(second - first).pvalue)
    assert found.interval[0] < found.mean < found.interval[1]
    assert paired(first, first, names).p == 1


def test_agreement_is_bland_and_altmans():
    """Their own example (Lancet 1986, table 1): peak flow by two meters, l/min."""
    wright = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = agreement(mini, wright)
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(38.8, abs=0.05)
    assert found.error > abs(found.bias)
