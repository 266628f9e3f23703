"""A change of the score is compared with its noise: of pairs on the same ground, else of independent scores."""

import math
from dataclasses import replace

import numpy as np
import pytest

from quadrat.team.noise import Score, read_score, verdict

DRAWN = np.random.default_rng(1).normal(0.6, 0.02, 1000)
BEFORE = Score("macro_f1", 0.6, 0.56, 0.64, 30, "one", tuple(DRAWN))


def after(change: float, ground: str = "one") -> Score:
    shift = DRAWN + change + np.random.default_rng(2).normal(0, 0.001, 1000)
    return Score("macro_f1", 0.6 + change, 0.56 + change, 0.64 + change, 30, ground, tuple(shift))


def test_a_small_change_everywhere_is_larger_than_the_noise_of_pairs() -> None:
    told = verdict(BEFORE, after(0.01))
    assert told
    assert told.startswith("The change of macro f1 is **larger than the noise**: +0.010, 95 % interval +0.00")
    assert told.endswith("on the same ground.")


def test_on_other_ground_it_is_within_the_noise_of_both() -> None:
    told = verdict(BEFORE, after(0.01, "other"))
    half = math.hypot(0.04, 0.04)
    assert told
    assert f"**within the noise**: +0.010, 95 % interval {0.01 - half:+.3f} to {0.01 + half:+.3f}" in told


def test_other_metrics_and_missing_intervals_are_not_compared() -> None:
    assert verdict(BEFORE, replace(after(0.1), metric="map50")) is None
    assert verdict(None, BEFORE) is None
    assert read_score("", "") is None
    assert read_score('{"Test": {"macro_f1": 0.5, "low": null, "high": null}}', '{"drawn": {}}') is None


def test_a_score_is_what_eval_writes() -> None:
    drawn = '"drawn": {"metric": "r2", "from": "x", "values": "0.1000 nan"}'
    found = read_score('{"Test": {"r2": 0.5, "low": 0.4, "high": 0.6}}', f'{{"blocks": 9, {drawn}}}')
    assert found
    assert found.drawn[0] == pytest.approx(0.1)
    assert math.isnan(found.drawn[1])
    assert (found.metric, found.value, found.low, found.high, found.blocks) == ("r2", 0.5, 0.4, 0.6, 9)
