"""Polygons are matched as a naive loop over shapely's geometries matches them, greedily by score."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from quadrat.tasks.common.polygons import FOUND, PolygonCounts, Polygons, counts, matched


def drawn(seed: int, count: int, near: np.ndarray | None = None) -> Polygons:
    """Return rotated rectangles in a small area, or such rectangles near others'."""
    generator = np.random.default_rng(seed)
    middles = (
        generator.uniform(0, 40, (count, 2)) if near is None else near[:count] + generator.normal(0, 1, (count, 2))
    )
    shapes = []
    for x, y in middles:
        width, height = generator.uniform(4, 9, 2)
        turned = shapely.affinity.rotate(
            shapely.box(-width / 2, -height / 2, width / 2, height / 2), generator.uniform(0, 90)
        )
        shapes.append(shapely.affinity.translate(turned, x, y))
    classes = generator.choice([0, 0, 1, 255], count).astype(np.uint8)
    return Polygons(np.array(shapes, object), classes)


def middles(polygons: Polygons) -> np.ndarray:
    return shapely.get_coordinates(shapely.centroid(polygons.geometry))


def naive(truth: Polygons, predicted: Polygons, scores: np.ndarray) -> PolygonCounts:
    free = [n for n in range(len(truth.class_ids)) if truth.class_ids[n] != 255]
    found, false = 0, 0
    for number in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
        shape, own = predicted.geometry[number], predicted.class_ids[number]
        if own == 255:
            continue
        best, overlap = -1, 0.0
        for label in free:
            other = truth.geometry[label]
            iou = shape.intersection(other).area / shape.union(other).area
            if truth.class_ids[label] == own and iou >= FOUND and iou > overlap:
                best, overlap = label, iou
        if best >= 0:
            free.remove(best)
            found += 1
        elif not any(
            shape.intersection(truth.geometry[n]).area >= 0.5 * shape.area
            for n in range(len(truth.class_ids))
            if truth.class_ids[n] == 255
        ):
            false += 1
    return PolygonCounts(found, found + false, int((truth.class_ids != 255).sum()))


@given(st.integers(0, 10_000))
def test_counts_are_those_of_a_naive_loop(seed: int) -> None:
    truth = drawn(seed, 14)
    predicted = drawn(seed + 1, 14, middles(truth))
    scores = np.random.default_rng(seed).integers(0, 5, 14) / 4
    assert counts(truth, predicted, scores) == naive(truth, predicted, scores)


def test_a_label_is_found_once_by_the_best_score() -> None:
    label = Polygons(np.array([shapely.box(0, 0, 10, 10)], object), np.zeros(1, np.uint8))
    two = Polygons(np.array([shapely.box(0, 0, 10, 10), shapely.box(0, 0, 10, 8)], object), np.zeros(2, np.uint8))
    assert matched(label, two, np.array([0.4, 0.9])).tolist() == [-1, 0]
    assert matched(label, two, np.array([0.9, 0.9])).tolist() == [0, -1]
    found = counts(label, two, np.array([0.4, 0.9]))
    assert found == PolygonCounts(1, 2, 1)
    assert (found + found).metrics() == {"f1": pytest.approx(2 / 3), "precision": 0.5, "recall": 1.0, "support": 2}


def test_triangles_are_no_boxes() -> None:
    label = Polygons(np.array([shapely.Polygon([(0, 0), (10, 0), (0, 10)])], object), np.zeros(1, np.uint8))
    other = Polygons(np.array([shapely.Polygon([(10, 10), (10, 0), (0, 10)])], object), np.zeros(1, np.uint8))
    assert counts(label, other, np.ones(1)) == PolygonCounts(0, 1, 1)  # their upright boxes are the same


def test_of_nothing_all_is_undefined() -> None:
    none = Polygons(np.empty(0, object), np.empty(0, np.uint8))
    assert counts(none, none, np.empty(0)).metrics() == {"f1": None, "precision": None, "recall": None, "support": 0}
