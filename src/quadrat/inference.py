"""From an open scene and a predictor to the scene's layers: streamed, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.canvas import Cut
from quadrat.errors import ModelError
from quadrat.executor import ahead
from quadrat.files import replaced
from quadrat.models import Predictor
from quadrat.progress import track
from quadrat.scenes.bands import Band, dates_of, undated
from quadrat.scenes.scene import OpenScene
from quadrat.section import Section
from quadrat.tasks import Layers
from quadrat.tasks.task import Task
from quadrat.windows import Window, cover

WINDOWS = 8
"""Windows that go through a model at once without a GPU: more make it no faster, and take memory."""


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
    task: Task,
    predict: Predict,
    folder: Path,
    batch: int | None,
    *,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the layers of what counts of ``scene`` to ``folder``, whole or not at all.

    Nodata stands where a band has no value and outside the AOI. ``batch`` windows go through the model at once;
    with None, as many as the device takes. ``tags`` become metadata of every layer.
    """
    from quadrat.layers import writer_for

    size, stride = predict.window_size, predict.stride
    windows = cover(scene.area, size, stride, task.margin(size, stride))
    canvas = task.canvas(predict.layers, scene.area, size, stride, scene.grid.shape)
    with replaced(folder) as part, ExitStack() as writers:
        part.mkdir()
        writer = {
            layer.name: writers.enter_context(writer_for(layer, scene.grid, part, tags))
            for layer in task.layers(predict.layers)
        }
        wanted = ahead(_wanted(scene, windows))
        each = scene.area.size // len(windows)
        shown = track(wanted, f"predict {scene.id}", len(windows), "windows", lambda _: each)
        # one thread reads, one runs the model, and this one pastes and writes
        for piece, outputs in ahead(_run(shown, predictor, batch)):
            for finished in canvas.paste(piece.window, outputs, piece.valid):
                writer[finished.layer].write(finished)
        for finished in canvas.close():
            writer[finished.layer].write(finished)


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
            mend="give it as many 'dates' in the catalog, or train the model again",
        )
    for learnt, given in zip(undated(model), undated(image), strict=True):
        if learnt.model_copy(update={"dtype": given.dtype}) != given:
            raise ModelError(
                f"band {given.name} means something else than what the model learnt from",
                scene,
                expected=learnt,
                got=given,
                mend="correct unit, scale, offset or nodata in the catalog, or convert the image",
            )


def _wanted(scene: OpenScene, windows: Sequence[Window]) -> Iterator[Cut]:
    """Give windows, copied: many are kept at once, and each would keep the strip that it is cut from."""
    for piece in scene.cut(windows):
        yield Cut(piece.window, piece.values.copy(), scene.counted(piece.window, piece.valid).copy())


def _run(
    pieces: Iterator[Cut], predictor: Predictor, batch: int | None
) -> Iterator[tuple[Cut, dict[str, NDArray[np.float32]]]]:
    counted = (piece for piece in pieces if piece.valid.any())
    first = next(counted, None)
    if first is None:
        return
    if batch is None:
        from quadrat.models.devices import windows_at_once

        batch = windows_at_once(predictor, first.values, WINDOWS)
    for some in _batched(chain([first], counted), batch):
        outputs = predictor(np.stack([piece.values for piece in some]))
        for number, piece in enumerate(some):
            yield piece, {name: values[number] for name, values in outputs.items()}


def _batched(pieces: Iterator[Cut], size: int) -> Iterator[list[Cut]]:
    while some := list(islice(pieces, size)):
        yield some
