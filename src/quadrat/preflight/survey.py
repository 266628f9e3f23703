"""Surveys a scene without reading pixels, and collects the errors of its parts."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from quadrat.errors import AOIError, ImageError, LabelError, QuadratError
from quadrat.geo.files.file_errors import library_errors_as
from quadrat.geo.geometry.footprints import on_earth
from quadrat.geo.geometry.parts import Geometries
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.resampling import ResamplingName
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.bands import Band
from quadrat.geo.vectors.features import check_file
from quadrat.labels.labels import Labels, Ranked
from quadrat.preflight.label_survey import LabelSurvey, survey_labels
from quadrat.scenes.aoi import AOI, open_aoi
from quadrat.scenes.scene import Scene
from quadrat.tasks import Task
from quadrat.tasks.common.parts import targets_of

if TYPE_CHECKING:
    from quadrat.geo.reading.open_image import Raster

Result = TypeVar("Result")


@dataclass(frozen=True)
class Survey:
    """The survey of a scene whose image has a grid."""

    scene: Scene
    grid: Grid
    area: Window
    bands: tuple[Band, ...]
    """None if one of them has an error."""
    ground: BaseGeometry
    """The AOI, or the whole image, in map coordinates; empty if the AOI has an error."""
    labels: LabelSurvey
    remarks: tuple[str, ...]
    """What files say of themselves, and the catalog says otherwise; what may lie elsewhere; and labels of nothing."""
    files: tuple[str, ...]
    """All files of the scene."""
    resampling: tuple[ResamplingName | None, ...] = ()
    """How each band's files are brought to the grid, as ``Raster.resampling``; none if a band has an error."""


@dataclass(frozen=True)
class Finding:
    """The result of checking a scene."""

    scene: Scene
    survey: Survey | None
    """None if the image has no grid."""
    errors: tuple[QuadratError, ...]
    """The errors of image, labels and AOI, each checked by itself."""


class SceneCheck:
    """Checks the parts of a scene and collects their errors and warnings."""

    def __init__(self, scene: Scene, files: ExitStack) -> None:
        """Start; opened files close with ``files``."""
        self.scene, self.files = scene, files
        self.errors: list[QuadratError] = []
        self.remarks: list[str] = []

    def attempt(
        self, do: Callable[[], Result], file: object = None, error: type[QuadratError] = ImageError
    ) -> Result | None:
        """Return the result of ``do``; if it raises an error of the data, keep that and return None.

        Errors of libraries become ``error``, which names the ``file``.
        """
        try:
            with library_errors_as(error, file or self.scene.image.place):
                return do()
        except QuadratError as raised:
            self._keep(raised)
        return None

    def image(self, bands: Sequence[str]) -> "Raster | None":
        """Open ``bands`` of the image; if that fails, keep the errors of each band and return None."""
        try:
            with library_errors_as(ImageError, self.scene.image.place):
                return self.files.enter_context(self.scene.image.open(bands))
        except QuadratError as error:
            before, whole = len(self.errors), error
        for band in dict.fromkeys([self.scene.image.grid_band, *bands]):
            for channel in self.attempt(partial(self.scene.image.channels, [band])) or ():
                for path in channel.files:
                    self.attempt(partial(_read_header, path), path)
                self.attempt(partial(self._open_alone, band), channel.files[0])
        if len(self.errors) == before:  # no single band fails
            self._keep(whole)
        return None

    def _keep(self, error: QuadratError) -> None:
        """Keep an error, once."""
        error.scene = error.scene or self.scene.id
        if str(error) not in map(str, self.errors):
            self.errors.append(error)

    def _open_alone(self, band: str) -> None:
        with self.scene.image.open([band]):
            pass


