"""Labels from vector files: polygons, and lines and points with a width."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import model_validator

from quadrat.errors import LabelError
from quadrat.geo.geometry.accuracy import Doubt, doubtful_place
from quadrat.geo.geometry.parts import Geometries, without_area
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.vectors.burning import Areas
from quadrat.geo.vectors.feature_filter import FilterError, matches, parse
from quadrat.geo.vectors.features import around, bounds, clipped, crs_name, extent, on_grid, read_features, workable
from quadrat.geo.vectors.vector_files import UNORDERED, ending
from quadrat.geo.vectors.widths import Width, class_widths, widened
from quadrat.labels.class_mapping import ClassMapping, class_id, text, unclaimed
from quadrat.labels.objects import DIGITS, Objects, boxed, gathered
from quadrat.runtime.formats.section import Name, Section, composed

if TYPE_CHECKING:
    import geopandas

MARGIN = 1
"""Margin around the grid to which areas are cut, px."""


class VectorLabels(Section):
    """Polygons, and lines and points with a width, of a vector file: classes by a field's values, or one class for all.

    Where areas overlap, the last in the file wins. A FlatGeobuf (.fgb) may not keep the order in which they were
    written.
    """

    kind: Literal["vector"]
    path: str
    """The file, from the project's root."""
    layer: str | None = None
    """The layer of a file with several; left out: the only one with geometries."""
    field: str | None = None
    """The field whose values name the classes; left out: ``default`` is the class of all."""
    default: Name | None = None
    """The class of all features, instead of ``field``."""
    filter: str | None = None
    """Comparisons of fields with constants, such as ``height > 3 and use != 'shed'``. Features for
    which it is not true are left out."""
    drop: tuple[Name, ...] = ()
    """Values of the field to ignore: their areas are unlabelled, also with ``background``."""
    width: Width | None = None
    """The width of lines and points; required if the file has any."""
    background: Name | None = None
    """The class of all pixels without a feature; left out: they are unlabelled."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.field is None) == (self.default is None):
            raise ValueError("vector labels need 'field', or 'default' in its place, and not both")
        if self.filter is not None:
            try:
                parse(self.filter)
            except FilterError as cause:
                raise ValueError(f"'filter' can't be read: {cause}") from cause
        if self.drop and self.field is None:
            raise ValueError("'drop' lists values of 'field', and there is none")
        return self

    def files(self) -> Iterator[str]:
        """Yield the path of the file."""
        yield self.path

    @contextmanager
    def open(self, grid: Grid, class_mapping: ClassMapping, scene: str) -> Iterator["LabelledAreas"]:
        """Read the features near the grid, and return the labels.

        Raises LabelError for a missing file, field or class, a value that no class lists, lines and points without a
        width, or labels off the image.
        """
        background = (
            IGNORE
            if self.background is None
            else class_id(self.background, class_mapping, "background", scene, self.path)
        )
        read = read_features(self.path, self.layer, LabelError, scene)
        frame = self._filtered(read, scene)
        ids = self._ids(frame, class_mapping, scene)
        there = (ids != IGNORE) | ~(frame.geometry.isna() | frame.geometry.is_empty).to_numpy()
        frame, ids = frame[there], ids[there]
        with workable(self.path, LabelError, scene):
            parts, owners = on_grid(frame, grid, self.path, LabelError, scene)
            polygons = self._areas(parts, ids[owners], grid, class_mapping, scene)
            areas, inner = clipped(polygons, grid, MARGIN)
            whole = gathered(polygons, owners, len(frame))
        drawn = ids[owners[inner]]
        if not (drawn != IGNORE).any() and not ((self.background or class_mapping.blanks) and around(frame, grid)):
            raise self._misplaced(frame, grid, scene)
        order = np.argsort(drawn != IGNORE, kind="stable")  # dropped features are drawn first
        flat = (ids != IGNORE) & without_area(frame.geometry.to_numpy())
        thin = (ids != IGNORE) & ~shapely.is_empty(whole) & np.isnan(boxed(whole)).any(1)
        layered = Areas(areas[order], drawn[order])
        yield LabelledAreas(
            layered,
            Objects(whole, ids),
            background,
            remarks=(
                *self._remarks(frame, flat, "no area: they label nothing"),
                *self._idle(len(read), len(frame)),
            ),
            box_remarks=self._remarks(frame, thin, f"an extent below {10**-DIGITS} px: they are no objects"),
            doubt=partial(self._doubts, frame.crs, grid, layered if class_mapping.unit == "px" else None),
        )

    def _doubts(self, crs: object, grid: Grid, layered: Areas | None) -> tuple[str, ...]:
        """Return warnings that take time: about the place of features, and about which of several lies on top."""
        placed = doubtful_place(self.path, crs, grid)
        pairs = layered.contested() if layered is not None and ending(self.path) in UNORDERED else 0
        if not pairs:
            return placed
        problem = f"{pairs} pairs of features of different classes overlap, and a FlatGeobuf may not keep their order"
        return (*placed, f"{self.path}: {problem}: convert what it was made of to .gpkg, where the last one counts")

    def _filtered(self, frame: "geopandas.GeoDataFrame", scene: str) -> "geopandas.GeoDataFrame":
        import pandas as pd

        if self.filter is None or frame.empty:
            return frame
        fields = pd.DataFrame(frame.drop(columns=frame.geometry.name))
        if not self.filter.isascii():  # the file may use another Unicode form
            words = fields.select_dtypes(["object", "string"])
            fields[words.columns] = words.map(lambda word: composed(word) if isinstance(word, str) else word)
        try:
            return frame[matches(parse(composed(self.filter)), fields)]
        except FilterError as cause:
            raise LabelError(
                "the labels' filter can't be applied",
                scene,
                self.path,
                expected=f"comparisons of the fields {', '.join(fields.columns)} with constants",
                got=f"{self.filter}: {cause}",
                hint="correct 'filter' of the labels in the catalog",
            ) from cause

    def _ids(self, frame: "geopandas.GeoDataFrame", class_mapping: ClassMapping, scene: str) -> NDArray[np.uint8]:
        """Return each feature's class id, IGNORE if it is dropped."""
        if self.default is not None:
            return np.full(len(frame), class_id(self.default, class_mapping, "default", scene, self.path), np.uint8)
        if frame.empty:  # GeoJSON without features has no fields
            return np.empty(0, np.uint8)
        if self.field not in frame:
            raise LabelError(
                "the labels have no such field",
                scene,
                self.path,
                expected=self.field,
                got=", ".join(c for c in frame.columns if c != frame.geometry.name),
                hint="set 'field' of the labels in the catalog",
            )
        values = [text(value) for value in frame[self.field]]
        known: Mapping[str, int] = {**dict.fromkeys(self.drop, IGNORE), **class_mapping.aliases}
        unknown = Counter(value for value in values if value not in known)
        if unknown:
            raise unclaimed(unknown, "features", class_mapping.aliases, scene, self.path)
        dropped = set(self.drop)
        return np.array([IGNORE if value in dropped else known[value] for value in values], np.uint8)

    def _areas(
        self, parts: Geometries, ids: NDArray[np.uint8], grid: Grid, class_mapping: ClassMapping, scene: str
    ) -> Geometries:
        """Return polygons in place of all parts: empty ones for dropped lines and points without a width."""
        width = self.width or Width(unit="px")
        for name in width.classes:
            class_id(name, class_mapping, "width.classes", scene, self.path)
        thin = np.flatnonzero(shapely.get_dimensions(parts) < 2)
        if not thin.size:
            return parts
        widths = class_widths(width, class_mapping.names, ids[thin])
        bare = np.isnan(widths)
        self._check_widths(parts[thin[bare]], ids[thin[bare]], class_mapping, scene)
        if width.unit == "m" and grid.crs is None:
            raise LabelError(
                "widths in metres need an image with a CRS",
                scene,
                self.path,
                expected="unit: px",
                got="unit: m",
                hint="give the labels' widths in px in the catalog",
            )
        areas = parts.copy()
        areas[thin[bare]] = shapely.Polygon()
        areas[thin[~bare]] = widened(parts[thin[~bare]], widths[~bare], width.unit, grid)
        return areas

    def _check_widths(self, bare: Geometries, ids: NDArray[np.uint8], class_mapping: ClassMapping, scene: str) -> None:
        kinds = np.where(shapely.get_dimensions(bare) == 1, "lines", "points")
        counts = Counter((int(i), str(kind)) for kind, i in zip(kinds, ids, strict=True) if i != IGNORE)
        if counts:
            raise LabelError(
                "lines and points without a width cover nothing",
                scene,
                self.path,
                expected="a width for each class that has lines or points",
                got=", ".join(
                    f"{n} {kind} of class {class_mapping.names[i]}" for (i, kind), n in sorted(counts.items())
                ),
                hint="give the labels a 'width' in the catalog, such as {unit: m, default: 6.0}, "
                "or leave such features out with 'filter' or 'drop'",
            )

    def _idle(self, before: int, after: int) -> tuple[str, ...]:
        """Return a warning if a filter leaves nothing."""
        if after or not before:
            return ()
        return (f"{self.path}: none of its {before} features passes the filter {self.filter}: is it as it should be?",)

    def _remarks(self, frame: "geopandas.GeoDataFrame", which: NDArray[np.bool_], what: str) -> tuple[str, ...]:
        """Return a warning about the features that have ``what``, if there are any."""
        if not which.any():
            return ()
        x, y, *_ = frame.geometry[which].iloc[:1].total_bounds
        count = f"{which.sum()} of {len(frame)} features"
        return (f"{self.path}: {count} have {what}; repair or delete them, the first from x {x:.10g}, y {y:.10g} on",)

    def _misplaced(self, frame: "geopandas.GeoDataFrame", grid: Grid, scene: str) -> LabelError:
        return LabelError(
            "no label lies on the image",
            scene,
            self.path,
            expected=f"features within {bounds(grid)} ({crs_name(grid.crs)})",
            got=f"{len(frame)} features within {extent(frame)} ({crs_name(frame.crs)})",
            hint="check the labels' CRS and that they belong to this image",
        )


class LabelledAreas:
    """The labels of a vector file on a scene's grid."""

    def __init__(
        self,
        areas: Areas,
        objects: Objects,
        background: int,
        *,
        remarks: tuple[str, ...] = (),
        box_remarks: tuple[str, ...] = (),
        doubt: Doubt = tuple,
    ) -> None:
        """Draw ``areas``, whose values are class ids, on ``background``; ``objects`` are the same, feature by feature.

        ``remarks`` are warnings about features that label nothing, ``box_remarks`` about features without a box;
        ``doubt`` looks for further problems.
        """
        self.areas, self._objects, self.background = areas, objects, background
        self._remarks, self.box_remarks, self._doubt = remarks, box_remarks, doubt

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings: features that label nothing, and possible problems of the file."""
        return (*self._remarks, *self._doubt())

    def class_ids(self, window: Window, *, all_touched: bool) -> NDArray[np.uint8]:
        """Return (y, x) class ids, IGNORE if there is none; the window may reach beyond the grid."""
        return self.areas.draw(window, fill=self.background, all_touched=all_touched)

    def objects(self, window: Window) -> Objects:
        """Return the features that meet the window, whole, in the file's order."""
        return self._objects.within(window)
