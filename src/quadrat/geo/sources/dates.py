"""Dates of a time series, and their texts in paths and STAC items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLACE = "{date}"
"""The placeholder of dates in paths."""


@dataclass(frozen=True)
class Date:
    """A date of an image: its name, and the text that stands for it in paths and begins the times of STAC items."""

    name: str | None
    """None is that of an image without dates."""
    text: str

    def path(self, path: str) -> str:
        """Return the path of this date."""
        return path.replace(PLACE, self.text)


def listed(dates: Sequence[str] | Mapping[str, str] | None) -> tuple[Date, ...]:
    """Return the dates that a catalog names, in its order; the one of an image without dates for None."""
    if dates is None:
        return (Date(None, ""),)
    return tuple(Date(name, dates[name] if isinstance(dates, Mapping) else name) for name in dates)


def times(names: Sequence[str]) -> NDArray[Any]:
    """Return when the dates are (datetime64, UTC), where each name is a date or time of ISO 8601; else the names."""
    try:
        found = [datetime.fromisoformat(name) for name in names]
    except ValueError:
        return np.array(names)
    naive = [time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time for time in found]
    return np.array(naive, "datetime64[us]").astype("datetime64[ns]")
