"""Intervals hold the true value as often as they say, and are of whole blocks, paired where they compare."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quadrat.evaluation.correlation import Scored, correlation_range
from quadrat.evaluation.intervals import LEVEL, Intervals, Spread, interval, plan
from quadrat.evaluation.summary import bounded
from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.metrics import Confusion, Counts

QUICK = Intervals(draws=400)


def field(size: int, scale: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return a normal random field (y, x) whose values correlate as exp(-(distance / scale)²)."""
    around = size + math.ceil(4 * scale)  # the transform's field repeats itself
    waves = np.fft.fftfreq(around)[:, None] ** 2 + np.fft.rfftfreq(around)[None] ** 2
    power = np.exp(-((math.pi * scale) ** 2) * waves)
    noise = np.fft.rfft2(generator.standard_normal((around, around)))
    smooth = np.fft.irfft2(noise * np.sqrt(power), (around, around))[:size, :size]
    variance = np.fft.irfft2(power, (around, around))[0, 0]
    found: NDArray[np.float64] = smooth / math.sqrt(variance)
    return found


def scored(
    name: str = "s", width: float | None = 10, side: int = 8, taller: float = 1, **maps: NDArray[np.bool_]
) -> Scored:
    """Return the counts of maps (y, x), True where a prediction is wrong; all is of the first of two classes.

    Pixels are of ``width`` m, and ``taller`` than that.
    """
    (shape,) = {wrong.shape for wrong in maps.values()}
    blocks = Blocks(Window(0, 0, *shape), side)
    parts: dict[str, dict[int, Counts]] = {each: {} for each in maps}
    for number, here in blocks.parts(blocks.area):
        for each, wrong in maps.items():
            lost = int(wrong[here].sum())
            parts[each][number] = Confusion(np.array([[wrong[here].size - lost, lost], [0, 0]]), np.zeros(2, np.int64))
    return Scored(name, blocks, None if width is None else (width * taller, width), parts)


def spread(*scenes: Scored, settings: Intervals | None = QUICK, seed: int = 1) -> Spread:
    return Spread.of(scenes, settings, seed, "accuracy")


def test_on_simulated_maps_they_hold_the_true_value_as_often_as_they_say_and_those_of_pixels_do_not() -> None:
    generator, right = np.random.default_rng(7), 1 - 0.5 * math.erfc(1 / math.sqrt(2))
    held, held_by_pixels = [], []
    for number in range(200):
        wrong = field(160, 5, generator) > 1
        found = spread(scored(model=wrong), seed=number)
        low, high = found.predictions["model"].overall["accuracy"] or (1, 0)
        held.append(low <= right <= high)
        half = 1.96 * math.sqrt(wrong.mean() * (1 - wrong.mean()) / wrong.size)  # what a bootstrap of pixels tends to
        held_by_pixels.append(abs(1 - wrong.mean() - right) <= half)
    assert np.mean(held) == pytest.approx(LEVEL, abs=0.03)
    assert np.mean(held_by_pixels) < 0.5


def test_errors_that_correlate_farther_need_larger_blocks() -> None:
    generator = np.random.default_rng(3)
    ranges = [correlation_range([scored(model=field(256, s, generator) > 1)], "model", "m") for s in (1, 10, 30)]
    assert ranges == sorted(ranges, key=lambda found: found or 0)
    assert ranges[0] == 80  # a block
    assert ranges[1] == pytest.approx(160, abs=80)
    assert ranges[2] == pytest.approx(400, abs=160)


def test_the_correlation_is_that_of_all_pairs_of_blocks() -> None:
    wrong = field(64, 12, np.random.default_rng(5)) > 0.5
    share = wrong.reshape(8, 8, 8, 8).sum((1, 3)) - 64 * wrong.mean()
    sums: dict[int, list[float]] = {}
    for one in np.ndindex(8, 8):
        for other in np.ndindex(8, 8):
            lag = round(math.dist(one, other))
            sums.setdefault(lag, []).append(share[one] * share[other])
    expected = next(lag for lag in sorted(sums) if np.mean(sums[lag]) <= 0.1 * np.mean(sums[0]))
    assert correlation_range([scored(model=wrong)], "model", "px") == 8 * expected


def test_errors_that_correlate_over_the_whole_scene_have_no_interval() -> None:
    slope = np.broadcast_to(np.arange(160) < 80, (160, 160))
    found = spread(scored(model=slope))
    assert found.predictions == {}
    assert found.plan
    assert "an interval needs 8" in found.plan.sentence


def test_a_gain_is_of_pairs() -> None:
    generator = np.random.default_rng(2)
    ours, more = field(320, 4, generator) > 1, generator.random((320, 320)) < 0.02
    found = spread(scored(model=ours, same=ours, forest=ours | more))
    assert found.gains["same"].overall["accuracy"] == (0, 0)
    low, high = found.gains["forest"].overall["accuracy"] or (0, 0)
    assert 0.014 < low < high < 0.02
    apart = [found.predictions[name].overall["accuracy"] or (0, 0) for name in ("model", "forest")]
    assert apart[0][0] < apart[1][1]  # each by itself, the two are not told apart


