"""Opens a scene: of a project, by its id, or an image by its path."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import CatalogError, ImageError, LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.bands import Band, names_of
from quadrat.geo.sources.channel import is_remote
from quadrat.geo.sources.source import Source
from quadrat.labels.labels import Labels
from quadrat.scenes import scene as parts
from quadrat.scenes.image import Image
from quadrat.tasks.common.parts import targets_of
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    import geopandas
    import xarray


class Scene:
    """An open scene. A context manager; files close at its end, or with ``close``. Not shared between threads."""

    def __init__(self, scene: parts.Scene, bands: Sequence[str], task: TaskSection | None) -> None:
        """Open ``bands`` of ``scene``, and its labels for ``task`` (None: a scene without labels)."""
        self._files, self._closed = ExitStack(), False
        self.opened = self._files.enter_context(scene.open(bands, task or _NoClasses()))
        """The scene as the stages see it."""
        self.task = task
        """The task of the project; None for an image by its path."""

    def __enter__(self) -> Self:
        """Return the scene itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close all files."""
        self.close()

    def close(self) -> None:
        """Close all files: what hasn't been read can't be read any more."""
        self._closed = True
        self._files.close()

    def __repr__(self) -> str:
        """Return id, size and bands."""
        height, width = self.grid.shape
        return f"Scene({self.id!r}, {width} × {height} px, bands {', '.join(names_of(self.bands))})"

    @property
    def id(self) -> str:
        """Its id in the catalog; of an image by its path, the path."""
        return self.opened.id

    @property
    def split(self) -> str:
        """``train``, ``validation``, ``test`` or ``predict``."""
        return self.opened.split

    @property
    def grid(self) -> Grid:
        """CRS, transform and (height, width) in px of image, labels and area of interest."""
        return self.opened.grid

    @property
    def bands(self) -> tuple[Band, ...]:
        """Name, data type, unit, scale, offset and nodata of each band; of time series, all bands of each date."""
        return self.opened.raster.bands

    def to_xarray(self) -> "xarray.DataArray":
        """Return the image, (band, y, x) or (time, band, y, x), raw values; pixels are read when they are asked for.

        Unit, scale, offset and nodata (NaN: none) of each band are coordinates along ``band``: value × scale + offset
        is in the unit.
        """
        from quadrat.geo.reading.xarray_view import to_xarray

        array = to_xarray(_ImagePixels(self))
        nodata = [np.nan if band.nodata is None else band.nodata for band in self.bands[: array.sizes["band"]]]
        return array.assign_coords(nodata=("band", nodata))

    @property
    def labels(self) -> "SceneLabels | None":
        """The labels; None if the scene has none."""
        if self.opened.labels is None or self.task is None:
            return None
        return SceneLabels(self, self.opened.labels, self.task)

    def check_open(self) -> None:
        """Raise ImageError if the scene is closed."""
        if self._closed:
            problem = "the scene is closed, and these pixels haven't been read"
            raise ImageError(problem, self.id, hint="read them before, e.g. with .load()")


@dataclass(frozen=True)
class _ImagePixels:
    """The pixels of a scene, which stays open as long as they may be read."""

    scene: Scene

    @property
    def grid(self) -> Grid:
        return self.scene.grid

    @property
    def bands(self) -> tuple[Band, ...]:
        return self.scene.bands

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.scene.opened.raster.dtype

    def values(self, window: Window, places: Sequence[int]) -> NDArray[Any]:
        self.scene.check_open()
        return self.scene.opened.raster.values(window, places)


@dataclass(frozen=True)
class SceneLabels:
    """The labels of an open scene, as its task takes them."""

    scene: Scene
    labels: Labels
    task: TaskSection

    @property
    def opened(self) -> parts.OpenScene:
        """The scene as the stages see it."""
        return self.scene.opened

    def to_xarray(self) -> "xarray.DataArray":
        """Return what the task learns of each pixel (y, x), read when it is asked for: class ids (uint8) or values.

        255, or NaN of values, stands outside the area of interest and where there is no label. Raises LabelError for
        a task that labels no pixels, but boxes or cells: ``to_geopandas`` has its features.
        """
        from quadrat.geo.reading.xarray_view import to_xarray

        kind = self._target(Window(0, 0, 1, 1)).dtype
        array = to_xarray(_LabelPixels(self, np.dtype(kind))).isel(band=0, drop=True)
        if kind.kind in "iu":
            array.attrs = {"_FillValue": 255, "classes": self.task.names}
        return array.rename("labels")

    def to_geopandas(self) -> "geopandas.GeoDataFrame":
        """Return the labels' features that meet the scene, in its CRS, with the column ``class``.

        They are whole, also beyond the area of interest; those that the catalog drops are left out. Raises LabelError
        for labels that are a raster.
        """
        import geopandas
        import pandas as pd
        import shapely

        grid = self.opened.grid
        self.scene.check_open()
        objects = self.labels.objects(grid.area)
        kept = objects.class_ids < len(self.task.names)
        a, b, c, d, e, f = tuple(grid.transform)[:6]
        plane = np.array([[a, d], [b, e]])
        placed = shapely.transform(objects.geometry[kept], lambda xy: xy @ plane + [c, f])
        names = pd.Series(np.array(self.task.names, object)[objects.class_ids[kept]], dtype=str)
        return geopandas.GeoDataFrame({"class": names}, geometry=placed, crs=grid.crs)

    def _target(self, window: Window) -> NDArray[Any]:
        """Return what the task learns of the pixels of a window (y, x)."""
        self.scene.check_open()
        if self.task.unit in {"px", "values"}:
            target = targets_of(self.task).target(self.labels, window, self.opened.inside(window))
            (values,) = target.values()
            return values
        raise LabelError(
            "the task labels no pixels",
            self.opened.id,
            expected="a task of pixels",
            got=f"{self.task.kind}, which labels {self.task.unit}",
            hint="take the features: .to_geopandas()",
        )


@dataclass(frozen=True)
class _LabelPixels:
    """Labels as pixels that are read by window."""

    labels: SceneLabels
    dtype: np.dtype[Any]

    @property
    def grid(self) -> Grid:
        return self.labels.opened.grid

    @property
    def bands(self) -> tuple[Band, ...]:
        return (Band(name="labels", dtype=self.dtype.name, unit="", scale=1.0, offset=0.0, nodata=None),)

    def values(self, window: Window, places: Sequence[int]) -> NDArray[Any]:
        return self.labels._target(window)[None][list(places)]  # noqa: SLF001 (the other half of one thing)


@dataclass(frozen=True)
class _NoClasses:
    """What maps the labels of a scene that has none."""

    blanks: bool = True
    unit: str = "px"
    names: tuple[str, ...] = ()

    @property
    def aliases(self) -> dict[str, int]:
        return {}


def open_scene(source: str | Path, *, bands: Sequence[str] | None = None, params: str | Path = "params.yaml") -> Scene:
    """Open a scene of the project in the working folder, by its id, or an image by its path.

    A ``Path``, an address, text with a slash or ``{band}``, and the name of a file that exists are paths. Any other
    text is an id of the catalog that ``params`` names.

    Args:
        source: The id, or the path of one file, or of a file for each ``{band}``.
        bands: Of a scene and of a file for each ``{band}``, the bands to open, in order. Of one file, the names of all
            its bands, in order. None: those of ``params``, or the names that the file gives its bands.
        params: The parameters: the catalog, the bands and the task, for which labels are read.

    Raises:
        CatalogError: The catalog is not valid, or has no such scene.
        ImageError: The image can't be opened, or doesn't say which band is which.
        ParamsError: ``params`` is missing or not valid.

    """
    text = str(source)
    if isinstance(source, Path) or "/" in text or "{band}" in text or is_remote(text) or Path(text).is_file():
        image = _image(text, bands)
        return Scene(parts.Scene(text, "predict", image, (), ()), image.bands, None)
    from quadrat.params import read_params
    from quadrat.scenes.catalog import read_catalog

    project = read_params(Path(params))
    scenes = {scene.id: scene for scene in read_catalog(project.scenes)}
    if text not in scenes:
        raise CatalogError(
            f"there is no file and no scene called {text}",
            file=project.scenes,
            expected=", ".join(scenes),
            hint="name a scene of the catalog, or an image's path",
        )
    return Scene(scenes[text], project.bands if bands is None else bands, project.task)


def _image(path: str, bands: Sequence[str] | None) -> Image:
    """Return the image of a file with all ``bands``, or of a file for each; what values mean is what the files say."""
    from quadrat.geo.files.raster_files import header, opened

    if "{band}" in path:
        if bands is None:
            raise ImageError("the path stands for several files", file=path, hint="name the bands: bands=['B02', …]")
        return Image(sources=(Source(path=path, bands=tuple(bands)),))
    with opened(path) as dataset:
        named = header(dataset, path).names
    names = tuple(str(name or "") for name in named) if bands is None else tuple(bands)
    if len(names) != len(named):
        raise ImageError("bands must name each band of the file", file=path, expected=len(named), got=", ".join(names))
    if not all(names) or len({*names}) < len(names):
        raise ImageError(
            "the file doesn't say which band is which",
            file=path,
            expected="a different name for each band",
            got=", ".join(name or "none" for name in names),
            hint="name them all, in order: bands=['B02', 'B03', …]",
        )
    return Image(sources=(Source(path=path, bands=names),))
