"""From an open scene and a predictor to the scene's layers: streamed, in bounded memory."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.errors import ModelError
from quadrat.geo.grids.tiling import Cut
from quadrat.geo.grids.windows import Window, cover
from quadrat.geo.sources.bands import Band, dates_of, undated
from quadrat.models import Predictor
from quadrat.models.common.model import DevicePredictor
from quadrat.runtime.files import ANY, replaced
from quadrat.runtime.formats.section import Section
from quadrat.runtime.memory import Memory
from quadrat.runtime.parallel import ahead
from quadrat.runtime.progress import track
from quadrat.scenes.scene import OpenScene
from quadrat.tasks import Layers
from quadrat.tasks.common.blended import PixelDecisions
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.outputs import Canvas, Features, Rows
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.common.section import TaskSection

Item = TypeVar("Item")

PIXELS = 2 * 256 * 256
"""Px that go through a model at once without a GPU: more make none faster, and leave the processor's caches."""


class Predict(Section):
    """How a scene is covered with windows, and what is written of it."""

    window_size: int = Field(ge=8)
    """Height and width of a window, px."""
    stride: int = Field(ge=1)
    """Px between two windows; what overlaps is blended."""
    layers: Layers
    """What is written of a scene."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stride > self.window_size:
            raise ValueError(f"stride {self.stride} leaves gaps between windows of size {self.window_size}")
        return self


def predict_scene(  # noqa: PLR0913 (what is written in the layers' metadata decides nothing)
    scene: OpenScene,
    predictor: Predictor,
    task: TaskSection,
    predict: Predict,
    folder: Path,
    batch: int | None,
    *,
    tags: Mapping[str, str] = MappingProxyType({}),
    calibration: Calibration | None = None,
) -> None:
    """Write the layers of what counts of ``scene`` to ``folder``, whole or not at all.

    Nodata stands where a band has no value and outside the AOI. ``batch`` windows go through the model at once;
    with None, as many as the device takes. ``tags`` become metadata of every layer, and scores become probabilities by
    the model's ``calibration``. The caller has checked what ``folder`` holds: it is replaced.
    """
    from quadrat.prediction.writers import writer_for

    layers = layers_of(task, calibration)
    with replaced(folder, ANY) as part, ExitStack() as writers:
        part.mkdir()
        writer = {
            layer.name: writers.enter_context(writer_for(layer, scene.grid, part, tags))
            for layer in layers.written(predict.layers)
        }
        with closing(predicted(scene, predictor, layers, predict, batch)) as made:  # all threads end before the files
            for finished in made:
                writer[finished.layer].write(finished)


def predicted(
    scene: OpenScene,
    predictor: Predictor,
    layers: TaskLayers[Any],
    predict: Predict,
    batch: int | None,
    part: Window | None = None,
) -> Generator[Rows | Features, None, None]:
    """Give what is predicted of what counts of ``scene``, as the task's ``layers`` make it, from top to bottom.

    With ``part``, a window of the scene's area, only the scene's windows that can change something there are predicted.
    Rows are then those of the part; features are all that these windows give, of which those with their centre in the
    part are the scene's.
    """
    size, stride = predict.window_size, predict.stride
    windows = cover(scene.area, size, stride, layers.margin(size, stride))
    if part is not None:
        windows = _reaching(windows, part, layers.reach(size))
    shown = _Shown(scene, windows, silent=part is not None)
    decided = part or scene.area
    decisions = layers.decisions(predict.layers, decided)
    if isinstance(predictor, DevicePredictor) and decisions is not None:
        yield from _on_device(shown, predictor, decisions, decided, (stride, batch))
        return
    area = scene.area if decisions is None else decided  # where windows aren't blended, all of it decides
    canvas = layers.canvas(predict.layers, area, size, stride, scene.grid.shape)
    yield from _on_processor(shown, predictor, canvas, batch)


def _reaching(windows: Sequence[Window], part: Window, reach: int) -> list[Window]:
    """Return the windows that touch a part, or come closer to it than ``reach`` px."""
    near = Window(part.row - reach, part.col - reach, part.height + 2 * reach, part.width + 2 * reach)
    return [window for window in windows if window.intersection(near)]


@dataclass(frozen=True)
class _Shown:
    """Windows of a scene, and whether their number is shown while they are taken."""

    scene: OpenScene
    windows: Sequence[Window]
    silent: bool

    def __call__(self, items: Generator[Item, None, None]) -> Generator[Item, None, None]:
        """Give something of each window, and show how many were taken."""
        if self.silent:
            return items
        each = self.scene.area.size // len(self.windows)
        return track(items, f"predict {self.scene.id}", len(self.windows), "windows", lambda _: each)


def _on_processor(
    shown: _Shown, predictor: Predictor, canvas: Canvas, batch: int | None
) -> Generator[Rows | Features, None, None]:
    """Give what is finished: one thread reads, one runs the model, and this one pastes."""
    wanted = shown(_wanted(shown.scene, shown.windows))
    batches = _batches(wanted, lambda window: min(len(shown.windows), batch or _fitting(predictor, window)))
    with closing(ahead(_run(ahead(batches, depth=1), predictor))) as pasted:
        for window, outputs, valid in pasted:
            yield from canvas.paste(window, outputs, valid)
    yield from canvas.close()


def _on_device(
    shown: _Shown,
    predictor: DevicePredictor,
    decisions: PixelDecisions,
    area: Window,
    how: tuple[int, int | None],
) -> Generator[Rows | Features, None, None]:
    """Give the same, decided on the model's device: threads read, one sends, one has the device work.

    ``how`` is the stride, px, and the number of windows per batch.
    """
    from quadrat.prediction.on_device import Plan, decided

    scene, windows, (stride, batch) = shown.scene, shown.windows, how
    shape = len(scene.raster.bands), *windows[0].shape
    each = shown(window for window in windows)
    plan = Plan(windows, area, stride, batch or predictor.windows_at_once(shape, scene.raster.dtype))
    with closing(ahead(decided(scene, predictor, decisions, plan, each), depth=4)) as rows:
        for row, some in rows:
            yield from decisions.finish(row, area.col, some)
    yield from decisions.close()


def at_once(size: int) -> int:
    """Return how many windows of ``size`` px go through a model at once without a GPU."""
    return max(1, PIXELS // size**2)


def check_bands(model: Sequence[Band], image: Sequence[Band], scene: str) -> None:
    """Raise ModelError where an image's bands mean something else than those that the model learnt from.

    Or where it has not as many dates; what they are called is its own.
    """
    if len(model) != len(image):
        raise ModelError(
            "the image has another number of dates than what the model learnt from",
            scene,
            expected=len(dates_of(model)),
            got=len(dates_of(image)),
            hint="give it as many 'dates' in the catalog, or train the model again",
        )
    for learnt, given in zip(undated(model), undated(image), strict=True):
        if learnt.model_copy(update={"dtype": given.dtype}) != given:
            raise ModelError(
                f"band {given.name} means something else than what the model learnt from",
                scene,
                expected=learnt,
                got=given,
                hint="correct unit, scale, offset or nodata in the catalog, or convert the image",
            )


def _wanted(scene: OpenScene, windows: Sequence[Window]) -> Generator[Cut, None, None]:
    """Give windows, valid where they count."""
    for piece in scene.cut(windows):
        yield Cut(piece.window, piece.values, scene.counted(piece.window, piece.valid))


@dataclass(frozen=True)
class _Batch:
    """Windows that go through the model at once: their ``values`` (window, band, y, x) and ``valid`` (window, y, x).

    There is room for more than the ``windows`` that came so far.
    """

    windows: list[Window]
    values: NDArray[Any]
    valid: NDArray[np.bool_]

    @classmethod
    def of(cls, size: int, piece: Cut, memory: Memory) -> Self:
        """Return room for ``size`` windows like ``piece``."""
        values = memory.empty((size, *piece.values.shape), piece.values.dtype)
        return cls([], values, np.empty((size, *piece.valid.shape), np.bool_))

    def add(self, piece: Cut) -> None:
        number = len(self.windows)
        self.values[number], self.valid[number] = piece.values, piece.valid
        self.windows.append(piece.window)


def _batches(pieces: Generator[Cut, None, None], fitting: Callable[[NDArray[Any]], int]) -> Iterator[_Batch]:
    """Give what counts, copied, ``fitting`` of the first window at once: a window would keep the strip it is cut from.

    The memory of batches that nobody looks at any more is used again.
    """
    memory, size = Memory(), 0
    filling: list[_Batch] = []
    with closing(pieces):
        for piece in pieces:
            if not piece.valid.any():
                continue
            size = size or fitting(piece.values)
            if not filling:
                filling.append(_Batch.of(size, piece, memory))
            filling[0].add(piece)
            if len(filling[0].windows) == size:
                yield filling.pop()
    yield from filling


def _run(
    batches: Generator[_Batch, None, None], predictor: Predictor
) -> Iterator[tuple[Window, dict[str, NDArray[np.float32]], NDArray[np.bool_]]]:
    with closing(batches):
        for batch in batches:
            outputs = predictor(batch.values[: len(batch.windows)])
            for number, window in enumerate(batch.windows):
                yield window, {name: values[number] for name, values in outputs.items()}, batch.valid[number]


def _fitting(predictor: Predictor, window: NDArray[Any]) -> int:
    if isinstance(predictor, DevicePredictor):
        return predictor.windows_at_once(window.shape, window.dtype)
    return at_once(window.shape[-1])
