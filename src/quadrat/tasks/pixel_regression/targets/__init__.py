"""Targets of pixel regression: a value for every pixel."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.windows import Window
from quadrat.tasks.common.targets import Target, TaskTargets
from quadrat.tasks.pixel_regression.section import PixelRegression

if TYPE_CHECKING:
    import torch

    from quadrat.labels.labels import Labels


class Targets(TaskTargets[PixelRegression]):
    """Targets are ``values`` (y, x): float32, NaN where unlabelled or not counted."""

    @property
    def reach(self) -> float:
        """A label belongs to its own pixel only."""
        return 0

    def label_counts(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of pixels (1,) of a strip with a value."""
        return self.class_counts(self.target(labels, window, counted))

    def target(self, labels: "Labels", window: Window, counted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return ``values`` (y, x): float32, NaN where unlabelled or not ``counted``."""
        return {"values": np.where(counted, labels.values(window), np.float32(np.nan))}

    def class_counts(self, target: Target) -> NDArray[np.int64]:
        """Return the number of pixels (1,) of a target with a value."""
        return np.array([np.count_nonzero(~np.isnan(target["values"]))], np.int64)

    def most_labels(self, features: NDArray[Any], selected: NDArray[np.bool_], size: int) -> float:
        """Return the number of px of a chip."""
        return float(size**2)

    def known(self, target: Mapping[str, "torch.Tensor"]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return values (chip, 1, y, x), 0 and 1 at the ends of the range, and where there is a label."""
        low, high = self.task.range
        values = (target["values"][:, None] - low) / (high - low)
        mask = ~values.isnan()
        return values.where(mask, 0), mask

    def unlabelled(self, chips: int, size: int) -> "dict[str, torch.Tensor]":
        """Return ``values`` (chip, y, x), all NaN."""
        import torch

        return {"values": torch.full((chips, size, size), torch.nan)}