def test_blocks_have_the_side_that_is_given_on_the_ground_of_each_scene() -> None:
    wrong = np.random.default_rng(1).random((160, 160)) < 0.1
    chosen = plan([scored("a", 10, model=wrong), scored("b", 5, model=wrong)], Intervals(block=400))
    assert len(chosen.blocks) == 16 + 4
    assert chosen.about["block"] == 400
    assert chosen.about["unit"] == "m"
    total = sum((block["model"] for block in chosen.blocks), Confusion.none(2))
    assert total.wrong() == (2 * wrong.sum(), 2 * wrong.size)
    somewhere = plan([scored("a", None, model=wrong), scored("b", 5, model=wrong)], Intervals(block=40))
    assert len(somewhere.blocks) == 16 + 16
    assert somewhere.about["unit"] == "px"


def test_pixels_that_are_taller_than_wide_count_by_their_place_on_the_ground() -> None:
    square = field(320, 20, np.random.default_rng(4)) > 1
    flat = square[::2]  # the same ground, in pixels twice as tall, as in degrees at 60°
    for side, count in ((320, 10), (800, 4)):
        chosen = plan([scored(model=flat, taller=2)], Intervals(block=side))
        assert (len(chosen.blocks), chosen.about["block"]) == (count**2, side)
    square = field(512, 30, np.random.default_rng(1)) > 1
    flat = square[::2]
    whole, same = (
        correlation_range([one], "model", "m") for one in (scored(model=square), scored(model=flat, taller=2))
    )
    assert whole is not None
    assert same is not None
    assert whole <= same <= whole + 160  # the side of a fine block


def test_of_many_scenes_each_is_a_block() -> None:
    wrong = np.random.default_rng(1).random((30, 40, 40)) < 0.1
    scenes = [scored(str(number), model=one) for number, one in enumerate(wrong)]
    assert len(plan(scenes, QUICK).blocks) == 30
    assert plan(scenes, QUICK).sentence == "30 scenes"
    assert len(plan(scenes[:-1], QUICK).blocks) > 30


def test_the_same_seed_gives_the_same_and_says_so() -> None:
    wrong = field(160, 4, np.random.default_rng(1)) > 1

    def written(seed: int, **more: Any) -> Mapping[str, Any]:
        return spread(scored(model=wrong, **more), seed=seed).written(["a", "b"])

    assert written(1) == written(1)
    assert written(1)["drawn"]["from"] != written(2)["drawn"]["from"]
    assert (
        written(1)["predictions"]["model"]["classes"]["a"]["recall"]
        == spread(scored(model=wrong)).predictions["model"].overall["accuracy"]
    )
    assert len(written(1)["drawn"]["values"].split()) == 400


def test_without_settings_or_scores_there_are_none() -> None:
    assert spread(scored(model=np.zeros((80, 80), np.bool_)), settings=None) == Spread(None, {}, {}, {})
    nothing = spread(Scored("s", Blocks.one(Window(0, 0, 9, 9)), (1, 1), {"model": {}}))
    assert nothing.plan
    assert nothing.plan.sentence == "nothing was scored"


def test_pixels_without_a_prediction_are_nothing_that_was_scored() -> None:
    lost = Confusion(np.zeros((2, 2), np.int64), np.array([64, 0]))
    nothing = spread(Scored("s", Blocks(Window(0, 0, 16, 16), 8), (1, 1), {"model": dict.fromkeys(range(4), lost)}))
    assert nothing.predictions == {}
    assert nothing.plan
    assert nothing.plan.sentence == "nothing was scored"


def test_few_blocks_widen_an_interval_as_students_t_does() -> None:
    values = np.random.default_rng(0).standard_normal(200_000)
    for blocks, t in ((8, 2.365), (30, 2.045), (1000, 1.962)):
        low, high = interval(values, blocks) or (0, 0)
        wide = t * math.sqrt(blocks / (blocks - 1))
        assert (low, high) == (pytest.approx(-wide, rel=0.03), pytest.approx(wide, rel=0.03))


def test_a_metric_that_is_often_undefined_has_none() -> None:
    assert interval(np.array([0.5] * 89 + [math.nan] * 11), 30) is None
    assert interval(np.array([0.5] * 90 + [math.nan] * 10), 30) == (0.5, 0.5)


def test_bounds_of_small_errors_are_not_rounded_to_0() -> None:
    bounds = interval(np.linspace(2e-5, 4e-5, 500), 100)
    assert bounds is not None
    assert 1.9e-5 < bounds[0] < 2.2e-5 < 3.8e-5 < bounds[1] < 4.1e-5
    assert bounded(3e-5, bounds) == "3e-05 (2e-05 to 4e-05)"
    assert bounded(0.5, (0.0, 0.625)) == "0.500 (0.00 to 0.62)"
