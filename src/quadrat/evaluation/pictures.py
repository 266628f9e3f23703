"""Pictures of scenes: image, labels, prediction and error, side by side."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field, field_validator

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.runtime.formats.section import Section
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.outputs import Outlines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

DPI = 100
SMALLEST = 400
"""Small scenes are enlarged by a whole factor to at most this side, px."""
HEAD, LABEL, GAP, LINE, FRAME = 38, 22, 12, 20, "#999999"
"""Heights of the title and of a panel's name, gap between panels, and line height of the legend, px; and the colour of
frames."""


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


def draw(picture: Picture, classes: Sequence[Class], title: str, stretch: tuple[float, float], path: Path) -> None:
    """Write ``picture`` as PNG, with the same bytes for any matplotlib style of the user."""
    from matplotlib import style

    with style.context("default"):
        panels = dict(_panels(picture, classes, stretch))
        figure = _figure(panels, list(_keys(picture, classes)), title)
        for axes, drawn in zip(figure.axes, _overlays(picture, classes, panels), strict=True):
            _outline(axes, drawn)
        _scale_bar(figure.axes[0], picture)
        figure.savefig(path, format="png", metadata={"Software": None})


def _figure(panels: dict[str, Colors], keys: Sequence[tuple[str, Color]], title: str) -> "Figure":
    """Lay out panels of one shape below a title and above the legend, aligned to px of the file."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height, width = next(iter(panels.values())).shape[:2]
    zoom = max(1, SMALLEST // max(height, width))
    columns = _columns(len(panels), height, width)
    across, down = width * zoom + GAP, height * zoom + LABEL + GAP
    total = max(GAP + columns * across, SMALLEST)
    per_line = max(1, (total - 2 * GAP) // (42 + 7 * max((len(name) for name, _ in keys), default=0)))
    tall = HEAD + len(panels) // columns * down + LINE * (math.ceil(len(keys) / per_line) + 1)
    figure = Figure((total / DPI, tall / DPI), DPI, facecolor="white")
    left = (total - columns * across + GAP) / 2
    figure.text(left / total, 1 - 0.45 * HEAD / tall, title, fontsize=11, fontweight="bold", va="center")
    for number, (name, colors) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        bottom = HEAD + row * down + LABEL + height * zoom
        place = ((left + column * across) / total, 1 - bottom / tall, width * zoom / total, height * zoom / tall)
        axes = figure.add_axes(place)
        axes.imshow(colors, interpolation="nearest", aspect="auto")
        axes.set_title(name, fontsize=9, loc="left", pad=4)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=FRAME, linewidth=0.6)
    patches = [Patch(facecolor=_hex(color), edgecolor=FRAME, linewidth=0.6, label=key) for key, color in keys]
    compact: dict[str, Any] = {"handlelength": 1.3, "handleheight": 1.0, "columnspacing": 1.3, "handletextpad": 0.5}
    figure.legend(handles=patches, loc="lower center", ncols=per_line, frameon=False, fontsize=9, **compact)
    return figure


def _columns(panels: int, height: int, width: int) -> int:
    """Return the number of panels side by side that gives a balanced shape."""
    options = [columns for columns in range(1, panels + 1) if panels % columns == 0]
    return min(options, key=lambda columns: abs(math.log(columns**2 * width / (panels * height) / 1.6)))


def _panels(picture: Picture, classes: Sequence[Class], stretch: tuple[float, float]) -> Iterator[tuple[str, Colors]]:
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


def _overlays(picture: Picture, classes: Sequence[Class], panels: Mapping[str, Colors]) -> Iterator[Drawn]:
    """Yield the outlines of each panel: labels and prediction by class, errors by kind."""
    for name in panels:
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


def _outline(axes: "Axes", drawn: Drawn) -> None:
    from matplotlib.collections import LineCollection

    axes.autoscale(enable=False)  # outlines outside the panel must not change the axes
    for outlines, colors in drawn:
        rings, owners = shapely.get_parts(shapely.boundary(outlines.geometry), return_index=True)
        lines = [shapely.get_coordinates(ring) - 0.5 for ring in rings]  # matplotlib counts from pixels' centres
        axes.add_collection(LineCollection(lines, colors=[_hex(colors[n]) for n in owners], linewidths=1.1))


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


def _keys(picture: Picture, classes: Sequence[Class]) -> Iterator[tuple[str, Color]]:
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


def _scale_bar(axes: "Axes", picture: Picture) -> None:
    """Draw a bar of a round length, at most a third of the panel's width."""
    from matplotlib.patheffects import withStroke

    height, width = picture.predicted.shape
    longest = width * picture.side / 3
    magnitude = 10.0 ** math.floor(math.log10(longest))
    length = max(digit * magnitude for digit in (1, 2, 5) if digit * magnitude <= longest)
    km = picture.unit == "m" and length >= 1000
    text = f"{length / 1000:g} km" if km else f"{length:g} {picture.unit}"
    start, line = 0.04 * width, height - 0.03 * max(height, width)
    dark: dict[str, Any] = {"path_effects": [withStroke(linewidth=3, foreground="black")], "color": "white"}
    axes.plot((start, start + length / picture.side), (line, line), linewidth=1.6, solid_capstyle="butt", **dark)
    axes.annotate(text, (start, line), (0, 5), textcoords="offset points", fontsize=8, **dark)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
