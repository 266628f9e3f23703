"""Pictures of scenes as files: panels side by side, with a title, a scale bar and a legend."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely

from quadrat.evaluation.pictures import Color, Colors, Drawn, Picture, css, keys, overlays, panels
from quadrat.tasks.common.classes import Class

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
SMALLEST = 400
"""Small scenes are enlarged by a whole factor to at most this side, px."""
HEAD, LABEL, GAP, LINE, FRAME = 38, 22, 12, 20, "#999999"
"""Heights of the title and of a panel's name, gap between panels, and line height of the legend, px; and the colour of
frames."""


def draw(picture: Picture, classes: Sequence[Class], title: str, stretch: tuple[float, float], path: Path) -> None:
    """Write ``picture`` as PNG, with the same bytes for any matplotlib style of the user."""
    from matplotlib import style

    with style.context("default"):
        shown = dict(panels(picture, classes, stretch))
        figure = _figure(shown, list(keys(picture, classes)), title)
        for axes, drawn in zip(figure.axes, overlays(picture, classes, shown), strict=True):
            _outline(axes, drawn)
        _scale_bar(figure.axes[0], picture)
        figure.savefig(path, format="png", metadata={"Software": None})


def _figure(shown: dict[str, Colors], legend: Sequence[tuple[str, Color]], title: str) -> "Figure":
    """Lay out panels of one shape below a title and above the legend, aligned to px of the file."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    height, width = next(iter(shown.values())).shape[:2]
    zoom = max(1, SMALLEST // max(height, width))
    columns = _columns(len(shown), height, width)
    across, down = width * zoom + GAP, height * zoom + LABEL + GAP
    total = max(GAP + columns * across, SMALLEST)
    per_line = max(1, (total - 2 * GAP) // (42 + 7 * max((len(name) for name, _ in legend), default=0)))
    tall = HEAD + len(shown) // columns * down + LINE * (math.ceil(len(legend) / per_line) + 1)
    figure = Figure((total / DPI, tall / DPI), DPI, facecolor="white")
    left = (total - columns * across + GAP) / 2
    figure.text(left / total, 1 - 0.45 * HEAD / tall, title, fontsize=11, fontweight="bold", va="center")
    for number, (name, colors) in enumerate(shown.items()):
        row, column = divmod(number, columns)
        bottom = HEAD + row * down + LABEL + height * zoom
        place = ((left + column * across) / total, 1 - bottom / tall, width * zoom / total, height * zoom / tall)
        axes = figure.add_axes(place)
        axes.imshow(colors, interpolation="nearest", aspect="auto")
        axes.set_title(name, fontsize=9, loc="left", pad=4)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=FRAME, linewidth=0.6)
    patches = [Patch(facecolor=css(color), edgecolor=FRAME, linewidth=0.6, label=key) for key, color in legend]
    compact: dict[str, Any] = {"handlelength": 1.3, "handleheight": 1.0, "columnspacing": 1.3, "handletextpad": 0.5}
    figure.legend(handles=patches, loc="lower center", ncols=per_line, frameon=False, fontsize=9, **compact)
    return figure


def _columns(panels: int, height: int, width: int) -> int:
    """Return the number of panels side by side that gives a balanced shape."""
    options = [columns for columns in range(1, panels + 1) if panels % columns == 0]
    return min(options, key=lambda columns: abs(math.log(columns**2 * width / (panels * height) / 1.6)))


def _outline(axes: "Axes", drawn: Drawn) -> None:
    from matplotlib.collections import LineCollection

    axes.autoscale(enable=False)  # outlines outside the panel must not change the axes
    for outlines, colors in drawn:
        rings, owners = shapely.get_parts(shapely.boundary(outlines.geometry), return_index=True)
        lines = [shapely.get_coordinates(ring) - 0.5 for ring in rings]  # matplotlib counts from pixels' centres
        axes.add_collection(LineCollection(lines, colors=[css(colors[n]) for n in owners], linewidths=1.1))


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
