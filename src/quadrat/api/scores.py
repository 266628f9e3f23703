"""Scores predictions against labels: files and scenes, or arrays."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import xarray
from affine import Affine
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from quadrat.api.arrays import checked, grid_of, unplaced, write
from quadrat.api.scenes import Scene
from quadrat.errors import ImageError, ParamsError, PredictionError, QuadratError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.geo.sources.source import Source
from quadrat.labels.raster import RasterLabels
from quadrat.prediction.reader import Prediction
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import check
from quadrat.scenes import scene as parts
from quadrat.scenes.image import Image
from quadrat.tasks import Layers, Match, Task
from quadrat.tasks.common.metrics import Counts, Metrics
from quadrat.tasks.common.outputs import RasterLayer
from quadrat.tasks.common.parts import layers_of, scoring_of
from quadrat.tasks.common.section import TaskSection
from quadrat.tasks.common.truth import Truth

if TYPE_CHECKING:
    import geopandas

LABELS, PREDICTION = "the labels", "the prediction"
"""What errors call arrays."""

Array = NDArray[Any] | xarray.DataArray


@dataclass(frozen=True)
class Scores:
    """What was counted of one scene or more. Scores of several scenes add up: ``sum(scores[1:], scores[0])``."""

    task: TaskSection
    counts: Counts

    def __add__(self, other: Self) -> Self:
        """Return the scores of both together; raise ParamsError if they are of different tasks."""
        if self.task != other.task:
            raise ParamsError("scores of different tasks can't be added", expected=self.task, got=other.task)
        return type(self)(self.task, self.counts + other.counts)

    @property
    def overall(self) -> Metrics:
        """The metrics that aren't a single class's, by name; None where undefined."""
        return self.counts.overall()

    @property
    def classes(self) -> dict[str, Metrics]:
        """Each class's metrics, by its name."""
        return dict(zip(self.task.names, self.counts.per_class(), strict=True))


def evaluate(
    predictions: "str | Path | Mapping[str, Path | xarray.DataArray | geopandas.GeoDataFrame] | Array",
    labels: Scene | Array,
    task: TaskSection | Mapping[str, Any] | None = None,
    match: Match = None,
) -> Scores:
    """Score predictions of one scene against its labels, as the stage eval does.

    What counts is what the labels say within the scene's area of interest. Predictions are refused that lie on another
    grid or are of other classes.

    Args:
        predictions: A folder of layers (``data/predictions/<scene>``), what ``Predictor.predict`` returns, or an array
            (y, x) of class ids (255: none) or values. An array without coordinates lies on the grid of the labels.
        labels: A scene with labels, or an array (y, x) of class ids (255: unlabelled) or values (NaN: unlabelled). The
            nodata value that a DataArray says means the same.
        task: The task, as an object or as ``params.yaml`` has it. None: that of the scene.
        match: When a detection is right; only for object detection, where None is an IoU of 0.5 and a score of 0.5.

    Raises:
        LabelError: The scene has no labels, or they can't be read.
        ParamsError: There is no task, or it isn't that of the scene.
        PredictionError: The predictions are missing, on another grid, of other classes, or of another task.

    """
    given = _task(labels, task)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="quadrat-")))
        stack.enter_context(unplaced())
        stack.enter_context(_named(folder))
        truth = stack.enter_context(_truth(labels, given, _grid(predictions), folder / LABELS))
        files = _folder(predictions, given, truth.scene.grid, folder / PREDICTION)
        made = stack.enter_context(Prediction(files, truth.scene.grid, truth.scene.id))
        (counts,) = scoring_of(given).score(truth, [made], match)
    return Scores(given, counts)


def _task(labels: Scene | Array, task: TaskSection | Mapping[str, Any] | None) -> TaskSection:
    """Return the task of the labels; raise ParamsError if there is none, or another is given."""
    own = labels.task if isinstance(labels, Scene) else None
    if isinstance(task, Mapping):
        task = check({"task": dict(task)}, _Given, ParamsError, Path("task")).task
    found = task or own
    if found is None:
        raise ParamsError("arrays don't say which task they are of", hint="give evaluate() a task")
    if own is not None and task is not None and task != own:
        raise ParamsError("the task is another than the scene's", expected=own, got=task, hint="leave it out")
    return found


class _Given(Section):
    task: Task


