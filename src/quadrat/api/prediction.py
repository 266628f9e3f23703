"""Loads a bundle, and predicts arrays and files with it."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, overload

import numpy as np
import xarray
from numpy.typing import NDArray

from quadrat.api.array_images import ARRAY, held
from quadrat.api.arrays import read, unplaced
from quadrat.bundle.loading import read_bundle
from quadrat.errors import ImageError, ParamsError, QuadratError, printable
from quadrat.geo.sources.bands import Band
from quadrat.models.model_folder import read_model
from quadrat.prediction.writers import file_of
from quadrat.serving.apply import check_folders
from quadrat.serving.folder_models import FolderModel
from quadrat.serving.new_images import Offered, Reading, offered
from quadrat.serving.ready import Plan, Ready
from quadrat.tasks.common.outputs import RasterLayer
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    import geopandas

    Layer: TypeAlias = xarray.DataArray | geopandas.GeoDataFrame

Picture: TypeAlias = NDArray[Any] | xarray.DataArray | str | Path
"""An image in memory, or its path."""


class About(TypedDict, total=False):
    """What an image doesn't say of itself, or says wrongly."""

    bands: Sequence[str]
    """The names of all bands of the image, in order."""
    scale: float
    """Value × scale + offset is in the model's unit."""
    offset: float
    nodata: float
    """The raw value that is none."""
    unchecked: bool
    """Accept values far from the training values."""
    resolution: float | Literal["model"]
    """Bring the image to pixels of this side, in units of its CRS, or to the model's."""


class Predictor:
    """A bundle's model, ready to predict: ``load`` makes one. Not shared between threads."""

    def __init__(self, ready: Ready) -> None:
        """Predict with a bundle that is ready."""
        self._ready = ready

    def __repr__(self) -> str:
        """Return path, task and bands."""
        names = ", ".join(band.name for band in self.bands)
        return f"Predictor({str(self._ready.bundle.path)!r}, {self.task.kind}, bands {names})"

    @property
    def task(self) -> TaskSection:
        """The task, with its classes."""
        return self._ready.bundle.card.task

    @property
    def bands(self) -> tuple[Band, ...]:
        """What the model takes, in order: name, data type, unit, scale, offset and nodata of each band."""
        return self._ready.bundle.card.bands

    @property
    def gsd(self) -> float:
        """Ground sample distance of the training scenes, m; 1 where they have no CRS."""
        return self._ready.bundle.card.gsd

    @overload
    def predict(self, image: Picture, out: None = None, **about: Unpack[About]) -> "dict[str, Layer]": ...

    @overload
    def predict(self, image: Picture, out: str | Path, **about: Unpack[About]) -> dict[str, Path]: ...

    def predict(
        self, image: Picture, out: str | Path | None = None, **about: Unpack[About]
    ) -> "dict[str, Layer] | dict[str, Path]":
        """Predict an image, and return its layers by name: those that ``quadrat apply`` writes, from the same windows.

        The image is one of:

        - an array (band, y, x) of raw values as the model's bands have them: all its bands in its order, unless
          ``bands`` names them. Its place on the ground isn't known, so its pixels' size can't be checked;
        - a DataArray with the axes ``band``, ``y`` and ``x``, such as ``Scene.to_xarray`` and rioxarray give. The
          coordinate ``band``, or the attribute ``long_name``, names the bands, unless ``bands`` does; CRS and place,
          unit, scale, offset and nodata are its own, where it says them;
        - a path as ``quadrat apply`` takes it: a file, a path with ``{band}``, or a catalog of one scene.

        Bands are taken by name, and values are converted to the model's unit. Values far from all that the model learnt
        from, as in another unit, are an error.

        Args:
            image: The image.
            out: A folder that gets a folder of layers, as ``quadrat apply --out``. None: layers stay in memory.
            **about: What counts whatever the image says: ``bands``, the names of all its bands in order; ``scale`` and
                ``offset``, by which value × scale + offset is in the model's unit; ``nodata``, the raw value that is
                none; ``unchecked``, to accept values far from the training values; ``resolution``, as of ``quadrat
                apply``.

        Returns:
            Without ``out``, a raster layer is a DataArray: class ids (y, x), uint8, 255 where nothing is predicted; or
            float32 (band, y, x), NaN there. A vector layer is a GeoDataFrame in the image's CRS; without one, in px.
            With ``out``, the paths of the files.

        Raises:
            ImageError: The image can't be read, lacks a band, or has values in another unit.
            ModelError: A band's unit is another than the model's.
            ParamsError: A scale is 0, a resolution isn't above 0, or such a value is no number.

        """
        names = about.get("bands")
        given: dict[str, Any] = {
            **{name: value.item() if isinstance(value, np.generic) else value for name, value in about.items()},
            "bands": None if names is None else (names,) if isinstance(names, str) else tuple(names),
        }
        reading = Reading(**given)
        with TemporaryDirectory(prefix="quadrat-") as temporary, unplaced():
            if isinstance(image, str | Path):
                one = _only(offered(str(image), self._ready.bundle.card.inputs, reading), image)
            else:
                one, reading = held(image, self._ready.bundle.card.inputs, reading, Path(temporary) / "array.tif")
            try:
                return self._predicted(one, reading, None if out is None else Path(out), Path(temporary) / "layers")
            except QuadratError as error:
                if str(error.file).startswith(temporary):
                    error.file = ARRAY
                raise

    def _predicted(
        self, one: Offered, reading: Reading, out: Path | None, temporary: Path
    ) -> "dict[str, Layer] | dict[str, Path]":
        one = self._ready.resampled(one, reading)
        if out is not None:
            check_folders([one], out, self._ready)
        for line in self._ready.warnings(one, reading):
            warnings.warn(printable(line), stacklevel=3)
        folder = temporary if out is None else out / one.id
        ready = _with_own_crs(self._ready) if out is None else self._ready
        ready.write(one, folder)
        written = layers_of(self.task).written(ready.predict.layers)
        files = {layer: file_of(layer) for layer in written}
        if out is not None:
            return {layer.name: folder / file for layer, file in files.items()}
        return {
            layer.name: read(folder / file, layer) if isinstance(layer, RasterLayer) else _features(folder / file)
            for layer, file in files.items()
        }


