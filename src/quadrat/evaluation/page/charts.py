"""Lines and bars as SVG inside the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadrat.evaluation.page.markup import Markup, tag

WIDTH, HEIGHT = 440, 280
"""Of a chart, px of its own."""

LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
"""Margins of a chart, px."""

MOST_POINTS = 200
"""Most points of a line; of more, some are left out, evenly."""

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a chart: its colour (CSS), its points (point, 2) as x and y, and its dashes."""

    color: str
    points: NDArray[np.float64]
    dashes: str | None = None


@dataclass(frozen=True)
class Axes:
    """The names and ranges of a chart's axes."""

    x: str
    y: str
    across: Range
    up: Range

    def place(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (point, 2) in px of the chart."""
        (left, right), (low, high) = self.across, self.up
        x = LEFT + (points[:, 0] - left) / ((right - left) or 1) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (points[:, 1] - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)
        return np.column_stack([x, y])


def chart(title: str, description: str, axes: Axes, lines: Sequence[Line]) -> Markup:
    """Return a chart of lines, with its text alternative."""
    parts = [tag("title", title), tag("desc", description), *_frame(axes)]
    for line in lines:
        steps = [f"{x:.1f} {y:.1f}" for x, y in axes.place(thinned(line.points)).tolist()]
        if len(steps) == 1:
            x, y = steps[0].split()
            parts.append(tag("circle", cx=x, cy=y, r=3, fill=line.color))
        elif steps:
            parts.append(tag("path", d=f"M{' L'.join(steps)}", stroke=line.color, stroke_dasharray=line.dashes))
    return tag("svg", *parts, class_="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)


def bar(value: float | None, bounds: Range | None, color: str) -> Markup:
    """Return a bar for a metric from 0 to 1, with its interval; its figures stand beside it as text."""
    parts = [tag("rect", x=0, y=5, width=100, height=1, fill="var(--line)")]
    if value is not None:
        parts.append(tag("rect", x=0, y=1, width=f"{_percent(value):.2f}", height=9, fill=color))
    if bounds is not None:
        low, high = map(_percent, bounds)
        parts.append(
            tag("rect", x=f"{low:.2f}", y=4.5, width=f"{max(high - low, 0.5):.2f}", height=2, fill="var(--ink)")
        )
    return tag("svg", *parts, class_="bar", viewBox="0 0 100 11", preserveAspectRatio="none", aria_hidden="true")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from ``low`` to ``high``, at most about ``most``."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * magnitude for digit in (1, 2, 5, 10) if digit * magnitude >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at most MOST_POINTS of ``points``, with the first and the last."""
    if len(points) <= MOST_POINTS:
        return points
    some: NDArray[np.float64] = points[np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int))]
    return some


def _frame(axes: Axes) -> list[Markup]:
    """Return grid lines, their numbers, and the names of the axes."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in ticks(*axes.up):
        y = float(axes.place(np.array([[axes.across[0], value]]))[0, 1])
        parts.append(tag("line", x1=LEFT, x2=right, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="axis"))
        parts.append(tag("text", f"{value:g}", x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"))
    for value in ticks(*axes.across):
        x = float(axes.place(np.array([[value, axes.up[0]]]))[0, 0])
        parts.append(tag("text", f"{value:g}", x=f"{x:.1f}", y=bottom + 17, text_anchor="middle"))
    parts.append(tag("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(tag("text", axes.x, x=(LEFT + right) // 2, y=HEIGHT - 6, text_anchor="middle"))
    middle = (TOP + bottom) // 2
    parts.append(tag("text", axes.y, x=12, y=middle, text_anchor="middle", transform=f"rotate(-90 12 {middle})"))
    return parts


def _percent(value: float) -> float:
    return 100 * min(max(value, 0.0), 1.0)
