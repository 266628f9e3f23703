"""Metrics against scikit-learn, and what must hold of any counts."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    jaccard_score,
    precision_recall_fscore_support,
)

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.common.metrics import Confusion, Joined, confuse, rounded

K = 5
IDS = st.sampled_from([*range(K - 1), IGNORE])
"""Class K - 1 is never drawn, so that there is always a class of which nothing is defined."""

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    maps = arrays(np.uint8, shape, elements=IDS)
    return draw(maps), draw(maps)


def counted(truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> Confusion:
    return confuse(truth, [predicted], K)[0]


def known(value: float) -> float | None:
    return None if np.isnan(value) else pytest.approx(value)


@given(pairs())
def test_matrix_is_sklearns(pair: Pair) -> None:
    truth, predicted = pair
    both = (truth != IGNORE) & (predicted != IGNORE)
    found = counted(truth, predicted)
    expected = confusion_matrix(truth[both], predicted[both], labels=range(K)) if both.any() else np.zeros((K, K))
    np.testing.assert_array_equal(found.matrix, expected)
    lost = truth[predicted == IGNORE]
    np.testing.assert_array_equal(found.unpredicted, [np.sum(lost == k) for k in range(K)])


@given(pairs())
def test_metrics_are_sklearns(pair: Pair) -> None:
    truth, predicted = pair
    both = (truth != IGNORE) & (predicted != IGNORE)
    if not both.any():  # of nothing, scikit-learn has no figures
        return
    found = counted(truth, predicted)
    t, p = truth[both], predicted[both]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mean over no class
        each = precision_recall_fscore_support(t, p, labels=range(K), zero_division=np.nan)
        macro = precision_recall_fscore_support(t, p, labels=range(K), zero_division=np.nan, average="macro")
        iou = np.array([jaccard_score(t == k, p == k) if ((t == k) | (p == k)).any() else np.nan for k in range(K)])
    for k, metrics in enumerate(found.per_class()):
        assert metrics == {
            "precision": known(each[0][k]),
            "recall": known(each[1][k]),
            "f1": known(each[2][k]),
            "iou": known(iou[k]),
            "support": each[3][k],
        }
    assert found.overall() == {
        "accuracy": pytest.approx(accuracy_score(t, p)),
        "macro_f1": known(macro[2]),
        "macro_iou": known(float(np.nanmean(iou))),
        "support": both.sum(),
        "macro_precision": known(macro[0]),
        "macro_recall": known(macro[1]),
        "unpredicted": pytest.approx(np.sum((truth != IGNORE) & ~both) / np.sum(truth != IGNORE)),
    }


@given(pairs(), st.integers(1, 7))
def test_counts_of_parts_add_up(pair: Pair, cut: int) -> None:
    truth, predicted = pair
    parts = counted(truth[:cut], predicted[:cut]) + counted(truth[cut:], predicted[cut:])
    assert parts == counted(truth, predicted)
    assert counted(truth, predicted) + Confusion.none(K) == counted(truth, predicted)


@given(pairs(), st.integers(0, K - 2))
def test_always_is_a_prediction_of_one_class(pair: Pair, class_id: int) -> None:
    truth, predicted = pair
    constant = np.where(predicted == IGNORE, predicted, np.uint8(class_id))
    assert counted(truth, predicted).always(class_id) == counted(truth, constant)


@given(pairs(), st.integers(0, 99))
def test_predictions_are_counted_on_the_pixels_that_all_have(pair: Pair, seed: int) -> None:
    truth, one = pair
    other = np.random.default_rng(seed).permuted(one)
    first, second = confuse(truth, [one, other], K)
    shared = (one != IGNORE) & (other != IGNORE)
    assert first == counted(truth, np.where(shared, one, np.uint8(IGNORE)))
    assert second == counted(truth, np.where(shared, other, np.uint8(IGNORE)))
    np.testing.assert_array_equal(first.unpredicted, second.unpredicted)


def test_undefined_is_none_and_in_no_mean() -> None:
    # class 0: labelled, never predicted; 1: right; 2: predicted, never labelled; 3: neither
    matrix = np.zeros((4, 4), np.int64)
    matrix[0, 1], matrix[1, 1], matrix[0, 2] = 1, 1, 1
    found = Confusion(matrix, np.zeros(4, np.int64))
    never, right, invented, absent = found.per_class()
    assert never == {"precision": None, "recall": 0.0, "f1": 0.0, "iou": 0.0, "support": 2}
    assert right == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "iou": 0.5, "support": 1}
    assert invented == {"precision": 0.0, "recall": None, "f1": 0.0, "iou": 0.0, "support": 0}
    assert absent == {"precision": None, "recall": None, "f1": None, "iou": None, "support": 0}
    assert found.overall() == {
        "accuracy": pytest.approx(1 / 3),
        "macro_f1": pytest.approx(2 / 9),
        "macro_iou": pytest.approx(1 / 6),
        "support": 3,
        "macro_precision": 0.25,
        "macro_recall": 0.5,
        "unpredicted": 0.0,
    }


def test_without_pixels_no_metric_is_defined() -> None:
    nothing = Confusion.none(2)
    assert nothing.overall() == {
        "accuracy": None,
        "macro_f1": None,
        "macro_iou": None,
        "support": 0,
        "macro_precision": None,
        "macro_recall": None,
        "unpredicted": None,
    }


@pytest.mark.parametrize(("truth", "predicted", "named"), [(3, 0, "truth"), (0, 7, "prediction")])
def test_a_class_id_of_no_class_is_refused(truth: int, predicted: int, named: str) -> None:
    with pytest.raises(ValueError, match=rf"{named} holds .* 3 classes: \[{max(truth, predicted)}\]"):
        confuse(np.array([[truth]], np.uint8), [np.array([[predicted]], np.uint8)], 3)


def test_255_classes_have_a_bin_each() -> None:
    ids = np.arange(IGNORE, dtype=np.uint8)[None]
    found = confuse(ids, [ids[:, ::-1]], IGNORE)[0]
    np.testing.assert_array_equal(found.matrix, np.eye(IGNORE, dtype=np.int64)[::-1])


@pytest.mark.parametrize("classes", [1, 2, 15, 16, 255])
def test_parts_are_counted_alone(classes: int) -> None:
    ids = np.random.default_rng(classes).integers(0, classes + 1, (2, 300, 70))
    truth, predicted = np.where(ids == classes, IGNORE, ids).astype(np.uint8)
    joined = Joined.of(truth, [predicted], classes)
    for here in ((slice(0, 280), slice(0, 61)), (slice(280, 300), slice(3, 9)), ()):
        rows, cols = truth[here].ravel(), predicted[here].ravel()
        expected = np.zeros((256, 256), np.int64)
        np.add.at(expected, (rows, cols), 1)
        (found,) = joined.counts(here)
        np.testing.assert_array_equal(found.matrix, expected[:classes, :classes])
        np.testing.assert_array_equal(found.unpredicted, expected[:classes, IGNORE])


def test_rounding_leaves_counts_and_none() -> None:
    assert rounded({"a": 0.123456, "b": 7, "c": None}) == {"a": 0.1235, "b": 7, "c": None}


def test_small_errors_of_values_in_a_large_unit_are_written_with_four_digits() -> None:
    found = rounded({"mae": 0.0000317249, "bias": -0.01234567, "gain": 5.6e-17, "rmse": 123456.78901, "r2": -0.0999999})
    assert found == {"mae": 3.172e-05, "bias": -0.01235, "gain": 0.0, "rmse": 123456.789, "r2": -0.1}
