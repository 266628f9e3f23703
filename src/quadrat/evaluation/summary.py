"""Tables of metrics and their intervals, for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from quadrat.evaluation.intervals import LEVEL, Bounds, Spread
from quadrat.tasks.common.metrics import ZERO, Counts, Metrics

if TYPE_CHECKING:
    from quadrat.tasks import Task

MODEL = "model"
"""The name of the model in the comparison."""

BOUNDED = ("f1", "ap50", "r2")
"""Metrics of classes that are shown with their interval: all of them would be too wide."""

WORDS = {"_": " ", "f1": "F1", "iou": "IoU", "mae": "MAE", "rmse": "RMSE", "r2": "R²"}
"""Display names of parts of metrics' names."""


def tables(task: "Task", compared: Mapping[str, Counts], split: str, spread: Spread) -> Iterator[Table | str]:
    """Yield the metrics of each class, those of the model beside the others, and a line about the intervals."""
    names = [f"[{c.color}]■[/] {escape(c.name)}" for c in task.classes]
    unit = f"(support in {task.unit})"
    model = spread.predictions.get(MODEL)
    per_class = dict(zip(names, compared[MODEL].per_class(), strict=True))
    few = [] if model is None else [{name: each.get(name) for name in BOUNDED} for each in model.classes]
    yield _table(f"{split}: each class {unit}", per_class, few)
    summaries = {name: counts.summary() for name, counts in compared.items()}
    bounds = [spread.predictions[name].overall for name in compared if name in spread.predictions]
    yield _table(f"{split}: all classes {unit}", summaries, bounds)
    if spread.plan is not None:
        start = f"In brackets: {LEVEL:.0%} intervals" if model else "No intervals"
        yield f"{start} ({spread.plan.sentence})"


def word(name: str) -> str:
    """Return a metric's name for people."""
    for key, text in WORDS.items():
        name = name.replace(key, text)
    return name


def figure(value: float | None) -> str:
    """Return a metric as text."""
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else _decimal(value, 3)


def _decimal(value: float, digits: int) -> str:
    """Return a number with so many decimals, or as many digits if it is small."""
    small = ZERO < abs(value) < 10 ** (1 - digits)
    return f"{value:.{digits}g}" if small else f"{value:.{digits}f}"


def bounded(value: float | None, bounds: tuple[float, float] | None) -> str:
    """Return a metric and its interval as text."""
    if bounds is None:
        return figure(value)
    low, high = (_decimal(bound, 2) for bound in bounds)
    return f"{figure(value)} ({low} to {high})"


def polygon_sentence(metrics: Metrics) -> str:
    """Return how well polygons are found, in words."""
    found = ", ".join(f"{word(name)} {figure(metrics[name])}" for name in ("f1", "precision", "recall"))
    return f"Polygons matched as polygons, from an IoU of 0.5: {found}, of {figure(metrics['support'])} labelled ones."


def gains(compared: Mapping[str, Counts], metric: str) -> dict[str, float | None]:
    """Return how much larger a metric of the model is than that of each other prediction, by name; None: undefined."""
    ours, *theirs = [(name, counts.summary()[metric]) for name, counts in compared.items()]
    return {name: None if value is None or ours[1] is None else ours[1] - value for name, value in theirs}


def _table(title: str, rows: Mapping[str, Metrics], bounds: Sequence[Bounds]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in next(iter(rows.values())):
        table.add_column(word(name), justify="right")
    for place, (name, metrics) in enumerate(rows.items()):
        own = bounds[place] if bounds else {}
        table.add_row(name, *(bounded(value, own.get(key)) for key, value in metrics.items()))
    return table
