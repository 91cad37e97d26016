import numpy as np
import pytest
from scipy import stats

from pleura.evaluation.wilcoxon import MAX_EXACT, wilcoxon


@pytest.mark.parametrize("n", [1, 2, 5, 12, 50, 51, 300])
def test_p_value_agrees_with_scipy(n):
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.2, 1, n)
        method = "exact" if n <= MAX_EXACT else "approx"
        expected = stats.wilcoxon(differences, method=method).pvalue
        assert wilcoxon(differences) == pytest.approx(expected, rel=1e-9)


def test_p_value_with_ties_agrees_with_all_permutations():
    differences = np.array([1, 1, -1, 2, 2, 3, -3, 4.0, 0])
    magnitudes = np.abs(differences[differences != 0])
    ranks = stats.rankdata(magnitudes)
    signs = np.array(np.meshgrid(*[[0, 1]] * len(ranks))).reshape(len(ranks), -1)
    sums = ranks @ signs
    observed = ranks[differences[differences != 0] > 0].sum()
    smaller = min(observed, ranks.sum() - observed)
    assert wilcoxon(differences) == pytest.approx(min(1, 2 * (sums <= smaller).mean()))


def test_ties_of_many_differences_agree_with_scipy():
    differences = np.random.default_rng(0).integers(-4, 6, 200)
    expected = stats.wilcoxon(differences, method="approx").pvalue
    assert wilcoxon(differences) == pytest.approx(expected, rel=1e-9)


def test_without_a_difference_p_is_1():
    assert wilcoxon([0.0, 0.0]) == 1.0
