"""How far probabilities and sets of classes of maps can be trusted: counted while maps are scored, and written."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window
from quadrat.runtime.files import replaced
from quadrat.tasks.common.metrics import known, macro, rounded
from quadrat.tasks.common.outputs import CONFIDENCE, PROMISE, SETS
from quadrat.tasks.common.reliability import BINS, CALIBRATED, PROBABILITIES, UNCALIBRATED, Coverage, Reliability

NO_CONFIDENCE = "Calibration is not measured: predictions have no layer confidence (predict.layers.confidence: true)."


class Stored(Protocol):
    """Predictions with raster layers of several bands, such as ``quadrat.prediction.reader.Prediction``."""

    def stored(self, layer: str, window: Window, bands: Sequence[int]) -> NDArray[np.uint8] | None:
        """Return stored values (band, y, x) of a layer of one of the numbers of ``bands``; None without the layer."""
        ...

    def about(self, layer: str) -> Mapping[str, str]:
        """Return what a layer's file says of itself; nothing without the layer."""
        ...


@dataclass(frozen=True, eq=False)
class Trust:
    """What was counted of maps."""

    reliability: Mapping[str, Reliability]
    """By PROBABILITIES; without those that no map has."""
    coverage: Mapping[float, Coverage]
    """By the promised share of sets that hold the truth."""

    @classmethod
    def none(cls) -> Self:
        """Return counts of nothing."""
        return cls({}, {})

    def __add__(self, other: Self) -> Self:
        """Return both together."""
        return type(self)(_added(self.reliability, other.reliability), _added(self.coverage, other.coverage))

    @property
    def known(self) -> bool:
        """Whether anything was counted."""
        return bool(self.reliability or self.coverage)

    def metrics(self) -> dict[str, Any]:
        """Return what ``metrics/eval.json`` holds of it."""
        errors = {name: one.error for name, one in self.reliability.items()}
        named = {"ece": errors.get(CALIBRATED), "ece_uncalibrated": errors.get(UNCALIBRATED)}
        found: dict[str, Any] = {"calibration": rounded(named)}
        for promised, one in self.coverage.items():
            lowest = known(np.nanmin(one.covered)) if one.held.any() else None
            several = one.sets[2] / max(1, one.sets.sum())
            shares = {"covered": macro(one.covered), "covered_lowest": lowest, "several": float(several)}
            found["sets"] = rounded({"promised": promised, **shares})
        return found

    def sentence(self, names: Sequence[str]) -> str:
        """Return the errors of probabilities, and how often sets hold the truth, in words."""
        found = self.metrics()
        after, before = found["calibration"].values()
        if after is None:
            return NO_CONFIDENCE
        once = "" if before is None else f", {before:.3f} before it was calibrated"
        lines = [f"Probabilities are off by {after:.3f} (expected calibration error{once})."]
        for promised, one in self.coverage.items():
            sets = found["sets"]
            if sets["covered"] is None:
                continue
            lines.append(
                f"Sets of classes hold the truth in {sets['covered']:.1%} of a class's pixels; {promised:.0%} were "
                f"promised, and {names[int(np.nanargmin(one.covered))]} has the fewest, {sets['covered_lowest']:.1%}; "
                f"{sets['several']:.0%} have several classes."
            )
        return " ".join(lines)

    def write(self, path: Path) -> None:
        """Write the bins: the middle of their probabilities, and how often predictions are correct."""
        shown = {name: one.bins() for name, one in self.reliability.items()}
        with replaced(path, synced=True) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            counts = [f"{name}_count" for name in PROBABILITIES]
            writer.writerow(["probability", "ideal", *PROBABILITIES, *counts])
            for number in range(BINS if shown else 0):
                middle = round((number + 0.5) / BINS, 4)
                bins = [shown[name][number] if name in shown else (0, np.nan, np.nan) for name in PROBABILITIES]
                correct = ["" if np.isnan(one[2]) else round(float(one[2]), 4) for one in bins]
                writer.writerow([middle, middle, *correct, *(int(one[0]) for one in bins)])


class Counter:
    """Counts a map's layers ``confidence`` and ``sets`` where it is scored; scoring calls it for each window."""

    def __init__(self, prediction: Stored, classes: int) -> None:
        """Read the layers of ``prediction``, if it has them."""
        self._prediction, self._classes = prediction, classes
        self._promise = prediction.about(SETS).get(PROMISE)
        self.found = Trust.none()

    def __call__(self, window: Window, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Count the pixels that have a label, ``truth`` (y, x), and a class, ``predicted`` (y, x)."""
        confidence = self._prediction.stored("confidence", window, (1, len(CONFIDENCE)))
        if confidence is not None:
            counted = Reliability.of_maps(confidence, truth, predicted)
            self.found += Trust(dict(zip(PROBABILITIES, counted, strict=False)), {})
        if self._promise is not None:
            sets = self._prediction.stored(SETS, window, (self._classes + 1,))
            assert sets is not None
            here = (truth != IGNORE) & (predicted != IGNORE)
            coverage = Coverage.of(truth[here], sets[:-1, here] == 1)
            self.found += Trust({}, {float(self._promise): coverage})


def _added(some: Mapping[Any, Any], others: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the sums of both by key."""
    return {
        key: some[key] + others[key] if key in some and key in others else some.get(key, others.get(key))
        for key in (*some, *(key for key in others if key not in some))
    }
