"""Matching is COCO's, box by box."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.object_detection.scoring.counts import confusion
from quadrat.tasks.object_detection.targets.matching import Seen, matched
from tests.tasks.boxes.scenes import drawn, inside, iou, seen


def naive(image: Seen, least: float) -> tuple[list[int], list[bool]]:
    """Match detection by detection, by falling score, equal ones in their order."""
    found, absorbed = [-1] * len(image.found), [False] * len(image.found)
    for n in sorted(range(len(image.found)), key=lambda n: -image.found.scores[n]):
        best, place = 0.0, -1
        for t, box in enumerate(image.truth):
            value = iou(image.found.boxes[n], box)
            if image.class_ids[t] == image.found.class_ids[n] and t not in found and value >= least and value > best:
                best, place = value, t
        found[n] = place
        shares = [
            inside(image.found.boxes[n], b) for b, i in zip(image.truth, image.class_ids, strict=True) if i == IGNORE
        ]
        absorbed[n] = place < 0 and any(share >= least for share in shares)
    return found, absorbed


def naive_confusion(image: Seen, classes: int, least: float) -> np.ndarray:
    matrix = np.zeros((classes + 1, classes + 1), int)
    found, absorbed = naive(image, least)
    missed = [t for t in range(len(image.truth)) if image.class_ids[t] != IGNORE and t not in found]
    for n in sorted(range(len(found)), key=lambda n: -image.found.scores[n]):
        row = image.class_ids[found[n]] if found[n] >= 0 else classes
        if found[n] < 0 and not absorbed[n]:
            values = [iou(image.found.boxes[n], image.truth[t]) for t in missed]
            if values and max(values) >= least:
                row = image.class_ids[missed.pop(int(np.argmax(values)))]
        if not absorbed[n]:
            matrix[row, image.found.class_ids[n]] += 1
    for t in missed:
        matrix[image.class_ids[t], classes] += 1
    return matrix


@given(st.integers(0, 99_999), st.integers(0, 25), st.sampled_from([0.1, 0.5, 0.75, 1.0]))
def test_matching_is_that_of_a_naive_loop(seed: int, count: int, least: float) -> None:
    image = drawn(seed, count, side=20)
    matches = matched(image, least)
    found, absorbed = naive(image, least)
    np.testing.assert_array_equal(matches.truth, found)
    np.testing.assert_array_equal(matches.absorbed, absorbed)


@given(st.integers(0, 99_999), st.integers(0, 25), st.sampled_from([0.3, 0.5]))
def test_confusion_is_the_naive_loop(seed: int, count: int, least: float) -> None:
    image = drawn(seed, count, side=20)
    matrix = confusion(image, 3, least)
    np.testing.assert_array_equal(matrix, naive_confusion(image, 3, least))
    counted = image.class_ids[image.class_ids != IGNORE]
    np.testing.assert_array_equal(matrix[:-1].sum(1), np.bincount(counted, minlength=3))
    assert matrix[:, :-1].sum() == len(image.found) - matched(image, least).absorbed.sum()


def test_a_better_box_of_another_class_takes_no_match() -> None:
    image = seen([(0, 0, 10, 10, 0)], [(0, 0, 10, 10, 1, 0.9), (0, 0, 10, 8, 0, 0.6)])
    np.testing.assert_array_equal(matched(image, 0.5).truth, [-1, 0])
    np.testing.assert_array_equal(confusion(image, 2, 0.5), [[1, 0, 0], [0, 0, 0], [0, 1, 0]])


def test_unmatched_boxes_count_as_confused_or_missed() -> None:
    image = seen([(0, 0, 10, 10, 0), (50, 50, 60, 60, 1)], [(0, 0, 10, 9, 1, 0.9), (90, 90, 99, 99, 0, 0.8)])
    np.testing.assert_array_equal(confusion(image, 2, 0.5), [[0, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_a_box_is_found_once_by_the_best_score() -> None:
    image = seen([(0, 0, 10, 10, 0)], [(0, 0, 10, 10, 0, 0.6), (0, 0, 10, 8, 0, 0.9)])
    np.testing.assert_array_equal(matched(image, 0.5).truth, [-1, 0])


def test_of_two_that_are_alike_each_is_found_once() -> None:
    image = seen([(0, 0, 10, 10, 0)] * 2, [(0, 0, 10, 10, 0, 0.9)] * 3)
    np.testing.assert_array_equal(matched(image, 0.5).truth, [0, 1, -1])


def test_an_ignored_box_absorbs_but_takes_nothing_from_others() -> None:
    image = seen(
        [(0, 0, 100, 100, IGNORE), (0, 0, 10, 10, 0)],
        [(0, 0, 10, 10, 0, 0.3), (40, 40, 50, 50, 0, 0.9), (95, 0, 110, 10, 1, 0.8), (90, 90, 105, 100, 1, 0.7)],
    )
    matches = matched(image, 0.5)
    np.testing.assert_array_equal(matches.truth, [1, -1, -1, -1])
    np.testing.assert_array_equal(matches.absorbed, [False, True, False, True])
