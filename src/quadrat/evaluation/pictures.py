"""Pictures of scenes: the colours of image, labels, prediction and error."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.outputs import Outlines

Color = tuple[int, int, int]
Colors = NDArray[np.uint8]
"""(y, x, 3): red, green and blue."""

Drawn = Sequence[tuple[Outlines, Sequence[Color]]]
"""Outlines, px of the picture, and their colours."""

NONE: Color = (236, 236, 236)
RIGHT: Color = (172, 204, 224)
WRONG: Color = (214, 20, 120)
LOST: Color = (70, 70, 70)
FOUND: Color = (60, 150, 255)
MISSED: Color = (255, 200, 0)
OUTSIDE: Color = (255, 255, 255)


class Pictures(Section):
    """Settings of the pictures of scenes."""

    longest_side: int = Field(default=1024, ge=64, le=4096)
    """Largest side of a panel, px; larger scenes are shrunk by a whole factor."""
    bands: tuple[str, ...]
    """Red, green and blue of the image; or one band, for grey."""
    stretch: tuple[float, float] = (2, 98)
    """Percentiles of each band in the picture that become black and full colour."""

    @field_validator("bands")
    @classmethod
    def _check_bands(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if len(bands) not in {1, 3}:
            raise ValueError(f"a picture takes three bands (red, green, blue) or one (grey), not {len(bands)}")
        return bands

    @field_validator("stretch")
    @classmethod
    def _check_stretch(cls, stretch: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= stretch[0] < stretch[1] <= 100:
            raise ValueError("stretch takes two percentages, the lower one first")
        return stretch


@dataclass(frozen=True, eq=False)
class Picture:
    """The content of a scene's picture: arrays of the same shape (y, x)."""

    image: NDArray[np.float64]
    """(band, y, x), raw values of one or three bands, or NaN."""
    inside: NDArray[np.bool_]
    """(y, x), True within the AOI."""
    predicted: NDArray[np.uint8]
    """(y, x), predicted class ids, or IGNORE."""
    truth: NDArray[np.uint8] | None
    """(y, x), the class ids of the labels, if the scene is scored."""
    side: float
    """Size of a pixel, in ``unit``."""
    unit: str
    """``m`` on the ground, or ``px`` of the scene."""
    drawn: tuple[Outlines, ...] | None = None
    """Outlines of labels and of the prediction, px of the picture, drawn instead of the maps."""


def css(color: Color) -> str:
    """Return a colour as HTML, SVG and matplotlib take it."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def panels(picture: Picture, classes: Sequence[Class], stretch: tuple[float, float]) -> Iterator[tuple[str, Colors]]:
    """Yield the name and the colours of each panel; those with outlines show the image."""
    image = _stretched(picture, stretch)
    yield "image", image
    if picture.drawn is not None:
        yield from ((name, image) for name in ("labels", "prediction", "error") if name in _shown(picture))
        return
    if picture.truth is not None:
        yield "labels", _painted(picture.truth, picture.inside, classes)
    yield "prediction", _painted(picture.predicted, picture.inside, classes)
    if picture.truth is not None:
        yield "error", _errors(picture.truth, picture.predicted, picture.inside)


def _shown(picture: Picture) -> tuple[str, ...]:
    return ("prediction",) if picture.truth is None else ("labels", "prediction", "error")


def overlays(picture: Picture, classes: Sequence[Class], names: Iterable[str]) -> Iterator[Drawn]:
    """Yield the outlines of each panel: labels and prediction by class, errors by kind."""
    for name in names:
        if picture.drawn is None or name == "image":
            yield []
            continue
        labels, predicted = picture.drawn
        if name == "error":
            lost = replace(labels, **_picked(labels, ~labels.right))
            yield [
                (predicted, [FOUND if right else WRONG for right in predicted.right]),
                (lost, [MISSED] * len(lost.geometry)),
            ]
        else:
            some = labels if name == "labels" else predicted
            yield [(some, [classes[number].rgb if number < len(classes) else NONE for number in some.class_ids])]


def _picked(outlines: Outlines, mask: NDArray[np.bool_]) -> dict[str, Any]:
    return {name: getattr(outlines, name)[mask] for name in ("geometry", "class_ids", "right")}


def _stretched(picture: Picture, stretch: tuple[float, float]) -> Colors:
    """Return the image, paler outside the AOI, and white without values."""
    shown = np.full(picture.image.shape, 255.0)
    for band, target in zip(picture.image, shown, strict=True):
        known = ~np.isnan(band)
        seen = band[known & picture.inside]
        low, high = np.percentile(seen, stretch) if seen.size else (0.0, 1.0)
        target[known] = 255 * np.clip((band[known] - low) / ((high - low) or 1), 0, 1)
    paler = np.where(picture.inside, shown, 255 - 0.35 * (255 - shown))
    colors: Colors = np.broadcast_to(np.rint(paler).astype(np.uint8), (3, *picture.inside.shape)).transpose(1, 2, 0)
    return colors


def _painted(ids: NDArray[np.uint8], inside: NDArray[np.bool_], classes: Sequence[Class]) -> Colors:
    table = np.full((IGNORE + 1, 3), NONE, np.uint8)
    table[: len(classes)] = [c.rgb for c in classes]
    colors: Colors = table[ids]
    colors[~inside] = OUTSIDE
    return colors


def _errors(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], inside: NDArray[np.bool_]) -> Colors:
    labelled = (truth != IGNORE) & inside
    colors = np.full((*truth.shape, 3), OUTSIDE, np.uint8)
    colors[inside] = NONE
    colors[labelled] = WRONG
    colors[labelled & (truth == predicted)] = RIGHT
    colors[labelled & (predicted == IGNORE)] = LOST
    return colors


def keys(picture: Picture, classes: Sequence[Class]) -> Iterator[tuple[str, Color]]:
    """Yield names and colours of the legend: those in the picture."""
    if picture.drawn is not None:
        seen = {int(number) for outlines in picture.drawn for number in outlines.class_ids}
        yield from ((c.name, c.rgb) for number, c in enumerate(classes) if number in seen)
        yield from () if picture.truth is None else (("right", FOUND), ("wrong", WRONG), ("missed", MISSED))
        return
    truth = np.full_like(picture.predicted, IGNORE) if picture.truth is None else picture.truth
    truth, predicted = truth[picture.inside], picture.predicted[picture.inside]
    shown = np.union1d(truth, predicted)
    yield from ((c.name, c.rgb) for number, c in enumerate(classes) if number in shown)
    if IGNORE in shown and (picture.truth is not None or IGNORE in predicted):
        yield "none", NONE
    labelled = truth != IGNORE
    if picture.truth is not None:
        yield from (("right", RIGHT), ("wrong", WRONG))
    if (labelled & (predicted == IGNORE)).any():
        yield "not predicted", LOST
