import numpy as np
import pytest

from pleura.engine.classes import choose_classes, choose_labels
from pleura.scan.labels import Label


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.75])
def test_one_class_is_chosen_from_its_threshold(threshold):
    probability = np.random.default_rng(0).random((1, 50, 50), np.float32)
    found = choose_classes(probability, [Label(1, "a", threshold=threshold)])
    clear = np.abs(probability[0] - threshold) > 1e-5
    np.testing.assert_array_equal(found[clear], (probability[0] >= threshold)[clear])


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_the_most_probable_class_is_chosen(dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 60, 60))
    probability = np.exp(logits) / np.exp(logits).sum(0)
    if dtype == np.uint8:
        probability = np.rint(probability * 255).astype(np.uint8)
    else:
        probability = probability.astype(dtype)
    labels = [Label(5, "a"), Label(1, "b"), Label(200, "c")]
    found = choose_labels(probability[1:], labels)
    second, first = np.sort(logits, 0)[-2:]
    clear = first - second > 0.05
    expected = np.array([0, 5, 1, 200])[logits.argmax(0)]
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_a_lower_threshold_favours_a_class_over_others_and_background():
    probability = np.array([[0.4, 0.3], [0.35, 0.2]], np.float32)[:, None]
    equal, lower = (
        choose_classes(probability, [Label(1, "a"), Label(2, "b", threshold=t)])[0].tolist()
        for t in (0.5, 0.25)
    )
    assert equal == [1, 0]
    assert lower == [2, 2]