def _grid(predictions: Any) -> Grid | None:
    """Return where an array of predictions lies, if it says so."""
    if not isinstance(predictions, xarray.DataArray):
        return None
    return grid_of(predictions, (predictions.sizes.get("y", 0), predictions.sizes.get("x", 0)), PREDICTION)


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Let errors name arrays, not the files in ``folder`` that they were written to."""
    try:
        yield
    except QuadratError as error:
        if isinstance(error.file, str | Path) and Path(error.file).is_relative_to(folder):
            error.file = Path(error.file).relative_to(folder)
            error.hint = None
        raise


@contextmanager
def _truth(labels: Scene | Array, task: TaskSection, other: Grid | None, path: Path) -> Iterator[Truth]:
    """Yield the labels of a scene; those of an array as a scene of their own, written to ``path``.

    An array without coordinates lies on the grid ``other``, if there is one.
    """
    if isinstance(labels, Scene):
        yield Truth(labels.opened, labels.opened.needed_labels())
        return
    values = _plane(labels, task, LABELS)
    grid = grid_of(labels, values.shape, LABELS) or (other if other and other.shape == values.shape else None)
    write(path, values[None], grid or Grid(None, Affine.identity(), values.shape), _nodata(values))
    ids = tuple(c.model_copy(update={"aliases": (str(number),)}) for number, c in enumerate(task.classes))
    numbered = task.model_copy(update={"classes": ids})
    source = RasterLabels(kind="raster", path=str(path), values="numbers" if task.unit == "values" else "ids")
    image = Image(sources=(Source(path=str(path), bands=("labels",)),))
    with parts.Scene("labels", "test", image, (source,), ()).open(("labels",), numbered) as scene:
        yield Truth(scene, scene.needed_labels())


def _folder(predictions: Any, task: TaskSection, grid: Grid, folder: Path) -> Path:
    """Return the folder of the predictions; those in memory are written to ``folder``."""
    if isinstance(predictions, str | Path):
        return Path(predictions)
    layers = predictions if isinstance(predictions, Mapping) else {_raster_layer(task): predictions}
    paths = {layer.parent for layer in layers.values() if isinstance(layer, Path)}
    if len(paths) == 1:
        return paths.pop()
    folder.mkdir()
    for name, layer in layers.items():
        if isinstance(layer, xarray.DataArray | np.ndarray):
            _write_raster(folder / f"{name}.tif", layer, task, grid)
        else:
            layer.to_parquet(folder / f"{name}.parquet")
    return folder


def _write_raster(path: Path, layer: Array, task: TaskSection, grid: Grid) -> None:
    """Write class ids or values; scores of several bands are not scored."""
    if isinstance(layer, xarray.DataArray) and layer.sizes.get("band") == 1:
        layer = layer.isel(band=0)
    if layer.ndim == 3:
        return
    values = _plane(layer, task, PREDICTION)
    classes: Sequence[str] = layer.attrs.get("classes", ()) if isinstance(layer, xarray.DataArray) else ()
    write(path, values[None], grid_of(layer, values.shape, PREDICTION) or grid, _nodata(values), classes)


def _plane(values: Array, task: TaskSection, what: str) -> NDArray[Any]:
    """Return an array (y, x) of class ids or of values as it is written."""
    plain = checked(values, ("y", "x"), what)
    missing = _missing(values, plain)
    if task.unit == "values":
        _check_unit(values, what)
        return np.where(missing, np.float32(np.nan), plain.astype(np.float32))
    if what == PREDICTION and (plain[missing] < len(task.classes)).any() and plain[missing].min() >= 0:
        raise PredictionError(
            "the prediction's nodata value is a class id",
            file=what,
            expected=f"none of 0 to {len(task.classes) - 1}",
            got=plain[missing][0],
            hint="remove the attribute _FillValue that it has of another array",
        )
    if missing.any() and plain.dtype.kind in "iu":
        plain = np.where(missing, IGNORE, plain.astype(np.int64))
    whole = plain.dtype.kind in "iu" and plain.min() >= 0 and plain.max() <= IGNORE
    return plain.astype(np.uint8) if whole else plain


def _missing(values: Array, plain: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where (y, x) a DataArray has the value that it says is none."""
    import rioxarray  # noqa: F401 (gives xarray its .rio)

    nodata = values.rio.nodata if isinstance(values, xarray.DataArray) else None
    found: NDArray[np.bool_] = np.zeros(plain.shape, np.bool_) if nodata is None else plain == nodata
    return found


def _check_unit(values: Array, what: str) -> None:
    """Raise ImageError for a DataArray that says of its values that they are to be scaled first."""
    about = values.attrs if isinstance(values, xarray.DataArray) else {}
    scale, offset = about.get("scale_factor", 1), about.get("add_offset", 0)
    if (scale, offset) != (1, 0):
        raise ImageError(
            f"{what} holds raw values, and not those that are measured",
            expected="values in the unit of the task",
            got=f"scale_factor {scale}, add_offset {offset}",
            hint="open it with mask_and_scale=True; or remove the attributes, if the values are in the unit",
        )


def _nodata(values: NDArray[Any]) -> float:
    return np.nan if values.dtype.kind == "f" else IGNORE


def _raster_layer(task: TaskSection) -> str:
    """Return the name of the layer that an array of predictions is; raise PredictionError if the task has none."""
    try:
        section: Any = TypeAdapter(Layers).validate_python({"kind": task.kind})
        written = layers_of(task).written(section.plain())
    except ValidationError:
        written = ()
    for layer in written:
        if isinstance(layer, RasterLayer):
            return layer.name
    raise PredictionError(
        f"predictions of the task {task.kind} are no array",
        expected="a folder of layers, or what predict() returns",
        hint="write layers with predict(image, out), and give their folder",
    )
