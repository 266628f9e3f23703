"""The curves of the training, as the stage train wrote them."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ModelError


@dataclass(frozen=True, eq=False)
class Training:
    """Columns of ``training.csv`` by name (epoch,), NaN where empty, and the epoch whose weights were kept."""

    columns: Mapping[str, NDArray[np.float64]]
    kept: int | None

    @classmethod
    def read(cls, curves: Path, metrics: Path) -> Self | None:
        """Return the training; None where there is no file, or a model without epochs.

        Raises ModelError for a file that can't be read.
        """
        if not curves.exists():
            return None
        try:
            with curves.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            kept = json.loads(metrics.read_text(encoding="utf-8"))["model"].get("epoch") if metrics.exists() else None
            names = list(rows[0]) if rows else []
            columns = {name: np.array([float(row[name] or math.nan) for row in rows]) for name in names}
        except (OSError, ValueError, LookupError, TypeError) as error:
            problem = "the curves of the training can't be read"
            raise ModelError(problem, file=curves, got=error, hint="run the stage 'train'") from error
        return cls(columns, kept) if len(rows) > 1 else None

    def points(self, name: str) -> NDArray[np.float64]:
        """Return epochs with a column's values (point, 2), where it has one."""
        pairs = np.column_stack([self.columns["epoch"], self.columns[name]])
        known: NDArray[np.float64] = pairs[np.isfinite(pairs).all(1)]
        return known
