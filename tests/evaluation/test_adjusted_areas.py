"""Areas adjusted for a map's errors are those of the paper, and their intervals hold the true areas."""

import numpy as np
import pytest

from quadrat.evaluation.adjusted_areas import Estimate, adjusted, lacking
from quadrat.evaluation.areas import Areas

NAMES = ("deforestation", "forest gain", "stable forest", "stable non-forest")

PAPER = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
"""Table 8 of Olofsson et al. (2014): sampled pixels by the class of the map (row) and of the reference (column)."""

MAPPED = np.array([200_000.0, 150_000, 3_200_000, 6_450_000])
"""Pixels of each class of that map, of 0.09 ha."""


def test_the_areas_and_intervals_are_those_of_the_paper() -> None:
    found = adjusted(PAPER.T, 0.09 * MAPPED)
    assert found is not None
    assert np.round(found.areas).tolist() == [21_158, 11_686, 285_770, 581_386]  # section 5.2, hectares
    assert np.round(found.margins).tolist() == [6_158, 3_756, 15_510, 16_282]
    pixels = adjusted(PAPER.T, MAPPED)
    assert pixels is not None
    assert (round(pixels.areas[0]), round(pixels.margins[0])) == (235_086, 68_418)


@pytest.mark.parametrize("design", ["random", "stratified"])
def test_intervals_hold_the_true_area_in_95_of_100_samples(design: str) -> None:
    generator = np.random.default_rng(3)
    ground = generator.choice(3, 40_000, p=[0.1, 0.3, 0.6])  # the true class of each pixel
    mapped = np.where(generator.random(ground.size) < 0.2, generator.integers(0, 3, ground.size), ground)
    sizes, truth = np.bincount(mapped), np.bincount(ground)
    held = []
    for _ in range(300):
        if design == "random":
            sample = generator.integers(0, ground.size, 600)
        else:
            sample = np.concatenate([generator.choice(np.flatnonzero(mapped == n), 200) for n in range(3)])
        counts = np.zeros((3, 3), np.int64)
        np.add.at(counts, (ground[sample], mapped[sample]), 1)
        found = adjusted(counts, sizes.astype(float))
        assert found is not None
        held.append(np.abs(found.areas - truth) <= found.margins)
    assert 0.92 < np.mean(held) < 0.98


def test_a_class_that_is_not_on_the_map_needs_no_sample() -> None:
    counts = np.array([[8, 1, 0], [2, 9, 0], [0, 3, 0]])
    found = adjusted(counts, np.array([10.0, 20, 0]))
    assert found is not None
    assert found.areas.sum() == pytest.approx(30)
    assert found.areas[2] == pytest.approx(20 * 3 / 13)  # by the share of samples of the second class


def test_too_few_samples_of_a_class_on_the_map_give_no_area() -> None:
    counts = np.array([[8, 1], [2, 0]])
    assert adjusted(counts, np.array([10.0, 20])) is None
    assert lacking(counts, np.array([10.0, 20])) == [1]
    assert adjusted(np.zeros((2, 2), np.int64), np.zeros(2)) is None


def areas(*hectares: float) -> Areas:
    return Areas(np.ones(len(hectares), np.int64), np.array(hectares))


def test_an_estimate_says_why_it_has_no_interval() -> None:
    halves = [areas(*(0.045 * MAPPED))] * 2
    without = Estimate.of(None, PAPER.T, halves, NAMES)
    assert "no design" in without.sentence
    assert without.written(NAMES) == {}
    assert Estimate.of("random", PAPER.T, [areas(*[np.nan] * 4)], NAMES).sentence.endswith("no place on Earth.")
    few = PAPER.copy()
    few[1] = [0, 1, 0, 0]
    assert "predicted as forest gain" in Estimate.of("random", few.T, halves, NAMES).sentence
    given = Estimate.of("stratified", PAPER.T, halves, NAMES)
    written = given.written(NAMES)["deforestation"]
    assert list(written) == ["mapped", "adjusted", "low", "high"]
    assert list(written.values()) == pytest.approx([18_000, 21_157.76, 15_000.13, 27_315.40])
    assert given.sentence == "Of 640 labelled pixels as a stratified random sample, as the catalog says."
