"""Predictions of other programs: where they are, and how a single file of them is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.errors import PredictionError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.vectors.burning import Areas
from quadrat.geo.vectors.vector_files import UNORDERED
from quadrat.prediction.reader import ENDINGS, Prediction
from quadrat.tasks.common import prediction_features
from quadrat.tasks.common.outputs import Features

RASTERS = (".tif", ".tiff")
"""Endings of raster files."""

NO_CLASS = "none"
"""For ``Given.background``: pixels outside all polygons have no prediction."""


@dataclass(frozen=True)
class Given:
    """Predictions that another program made, and what their files don't say."""

    path: Path
    """A folder with a folder or a file for each scene, named by its id; or a file, for a catalog of one scene."""
    background: str | None = None
    """The class of pixels outside all polygons, or NO_CLASS; needed where polygons are scored as pixels."""
    one_class: str | None = None
    """The class of all features, for files without a field for it."""

    def check(self, names: Sequence[str]) -> None:
        """Raise PredictionError for options that name none of the classes ``names``."""
        for option, name, others in (
            ("background", self.background, (*names, NO_CLASS)),
            ("class", self.one_class, names),
        ):
            if name is not None and name not in others:
                expected, hint = ", ".join(others), "write it as task.classes does"
                raise PredictionError(f"--{option} is no class of the task", expected=expected, got=name, hint=hint)

    def place(self, scene: str) -> Path:
        """Return the folder or file of a scene; raise PredictionError if there is none, or several.

        Endings may be of upper case.
        """
        if not self.path.exists():
            raise PredictionError("there is no such file or folder", scene, self.path)
        if self.path.is_file():
            return self.path
        endings = (*RASTERS, *ENDINGS)
        there = sorted(path.name for path in self.path.iterdir())
        names = [scene, *(f"{scene}{ending}" for ending in endings)]
        found = [self.path / name for name in there if name == scene or _lower_ending(name) in names[1:]]
        if len(found) == 1:
            return found[0]
        raise PredictionError(
            "a scene has several predictions" if found else "a scene has no prediction",
            scene,
            self.path,
            expected=f"one of {', '.join(names)}",
            got=", ".join(path.name for path in found) or ", ".join(there[:10]) or "an empty folder",
            hint="name files or folders by the scenes' ids",
        )

    def open(self, grid: Grid, scene: str) -> Prediction:
        """Return the prediction of a scene, to be entered."""
        return _GivenPrediction(self, self.place(scene), grid, scene)


class _GivenPrediction(Prediction):
    """A prediction in a file or folder, of which polygons are drawn where pixels are scored."""

    hint: ClassVar[str] = "give another file, or correct this one"

    def __init__(self, given: Given, place: Path, grid: Grid, scene: str) -> None:
        super().__init__(place.parent if place.is_file() else place, grid, scene)
        self._given, self._place = given, place
        self._areas: dict[str, Areas] = {}

    def class_ids(self, layer: str, window: Window, names: Sequence[str]) -> NDArray[np.uint8]:
        """Return class ids as ``Prediction.class_ids`` does; drawn of polygons, of which the last wins.

        Raises PredictionError if it is not known which is the last.
        """
        if not self.drawn(layer):
            self._check_unused()
            return super().class_ids(layer, window, names)
        if layer not in self._areas:
            self._areas[layer] = self._polygons(layer, names)
        areas, fill = self._areas[layer], self._fill(names)
        if self._file(layer).suffix.lower() in UNORDERED:
            self._check_overlaps(areas, window, self._file(layer))
        return areas.draw(window, fill=fill)

    def values(self, layer: str, window: Window) -> NDArray[np.float32]:
        """Return values as ``Prediction.values`` does."""
        self._check_unused()
        return super().values(layer, window)

    def features(self, layer: str, window: Window | None = None) -> Features:
        """Return features as ``Prediction.features`` does, with the class that the files don't say."""
        features = super().features(layer, window)
        if self._given.one_class is None:
            return features
        both = sorted({"class", "class_id"} & features.fields.keys())
        if both:
            problem = "the predictions have classes of their own"
            raise self._unlike(self._place, problem, got=f"a field {both[0]}", hint="leave out --class")
        classes = np.full(len(features.geometry), self._given.one_class, object)
        return replace(features, fields={**features.fields, "class": classes})

    def _polygons(self, layer: str, names: Sequence[str]) -> Areas:
        features = self.features(layer)
        flat = int((shapely.get_dimensions(features.geometry) < 2).sum())
        if flat:
            problem, got = "the prediction holds other features than polygons", f"{flat} of {len(features.geometry)}"
            raise self._unlike(self._file(layer), problem, expected="polygons", got=got)
        return Areas(features.geometry, prediction_features.class_ids(features, names))

    def _check_overlaps(self, areas: Areas, window: Window, path: Path) -> None:
        """Raise PredictionError for pixels in areas of several values."""
        rising = np.argsort(areas.values)
        lowest, highest = (
            Areas(areas.geometry[order], areas.values[order]).draw(window, fill=IGNORE)
            for order in (rising[::-1], rising)
        )
        several = int(np.count_nonzero(lowest != highest))
        if several:
            problem = "polygons of several classes overlap, and the file does not keep their order"
            hint = "give them as .gpkg, .parquet or .geojson, where the last counts, or without overlaps"
            raise self._unlike(path, problem, got=f"{several} px", hint=hint)

    def _check_unused(self) -> None:
        """Raise PredictionError for options of polygons, where there is a raster."""
        options = {"background": self._given.background, "class": self._given.one_class}
        unused = [f"--{name} {value}" for name, value in options.items() if value is not None]
        if unused:
            problem, hint = "a raster says all classes itself", "leave these options out"
            raise self._unlike(self._place, problem, got=" ".join(unused), hint=hint)

    def drawn(self, layer: str) -> bool:
        """Return whether a raster layer is given as polygons."""
        if self._place.is_file():
            return self._place.suffix.lower() in ENDINGS
        return not self._raster_file(layer).exists() and any(
            (self._place / f"{layer}{ending}").exists() for ending in ENDINGS
        )

    def _fill(self, names: Sequence[str]) -> int:
        background = self._given.background
        if background == NO_CLASS and NO_CLASS not in names:
            return IGNORE
        if background in names:
            return names.index(background)
        raise self._unlike(
            self._place,
            "polygons don't say which class is outside all of them",
            expected=f"{NO_CLASS}, or one of {', '.join(names)}",
            got=background,
            hint=f"give --background CLASS, or --background {NO_CLASS} if pixels outside are not predicted",
        )

    def _raster_file(self, layer: str) -> Path:
        if not self._place.is_file():
            return super()._raster_file(layer)
        self._check_ending(RASTERS)
        return self._place

    def _beside(self, layer: str) -> Path:
        """Return the path of a raster layer; of a file, what lies beside it is of other scenes."""
        return super()._beside(layer) if not self._place.is_file() else self._place / f"{layer}.tif"

    def _file(self, layer: str) -> Path:
        if not self._place.is_file():
            return super()._file(layer)
        self._check_ending(ENDINGS)
        return self._place

    def _check_ending(self, endings: Sequence[str]) -> None:
        if self._place.suffix.lower() not in endings:
            problem = "the task's predictions are no such file"
            expected, hint = f"a file with an ending of {', '.join(endings)}", "check task.kind of the parameters"
            raise self._unlike(self._place, problem, expected=expected, got=self._place.name, hint=hint)


def _lower_ending(name: str) -> str:
    path = Path(name)
    return f"{path.stem}{path.suffix.lower()}"