def load(
    bundle: str | Path,
    params: str | Path | None = None,
    *,
    runtime: Literal["torch", "onnx"] | None = None,
    layers: Mapping[str, Any] | None = None,
    size: int | None = None,
    stride: int | None = None,
) -> Predictor:
    """Open a bundle (``bundle.zip``), check it, and load its model.

    Args:
        bundle: The path of the bundle; or of a model folder, which needs ``params``.
        params: The parameters whose section ``predict`` counts for a model folder; a bundle has its own.
        runtime: ``torch`` (for a forest scikit-learn) or ``onnx``. None: the faster one here, of those installed.
        layers: Keys of ``predict.layers`` and their values, e.g. ``{"scores": True}``; others are as in the bundle.
        size: Side of a window, px; None: as in the bundle.
        stride: Px between windows; None: as in the bundle.

    Raises:
        BundleError: The file is missing, damaged or no bundle, or no runtime for its model is installed.
        ModelError: The model folder can't be read.
        ParamsError: The layers or windows don't fit the model, or ``params`` is missing or given in vain.

    """
    if Path(bundle).is_dir() != (params is not None):
        raise ParamsError(
            "a model folder needs parameters, and a bundle has its own",
            file=bundle,
            expected="load('bundle.zip'), or load('models/model', 'params.yaml')",
            got=f"params: {params}",
        )
    opened = read_bundle(Path(bundle)) if params is None else _folder(Path(bundle), Path(params))
    ready = Ready.of(opened, Plan(runtime, None, size, stride, layers or {}))
    ready.load()
    return Predictor(ready)


def _folder(model: Path, params: Path) -> FolderModel:
    """Return a model folder that predicts as the file ``params`` says."""
    from quadrat.params import read_params

    predict = read_params(params).predict.model_dump(mode="json", by_alias=True)
    return FolderModel(model, read_model(model), {"predict": predict})


def _with_own_crs(ready: Ready) -> Ready:
    """Return the bundle with vector layers in the image's CRS, which GeoJSON is not."""
    named = ready.predict.layers.model_dump()
    files = {name: file for name, file in named.items() if isinstance(file, str) and file.endswith(".geojson")}
    if not files:
        return ready
    return ready.with_layers({name: str(Path(file).with_suffix(".parquet")) for name, file in files.items()})


def _only(found: Sequence[Offered], path: str | Path) -> Offered:
    if len(found) != 1:
        raise ImageError(
            "the catalog has several scenes",
            file=path,
            expected="one image",
            got=", ".join(one.id for one in found),
            hint="predict them one by one, or with `quadrat apply`",
        )
    return found[0]


def _features(path: Path) -> "geopandas.GeoDataFrame":
    from quadrat.geo.vectors.vector_files import read as read_features

    return read_features(str(path))
