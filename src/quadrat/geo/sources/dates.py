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
    """A date of an image: its name, and its text in paths and at the start of STAC datetimes."""

    name: str | None
    """None for an image without dates."""
    text: str

    def path(self, path: str) -> str:
        """Return the path of this date."""
        return path.replace(PLACE, self.text)


def listed(dates: Sequence[str] | Mapping[str, str] | None) -> tuple[Date, ...]:
    """Return the dates of a catalog in order; for None, the single date of an image without dates."""
    if dates is None:
        return (Date(None, ""),)
    return tuple(Date(name, dates[name] if isinstance(dates, Mapping) else name) for name in dates)


def times(names: Sequence[str]) -> NDArray[Any]:
    """Return the dates as datetime64 (UTC) if all names are dates or times in ISO 8601; else the names."""
    try:
        found = [datetime.fromisoformat(name) for name in names]
    except ValueError:
        return np.array(names)
    naive = [time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time for time in found]
    return np.array(naive, "datetime64[us]").astype("datetime64[ns]")
