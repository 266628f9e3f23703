"""Looks at vector labels for a new project: the field of the classes and its values."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from quadrat.errors import LabelError
from quadrat.geo.vectors.features import read_features
from quadrat.labels.class_mapping import text
from quadrat.new_project.inputs import Given
from quadrat.new_project.labels.legend import Found, Legend, classes_of, color

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

MOST = 40
"""Largest number of values of a field that is taken for that of the classes unless a user names it."""

CLASSY = re.compile(r"class|label|categor|type|kind|use|cover|species|crop", re.IGNORECASE)
"""Names of fields that often hold classes."""

NULL = "null"
"""A missing value, as text."""

WIDTHS = {0: ("points", 5.0), 1: ("lines", 3.0)}
"""Of geometries without an area, by their dimension, the name and the width, px."""

OBJECT = 16.0
"""Width of points and lines that are objects, px."""

Values = Mapping[str, Counter[str]]
"""The number of each value, by field."""


def features_of(file: Path, layer: str | None) -> "geopandas.GeoDataFrame":
    """Return the features of a layer; raise LabelError that says how to name one of several."""
    try:
        return read_features(str(file), layer, LabelError, "")
    except LabelError as error:
        if error.hint and "'layer'" in error.hint:  # there is no catalog yet
            error.hint = "name one of them by --layer"
        raise


def vector_legend(files: Sequence[Given], task: str, field: str | None, layer: str | None) -> Legend:
    """Return the classes of vector files; raise LabelError for files without features or without classes."""
    import pandas as pd

    first = files[0].file
    if task == "pixel_regression":
        hint = "make a raster of a field: gdal_rasterize -a FIELD"
        problem = "features have classes, and pixel_regression learns values"
        raise LabelError(problem, file=first, expected="a raster of values", got="vector labels", hint=hint)
    frames = [features_of(one.file, layer) for one in files]
    frame = pd.concat([pd.DataFrame(each.drop(columns=each.geometry.name)) for each in frames], ignore_index=True)
    if not len(frame):
        raise LabelError("the labels hold no features", file=first, hint="label something, then try again")
    values = {str(name): Counter(map(text, frame[name])) for name in frame.columns if _may_class(frame[name])}
    if field is not None and field not in frame:
        got = ", ".join(frame.columns) or "no fields"
        raise LabelError("the labels have no such field", file=first, expected=field, got=got, hint=_hint(values))
    named = field or _guessed(values, files[0])
    width, notes = _width(frames, task)
    keys = {"kind": "vector", **({"layer": layer} if layer else {}), **width}
    if named is None:
        one = Found(files[0].id.lower(), (), color(1))
        note = f"no field has several values that could be classes: all features are {one.name}"
        return Legend((one,), {**keys, "default": one.name}, (note, *notes))
    found = Counter(map(text, frame[named]))
    known = {value: count for value, count in found.items() if value != NULL}
    if not known:
        raise LabelError(f"the field {named} has no value", file=first, hint=_hint(values))
    if NULL in found:
        notes.append(f"{found[NULL]} features have no value in {named}: they are unlabelled")
    if task != "object_detection" and len(known) > 1:
        notes.append("ground without a feature is unlabelled: if it is a class, name it by 'background' in the catalog")
    drop = {"drop": [NULL]} if NULL in found else {}
    return Legend(classes_of(known, files[0], {}, {}), {**keys, "field": named, **drop}, tuple(notes))


def _guessed(values: Values, file: Given) -> str | None:
    """Return the field of the classes: that with a telling name, or the only one; None if no field has classes.

    Of fields with one value, only those with a telling name count. Raises LabelError if several are as plausible, or if
    one with a telling name has too many values.
    """
    fit = [name for name, found in values.items() if 1 < len({*found} - {NULL}) <= MOST and _repeats(found)]
    telling = [name for name in fit if CLASSY.search(name)]
    words = [name for name in telling if not all(value.lstrip("-").isdigit() for value in {*values[name]} - {NULL})]
    for some in (words, telling, fit):
        if len(some) == 1:
            return some[0]
    many = [name for name, found in values.items() if CLASSY.search(name) and len(found) > MOST]
    if not fit and not many:
        return next(
            (name for name, found in values.items() if CLASSY.search(name) and len({*found} - {NULL}) == 1), None
        )
    raise LabelError(
        "the field of the classes can't be told from the labels",
        file=file.file,
        expected=f"one field with 2 to {MOST} values that repeat, called class, label, type or alike",
        got="; ".join(f"{name}: {_listed(found)}" for name, found in values.items()),
        hint=_hint({name: values[name] for name in (words or telling or fit or many)}),
    )


def _may_class(column: "pd.Series[Any]") -> bool:
    """Return whether a field may hold classes: measures and dates do not."""
    if column.dtype.kind == "f":
        known = column.to_numpy()[column.notna()]
        return bool(np.equal(known, np.floor(known)).all())
    return column.dtype.kind != "M"


def _repeats(found: Counter[str]) -> bool:
    return 2 * len(found) <= found.total()


def _listed(found: Counter[str]) -> str:
    shown = ", ".join(f"{value} ({count})" for value, count in found.most_common(5))
    return shown if len(found) <= 5 else f"{shown}, … of {len(found)} values"


def _hint(values: Values) -> str:
    return f"name the field by --field: {', '.join(values)}" if values else "add a field with classes to the file"


def _width(frames: Sequence["geopandas.GeoDataFrame"], task: str) -> tuple[dict[str, Any], list[str]]:
    """Return the width of lines and points, if there are any, and what needs a look."""
    dimensions = np.concatenate([shapely.get_dimensions(frame.geometry.to_numpy()) for frame in frames])
    thin = [WIDTHS[kind] for kind in (0, 1) if kind in dimensions]
    if not thin:
        return {}, []
    width = OBJECT if task == "object_detection" else thin[-1][1]
    note = f"{' and '.join(name for name, _ in thin)} get a width of {width:g} px: check it"
    return {"width": {"unit": "px", "default": width}}, [note]