def survey(scene: Scene, *, bands: Sequence[str], task: Task) -> Finding:
    """Open the image, each of the labels and each file of the AOI, and return the survey and all errors."""
    with ExitStack() as files:
        check = SceneCheck(scene, files)
        raster = check.image(bands)
        placed = raster or check.image([scene.image.grid_band])  # a grid for labels and AOI, even if bands are missing
        if placed is None:
            _missing(check)
            return Finding(scene, None, tuple(check.errors))
        check.attempt(lambda: placed.grid.on_earth)  # that its CRS is one
        aoi = check.attempt(lambda: _aoi(check, placed.grid), ", ".join(scene.aoi), AOIError)
        check.remarks += aoi.remarks if aoi else ()
        known = aoi is not None or not scene.aoi
        area = placed.grid.area if aoi is None else aoi.bounds
        labels = _labels(check, placed.grid, task, aoi, area)
        found = Survey(
            scene=scene,
            grid=placed.grid,
            area=area,
            bands=raster.bands if raster else (),
            ground=_ground(placed.grid, aoi) if known else shapely.Polygon(),
            labels=labels,
            remarks=(*placed.remarks, *check.remarks),
            files=check.attempt(lambda: tuple(scene.files())) or (),
            resampling=raster.resampling if raster else (),
        )
        return Finding(scene, found, tuple(check.errors))


def footprints(surveys: Sequence[Survey], ground: Sequence[BaseGeometry]) -> Geometries:
    """Return the ground of each scene in longitude and latitude; None without a place on Earth."""
    found = np.full(len(surveys), None)
    systems: defaultdict[object, list[int]] = defaultdict(list)
    for number, one in enumerate(surveys):
        if one.grid.on_earth:
            systems[one.grid.crs].append(number)
    for system, mine in systems.items():
        found[mine] = on_earth(np.array([ground[number] for number in mine], object), system)
    return found


def _missing(check: SceneCheck) -> None:
    """Keep errors for missing files of labels and AOI, if there is no grid to read them on."""
    paths = {**dict.fromkeys((one.path for one in check.scene.labels), LabelError)}
    for path, error in {**paths, **dict.fromkeys(check.scene.aoi, AOIError)}.items():
        check.attempt(partial(check_file, path, error, check.scene.id), path, error)


def _aoi(check: SceneCheck, grid: Grid) -> AOI | None:
    """Return the AOI of all files; each is checked by itself first."""
    for path in check.scene.aoi if len(check.scene.aoi) > 1 else ():
        check.attempt(partial(open_aoi, (path,), grid, check.scene.id, check.scene.split), path, AOIError)
    return open_aoi(check.scene.aoi, grid, check.scene.id, check.scene.split)


def _labels(check: SceneCheck, grid: Grid, task: Task, aoi: AOI | None, area: Window) -> LabelSurvey:
    """Return the survey of the labels; all is hidden if one of them, or the task with them, has an error."""
    before, scene, targets = len(check.errors), check.scene, targets_of(task)
    if not scene.labels:
        return LabelSurvey.nothing(len(task.classes), hidden=False)
    sources: list[tuple[str, AbstractContextManager[Ranked]]] = [
        (one.path, one.open(grid, task, scene.id)) for one in scene.labels
    ]
    opened = [check.attempt(partial(check.files.enter_context, source), path, LabelError) for path, source in sources]
    named = ", ".join(path for path, _ in sources)
    labels = Labels(tuple(part for part in opened if part is not None), grid, scene.id)
    if labels.ranked:
        seen = check.attempt(
            lambda: survey_labels(labels, aoi, area, len(task.classes), targets.reach), named, LabelError
        )
        first = Window(area.row, area.col, 1, area.width)
        # an empty mask is enough to raise errors of the task
        check.attempt(lambda: targets.label_counts(labels, first, np.zeros(first.shape, np.bool_)), named, LabelError)
        check.remarks += labels.remarks
    whole = len(check.errors) == before
    return seen if whole and seen is not None else LabelSurvey.nothing(len(task.classes), hidden=True)


def _read_header(path: str) -> None:
    from quadrat.geo.files.raster_files import header, opened

    with opened(path) as dataset:
        header(dataset, path)


def _ground(grid: Grid, aoi: AOI | None) -> BaseGeometry:
    if aoi is None:
        return grid.footprint(grid.area)
    transform = grid.transform
    matrix = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    mapped = shapely.transform(aoi.geometry, lambda xy: xy @ matrix.T + (transform.c, transform.f))
    return shapely.union_all(mapped)
