"""Areas of classes from a map and a sample of labels, adjusted for the map's errors, with their intervals.

After Olofsson et al. (2014), "Good practices for estimating area and assessing accuracy of land change", Remote Sensing
of Environment 148, section 4: the strata are the classes of the map. For a simple random sample the same estimator is
that of poststratification.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.evaluation.areas import Areas
from quadrat.tasks.common.metrics import shortened

NORMAL = 1.96
"""Half of a 95 % interval, in standard errors, as the paper has it."""

FEWEST = 2
"""Fewest samples of a class of the map."""

KINDS = {"random": "simple random", "stratified": "stratified random"}
"""Names of the designs."""


@dataclass(frozen=True)
class AdjustedAreas:
    """Area of each class (class,), and half of its 95 % interval (class,), in the unit of the mapped areas."""

    areas: NDArray[np.float64]
    margins: NDArray[np.float64]


def lacking(counts: NDArray[np.int64], mapped: NDArray[np.float64]) -> Sequence[int]:
    """Return the classes on the map that have too few samples for ``adjusted``."""
    found: list[int] = np.flatnonzero((mapped > 0) & (counts.sum(0) < FEWEST)).tolist()
    return found


def adjusted(counts: NDArray[np.int64], mapped: NDArray[np.float64]) -> AdjustedAreas | None:
    """Return the adjusted areas; None if a class on the map has fewer than two samples, or nothing is mapped.

    ``counts`` are sampled pixels (true class, predicted class); ``mapped`` is what each predicted class covers
    (class,).
    """
    total = float(mapped.sum())
    if not math.isfinite(total) or total <= 0 or lacking(counts, mapped):
        return None
    there = mapped > 0
    weights, sampled = mapped[there] / total, counts[:, there]
    number = sampled.sum(0)
    shares = weights * sampled / number  # (true class, predicted class) of the ground
    variance = ((weights * shares - shares**2) / (number - 1)).sum(1)
    return AdjustedAreas(shares.sum(1) * total, NORMAL * np.sqrt(variance) * total)


@dataclass(frozen=True)
class Estimate:
    """The areas of all scenes of a split: as mapped, and adjusted where the sample allows it."""

    mapped: NDArray[np.float64]
    """Hectares (class,)."""
    adjusted: AdjustedAreas | None
    sentence: str
    """What the adjusted areas are of, or why there are none."""

    @classmethod
    def of(cls, design: str | None, counts: NDArray[np.int64], areas: Sequence[Areas], names: Sequence[str]) -> Self:
        """Return the estimate for a ``design`` of the catalog, and ``counts`` (true class, predicted class)."""
        mapped = sum(areas, Areas.none(len(names))).hectares
        found = None if design is None else adjusted(counts, mapped)
        if found is not None:
            sentence = f"Of {counts.sum():,} labelled pixels as a {KINDS[str(design)]} sample, as the catalog says."
        elif design is None:
            sentence = "Without intervals: the catalog has no design, which says how the labels were sampled."
        elif not np.isfinite(mapped).all():
            sentence = "Without intervals: the map has no place on Earth."
        else:
            few = ", ".join(names[number] for number in lacking(counts, mapped)) or "any class"
            sentence = f"Without intervals: fewer than {FEWEST} labelled pixels are predicted as {few}."
        return cls(mapped, found, sentence)

    def written(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the adjusted areas as JSON has them, in hectares, by class; ``names`` are those of the classes."""
        if self.adjusted is None:
            return {}
        rows = zip(names, self.mapped, self.adjusted.areas, self.adjusted.margins, strict=True)
        return {
            name: {
                "mapped": shortened(float(mapped)),
                "adjusted": shortened(float(area)),
                "low": shortened(max(float(area - margin), 0.0)),
                "high": shortened(float(area + margin)),
            }
            for name, mapped, area, margin in rows
        }
