"""Looks at raster labels for a new project: the values, with their names and colours."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import LabelError
from quadrat.geo.files.file_errors import grid_of, library_errors_as
from quadrat.geo.files.opening import open_raster
from quadrat.geo.files.raster_files import category_names, environment
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import strips
from quadrat.labels.raster import STRIP_ROWS
from quadrat.labels.raster_values import Pixels
from quadrat.new_project.inputs import Given
from quadrat.new_project.labels.legend import LIMIT, Found, Legend, classes_of, color

UNKNOWN = frozenset(("nodata", "no data", "unlabelled", "unlabeled", "unclassified", "unknown", "ignore", "void"))
"""Names of values that mean that a pixel has no label."""


def is_measured(file: Given) -> bool:
    """Return whether a raster has values with fractions, which are no classes."""
    with _opened(file) as dataset:
        return str(dataset.dtypes[0]).startswith("float")


def raster_legend(files: Sequence[Given], task: str) -> Legend:
    """Return the classes, or the range of values, of rasters; raise LabelError for values that are neither."""
    if task == "object_detection":
        raise LabelError(
            "objects are features, and the labels are a raster",
            file=files[0].file,
            expected="vector labels",
            hint="make features of it: gdal_polygonize.py FILE labels.gpkg; or --task semantic_segmentation",
        )
    if task == "pixel_regression":
        return _measured(files)
    counts, names, colors, painted = Counter[str](), dict[str, str](), dict[str, str](), False
    for one in files:
        with _opened(one) as dataset:
            painted = dataset.count >= 3
            grid = grid_of(dataset, str(one.file), LabelError)
            names |= {} if painted else {str(n): name for n, name in category_names(dataset).items()}
            colors |= {} if painted else _colors(dataset)
        for found in _values(one, grid, painted=painted):
            unique, times = np.unique(found, return_counts=True)
            texts = [f"#{n:06x}" if painted else str(n) for n in unique.tolist()]
            counts.update(dict(zip(texts, times.tolist(), strict=True)))
            if len(counts) > LIMIT:
                break
    blank = [value for value in counts if names.get(value, "").lower() in UNKNOWN]
    known = {value: count for value, count in counts.items() if value not in blank}
    if not known:
        raise LabelError("no pixel of the labels has a value", file=files[0].file, hint="check its nodata value")
    if {*known} in ({"0", "1"}, {"0", "255"}) and not {*known} & {*names}:
        names = {value: "background" if value == "0" else "object" for value in known}
    classes = classes_of(known, files[0], names, {value: value for value in known} if painted else colors)
    if len({one.color for one in classes}) < len(classes):
        classes = classes_of(known, files[0], names, {})
    notes = [f"values that mean no label: {', '.join(f'{one} ({names[one]})' for one in blank)}"] if blank else []
    if "0" in known and "0" not in names:
        notes.append("0 is taken as a class: if it means that there is no label, list it under 'drop' in the catalog")
    keys = {"kind": "raster", "values": "colors" if painted else "ids", **({"drop": blank} if blank else {})}
    return Legend(classes, keys, tuple(notes))


def grid_of_labels(file: Given) -> Grid:
    """Return the grid of a raster."""
    with _opened(file) as dataset:
        return grid_of(dataset, str(file.file), LabelError)


@contextmanager
def _opened(one: Given) -> Iterator[Any]:
    path = str(one.file)
    with library_errors_as(LabelError, path), environment((path,)), open_raster(path, LabelError) as dataset:
        yield dataset


def _measured(files: Sequence[Given]) -> Legend:
    """Return the range of values, as one class."""
    ranges = []
    for one in files:
        with _opened(one) as dataset:
            values = dataset.read(1, masked=True, out_shape=tuple(min(side, 2048) for side in dataset.shape))
            found = values.compressed() * dataset.scales[0] + dataset.offsets[0]
            ranges.append(np.percentile(found[np.isfinite(found)], (1, 99)) if found.size else (np.nan, np.nan))
    low, high = float(f"{np.nanmin(ranges):.3g}"), float(f"{np.nanmax(ranges):.3g}")
    if not low < high:
        raise LabelError("the labels do not hold different values", file=files[0].file, got=low, hint="check the file")
    quantity = Found(files[0].id.lower(), (), color(1))
    note = f"the range of values is {low:g} to {high:g}, the 1st and 99th percentile"
    return Legend((quantity,), {"kind": "raster", "values": "numbers"}, (note,), (low, high))


def _values(one: Given, grid: Grid, *, painted: bool) -> Iterator[NDArray[Any]]:
    """Yield the values of all labelled pixels: whole numbers, or colours in 24 bits."""
    with ExitStack() as files:
        pixels = Pixels(str(one.file), grid, "", files)
        form = pixels.colors() if painted else pixels.ids(1)
        for strip in strips(grid.area, STRIP_ROWS):
            for _, numbers, labelled in pixels.read(strip, form):
                yield numbers[labelled]


def _colors(dataset: Any) -> dict[str, str]:
    """Return the colours that the file has for its values."""
    try:
        return {str(n): f"#{r:02x}{g:02x}{b:02x}" for n, (r, g, b, _) in dataset.colormap(1).items()}
    except ValueError:  # none
        return {}
