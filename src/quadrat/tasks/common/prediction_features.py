"""Reads and checks the fields of predicted features, which other programs may have made."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import PredictionError
from quadrat.tasks.common.outputs import Features

HINT = "correct the file, or run the stage 'predict' again if it wrote it"

MOST_TOLD = 10
"""Largest number of values in an error."""

ROUNDING = 1e-6
"""Tolerance of scores below 0 and above 1."""


def class_ids(features: Features, names: Sequence[str]) -> NDArray[np.uint8]:
    """Return the class id of each feature (n,), by the field ``class``, ``class_id``, or both, which must agree.

    Raises PredictionError if there is neither, or they name other classes than ``names``. No features need no field:
    GeoJSON has none then.
    """
    if not len(features.geometry):
        return np.empty(0, np.uint8)
    ids = [read(features, names) for field, read in FIELDS.items() if field in features.fields]
    if not ids:
        raise unlike(features, "the predictions have no class", "a field class, or class_id", features.fields)
    if len(ids) > 1 and (ids[0] != ids[1]).any():
        first = int(np.argmax(ids[0] != ids[1]))
        got = f"class {names[ids[0][first]]}, class_id {ids[1][first]}"
        expected = ", ".join(f"{number}: {name}" for number, name in enumerate(names))
        raise unlike(features, "the predictions' fields class and class_id disagree", expected, [got])
    return ids[0]


def scores(features: Features, field: str) -> NDArray[np.float32]:
    """Return the scores (n,) in a field; raise PredictionError if it is missing, or scores are not from 0 to 1."""
    values = _values(features, field)
    if not values.size:
        return np.empty(0, np.float32)
    if values.dtype.kind not in "fiu":
        raise unlike(features, f"the field {field} of the predictions does not hold numbers", "0 to 1", [values.dtype])
    wrong = ~((values >= -ROUNDING) & (values <= 1 + ROUNDING))  # NaN, too
    if wrong.any():
        raise unlike(features, f"the predictions have wrong scores in the field {field}", "0 to 1", values[wrong])
    return values.clip(0, 1).astype(np.float32)


def unlike(features: Features, problem: str, expected: str, got: Collection[Any]) -> PredictionError:
    """Return the error for features that differ from ``expected``, with the first few values."""
    some = [*map(str, got)]
    more = [f"and {len(some) - MOST_TOLD} more"] if len(some) > MOST_TOLD else []
    return PredictionError(
        problem, file=features.file, expected=expected, got=", ".join(some[:MOST_TOLD] + more) or "none", hint=HINT
    )


def _by_name(features: Features, names: Sequence[str]) -> NDArray[np.uint8]:
    found, places = np.unique(_values(features, "class").astype(str), return_inverse=True)
    unknown = [name for name in found.tolist() if name not in names]
    if unknown:
        raise unlike(features, "the predictions are of other classes", ", ".join(names), unknown)
    return np.array([names.index(name) for name in found.tolist()], np.uint8)[places]


def _by_number(features: Features, names: Sequence[str]) -> NDArray[np.uint8]:
    values = _values(features, "class_id")
    if values.dtype.kind in "fiu":
        wrong = ~np.isin(values, np.arange(len(names)))
        if not wrong.any():
            return values.astype(np.uint8)
        values = np.unique(values[wrong])
    elif not values.size:
        return np.empty(0, np.uint8)
    raise unlike(
        features, "the predictions are of other classes", f"class ids from 0 to {len(names) - 1}", values.tolist()
    )


FIELDS = {"class": _by_name, "class_id": _by_number}
"""The fields with the class, and how each is read."""


def _values(features: Features, field: str) -> NDArray[Any]:
    if field not in features.fields:
        raise unlike(features, f"the predictions lack the field {field}", field, features.fields)
    return features.fields[field]
