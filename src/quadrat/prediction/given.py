"""Predictions of other programs: where they are, and how a single file of them is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import PredictionError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.vectors.burning import Areas
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

    def place(self, scene: str) -> Path:
        """Return the folder or file of a scene; raise PredictionError if there is none, or several."""
        if not self.path.exists():
            raise PredictionError("there is no such file or folder", scene, self.path)
        if self.path.is_file():
            return self.path
        names = [scene, *(f"{scene}{ending}" for ending in (*RASTERS, *ENDINGS))]
        found = [self.path / name for name in names if (self.path / name).exists()]
        if len(found) == 1:
            return found[0]
        there = sorted(path.name for path in self.path.iterdir())
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
        place = self.place(scene)
        if place.is_dir() and self.background is None and self.one_class is None:
            return Prediction(place, grid, scene)
        return _GivenPrediction(self, place, grid, scene)


class _GivenPrediction(Prediction):
    """A prediction in a file or folder, of which polygons are drawn where pixels are scored."""

    def __init__(self, given: Given, place: Path, grid: Grid, scene: str) -> None:
        super().__init__(place.parent if place.is_file() else place, grid, scene)
        self._given, self._place = given, place
        self._areas: dict[str, Areas] = {}

    def class_ids(self, layer: str, window: Window, names: Sequence[str]) -> NDArray[np.uint8]:
        """Return class ids as ``Prediction.class_ids`` does; drawn of polygons, of which the last wins."""
        if not self._drawn(layer):
            return super().class_ids(layer, window, names)
        if layer not in self._areas:
            features = self.features(layer)
            self._areas[layer] = Areas(features.geometry, prediction_features.class_ids(features, names))
        return self._areas[layer].draw(window, fill=self._fill(names))

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

    def _drawn(self, layer: str) -> bool:
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
