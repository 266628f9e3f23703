"""Metrics of several classes at once against scikit-learn, and what must hold of any counts."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.chip_classification.scoring.multilabel_counts import Presence

K = 4


@st.composite
def counts(draw: st.DrawFn) -> Presence:
    cells = draw(st.integers(0, 12))
    truth = draw(arrays(np.uint8, (cells, K), elements=st.sampled_from([0, 0, 1, IGNORE])))
    truth[:, K - 1] = np.where(truth[:, K - 1] == 1, 0, truth[:, K - 1])  # a class that is nowhere there
    steps = draw(arrays(np.uint8, (cells, K), elements=st.integers(0, 8)))
    return Presence(truth, (steps / 8).astype(np.float32), draw(st.integers(0, 3)))


def known(value: float) -> float | None:
    return None if np.isnan(value) else pytest.approx(value)


@given(counts())
def test_metrics_are_sklearns(found: Presence) -> None:
    each = []
    for column, given_ in zip(found.truth.T, found.scores.T, strict=True):
        truth, scores = column[column != IGNORE], given_[column != IGNORE]
        if not truth.size:  # of nothing, scikit-learn has no figures
            each.append([np.nan] * 4)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = precision_recall_fscore_support(truth, scores >= 0.5, labels=[1], zero_division=np.nan)
            area = average_precision_score(truth, scores) if truth.any() else np.nan
        each.append([*(float(value[0]) for value in said[:3]), area])
    for metrics, values, truth in zip(found.per_class(), each, found.truth.T, strict=True):
        names = ("precision", "recall", "f1", "average_precision")
        expected = {name: known(value) for name, value in zip(names, values, strict=True)}
        assert metrics == {**expected, "support": (truth == 1).sum()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        macro = np.nanmean(each, axis=0)
    rows = [(t[t != IGNORE], s[t != IGNORE]) for t, s in zip(found.truth, found.scores, strict=True)]
    exact = [bool(((s >= 0.5) == (t == 1)).all()) for t, s in rows if t.size]
    lost = found.unpredicted
    assert found.overall() == {
        "accuracy": pytest.approx(np.mean(exact)) if exact else None,
        "macro_f1": known(macro[2]),
        "macro_average_precision": known(macro[3]),
        "support": len(exact),
        "macro_precision": known(macro[0]),
        "macro_recall": known(macro[1]),
        "unpredicted": pytest.approx(lost / (lost + len(exact))) if lost + len(exact) else None,
    }


@given(counts(), st.integers(0, 12))
def test_counts_of_parts_add_up(found: Presence, cut: int) -> None:
    parts = [Presence(found.truth[:cut], found.scores[:cut], found.unpredicted), Presence.none(K)]
    parts.append(Presence(found.truth[cut:], found.scores[cut:]))
    whole = parts[0] + parts[1] + parts[2]
    assert whole.overall() == found.overall()
    assert whole.per_class() == found.per_class()
    np.testing.assert_array_equal(whole.confused(), found.confused())


@given(counts())
def test_the_confusion_holds_each_cells_errors(found: Presence) -> None:
    expected = np.zeros((K + 1, K + 1), int)
    for truth, scores in zip(found.truth, found.scores, strict=True):
        missed = [k for k in range(K) if truth[k] == 1 and scores[k] < 0.5]
        invented = [k for k in range(K) if truth[k] == 0 and scores[k] >= 0.5]
        for k in range(K):
            expected[k, k] += truth[k] == 1 and scores[k] >= 0.5
        if missed or invented:
            for one in missed or [K]:
                for other in invented or [K]:
                    expected[one, other] += 1
    np.testing.assert_array_equal(found.confused(), expected)


@given(counts(), st.integers(0, K - 1))
def test_always_finds_one_class_by_its_share(found: Presence, class_id: int) -> None:
    always = found.always(class_id)
    truth = found.truth[:, class_id]
    share = np.mean(truth[truth != IGNORE] == 1) if (truth != IGNORE).any() else None
    if share:
        metrics = always.per_class()[class_id]
        assert metrics["recall"] == 1
        assert metrics["precision"] == metrics["average_precision"] == pytest.approx(share)
    others = [m for k, m in enumerate(always.per_class()) if k != class_id]
    assert {m["recall"] for m in others} <= {0.0, None}


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        Presence(np.zeros((2, 3), np.uint8), np.zeros((2, 4), np.float32))
