"""Intervals of metrics by the spatial block bootstrap: blocks of the scored ground are drawn with replacement.

Errors of neighbouring pixels are alike, so pixels are no independent samples; blocks wider than the distance over which
errors correlate nearly are (Lahiri 2003). Percentiles are widened for few blocks after Hesterberg (2015), "What
teachers should know about the bootstrap".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from quadrat.evaluation.correlation import Scored, correlation_range
from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.metrics import Counts, Sampled, shortened

LEVEL = 0.95
"""Share of samples in which an interval holds the true value."""

FEWEST = 8
"""Fewest blocks for an interval."""

DEFINED = 0.9
"""Smallest share of draws in which a metric must be defined for an interval."""

WIDER = 3
"""Side of a block, in distances over which errors correlate: from simulated maps."""

MANY_SCENES = 30
"""Number of scenes from which each scene is a block."""

Bounds = dict[str, tuple[float, float] | None]
"""Lower and upper bound of each metric; None if there is no interval."""

COUNTED = {"support", "detections", "unpredicted"}
"""Metrics that say how much was scored, not how well."""


class Intervals(Section):
    """How the intervals of metrics are made."""

    block: float | None = Field(default=None, gt=0)
    """Side of the blocks, m on the ground (px for images without a place); null: three times the distance over which
    errors correlate."""
    draws: int = Field(default=1000, ge=200, le=100_000)
    """Number of times that blocks are drawn."""


@dataclass(frozen=True)
class Plan:
    """The blocks that are drawn: their places, their counts by the prediction's name, and what they are."""

    places: Sequence[str]
    blocks: Sequence[Mapping[str, Counts]]
    about: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        """What the blocks are, or why there are too few of them, in words."""
        about, count = self.about, len(self.blocks)
        if not count:
            return "nothing was scored"
        what = "scenes"
        if "block" in about:
            correlates = about["correlation"]
            known = "" if correlates is None else f", errors correlate over {correlates:g} {about['unit']}"
            what = f"blocks of {about['block']:g} {about['unit']}{known}"
        return f"{count} {what}" + ("" if count >= FEWEST else f"; an interval needs {FEWEST}")


def scenes_are_blocks(count: int, settings: Intervals) -> bool:
    """Return whether each of ``count`` scenes is a block: of many, if no side of blocks is given."""
    return count >= MANY_SCENES and settings.block is None


def plan(scenes: Sequence[Scored], settings: Intervals) -> Plan:
    """Return the blocks of ``scenes``: whole scenes where there are many, else squares.

    The squares are of a side that is given, or of WIDER times the distance over which errors of the model, the first
    prediction, correlate.
    """
    scenes = [scene for scene in scenes if any(scene.counts.values())]
    model = next(iter(scenes[0].counts)) if scenes else ""
    if not any(counts.wrong()[1] for scene in scenes for counts in scene.counts[model].values()):
        return Plan([], [], {})
    if scenes_are_blocks(len(scenes), settings):
        return Plan(*_merged(scenes, [scene.blocks.shape for scene in scenes]), {})
    unit = "m" if all(scene.pixel for scene in scenes) else "px"
    longest = correlation_range(scenes, model, unit)
    finest = max(max(scene.sides(unit)) for scene in scenes)
    farthest = max(max(scene.extent(unit)) for scene in scenes)
    side = settings.block or (farthest if longest is None else WIDER * max(longest, finest))
    steps = [_steps(side, scene.sides(unit)) for scene in scenes]
    sides = [max(np.multiply(step, scene.sides(unit)).tolist()) for scene, step in zip(scenes, steps, strict=True)]
    shown = {"correlation": None if longest is None else float(f"{longest:.4g}"), "block": float(f"{max(sides):.4g}")}
    return Plan(*_merged(scenes, steps), {**shown, "unit": unit})


def _steps(side: float, of: tuple[float, float]) -> tuple[int, int]:
    """Return how many fine blocks, of height and width ``of``, make one of ``side``: rows, columns."""
    height, width = of
    return max(1, round(side / height)), max(1, round(side / width))


