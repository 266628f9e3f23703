"""Whether a change of the score is larger than its noise."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from quadrat.evaluation.intervals import interval
from quadrat.runtime.formats.markdown import escaped


@dataclass(frozen=True)
class Score:
    """The score of a state of the project: its metric, value and interval, and its values in each draw of blocks."""

    metric: str
    value: float
    low: float
    high: float
    blocks: int
    ground: str
    """The hash of what was drawn."""
    drawn: tuple[float, ...]

    @classmethod
    def of(cls, metrics: Mapping[str, Any], intervals: Mapping[str, Any]) -> Self | None:
        """Return the score that ``metrics/eval.json`` and ``metrics/intervals.json`` hold; None without an interval."""
        score, drawn = metrics.get("Test") or metrics.get("Validation") or {}, intervals.get("drawn") or {}
        metric = drawn.get("metric")
        if metric is None or None in {score.get(key) for key in (metric, "low", "high")}:
            return None
        values = tuple(map(float, drawn["values"].split()))
        return cls(metric, score[metric], score["low"], score["high"], intervals["blocks"], drawn["from"], values)


def verdict(before: Score | None, after: Score | None) -> str | None:
    """Return a sentence about the change between two scores; None where there is nothing to compare.

    Scores on the same ground are compared block by block; others as independent ones (Zou and Donner 2008).
    """
    if before is None or after is None or before.metric != after.metric:
        return None
    change = after.value - before.value
    how = "on the same ground"
    found = None
    if before.ground == after.ground:
        found = interval(np.array(after.drawn) - np.array(before.drawn), after.blocks)
    if found is None:
        how = "as if on different ground: the blocks are not the same"
        less = math.hypot(after.value - after.low, before.high - before.value)
        more = math.hypot(after.high - after.value, before.value - before.low)
        found = change - less, change + more
    low, high = found
    size = "within the noise" if low <= 0 <= high else "larger than the noise"
    bounds = f"95 % interval {low:+.3f} to {high:+.3f}"
    return f"The change of {escaped(after.metric.replace('_', ' '))} is **{size}**: {change:+.3f}, {bounds}, {how}."


def read_score(metrics: str, intervals: str) -> Score | None:
    """Return the score from the texts of the two files; empty texts are of files that are missing."""
    return Score.of(json.loads(metrics or "{}"), json.loads(intervals or "{}"))