def _merged(scenes: Sequence[Scored], steps: Sequence[tuple[int, int]]) -> tuple[list[str], list[Mapping[str, Counts]]]:
    pairs = [pair for scene, step in zip(scenes, steps, strict=True) for pair in scene.merged(step)]
    return [place for place, _ in pairs], [counts for _, counts in pairs]


@dataclass(frozen=True)
class Bounded:
    """Intervals of the metrics over the classes, and of each class."""

    overall: Bounds
    classes: Sequence[Bounds]

    @classmethod
    def of(cls, metrics: Sampled, blocks: int) -> "Bounded":
        """Return the intervals of ``metrics`` of draws of ``blocks`` blocks."""
        overall, *classes = (
            {name: interval(values, blocks) for name, values in each.items() if name not in COUNTED}
            for each in (metrics.overall, *metrics.classes)
        )
        return cls(overall, classes)


@dataclass(frozen=True)
class Spread:
    """The intervals of each prediction's metrics, and of the model's gains over the others, by name."""

    plan: Plan | None
    predictions: Mapping[str, Bounded]
    gains: Mapping[str, Bounded]
    drawn: Mapping[str, Any]
    """The model's headline metric in each draw, separated by spaces, and the hash of what was drawn."""

    @classmethod
    def of(cls, scenes: Sequence[Scored], settings: Intervals | None, seed: int, metric: str) -> "Spread":
        """Return the intervals of the predictions of ``scenes``; none for ``settings`` None or too few blocks.

        The first prediction is the model. All are drawn from the same blocks in the same draws, so the intervals of
        gains are of pairs.
        """
        chosen = None if settings is None else plan(scenes, settings)
        if settings is None or chosen is None or len(chosen.blocks) < FEWEST:
            return cls(chosen, {}, {}, {})
        count = len(chosen.blocks)
        times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), settings.draws)
        parts = {name: [block[name] for block in chosen.blocks] for name in chosen.blocks[0]}
        drawn = {name: type(some[0]).resampled(some, times) for name, some in parts.items()}
        (_, model), *others = drawn.items()
        return cls(
            chosen,
            {name: Bounded.of(each, count) for name, each in drawn.items()},
            {name: Bounded.of(model - other, count) for name, other in others},
            {
                "metric": metric,
                "from": _hash(chosen.places, times),
                "values": " ".join(f"{value:.4f}" for value in model.overall[metric].tolist()),
            },
        )

    def written(self, names: Sequence[str]) -> dict[str, Any]:
        """Return it as JSON has it; ``names`` are those of the classes."""
        about = {} if self.plan is None else {"level": LEVEL, "blocks": len(self.plan.blocks), **self.plan.about}
        bounded = {"predictions": self.predictions, "gains": self.gains}
        return (
            about
            | {
                key: {
                    name: {"overall": each.overall, "classes": dict(zip(names, each.classes, strict=True))}
                    for name, each in some.items()
                }
                for key, some in bounded.items()
            }
            | {"drawn": self.drawn}
        )


def interval(values: NDArray[np.float64], blocks: int) -> tuple[float, float] | None:
    """Return the interval of a metric from its ``values`` in each draw (draw,) of ``blocks`` blocks.

    None if the metric is undefined in many draws.
    """
    from scipy import special

    known = values[~np.isnan(values)]
    if len(known) < DEFINED * len(values):
        return None
    wide = math.sqrt(blocks / (blocks - 1)) * special.stdtrit(blocks - 1, (1 + LEVEL) / 2)
    tail = special.ndtr(-wide)
    low, high = np.quantile(known, [tail, 1 - tail])
    return shortened(float(low)), shortened(float(high))


def _hash(places: Sequence[str], times: NDArray[np.int64]) -> str:
    """Return a hash of what was drawn: draws of another model with this hash are of the same ground."""
    return sha256("\n".join(places).encode() + times.tobytes()).hexdigest()[:16]
