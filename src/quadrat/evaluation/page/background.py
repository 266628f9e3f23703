"""The parts of the page about what was made how: training, parameters and origin."""

from collections.abc import Iterator

import numpy as np

from quadrat.evaluation.page.charts import Axes, Line, chart
from quadrat.evaluation.page.content import Content
from quadrat.evaluation.page.markup import Markup, paragraph, section, swatch, table, tag
from quadrat.evaluation.page.training import Training
from quadrat.evaluation.summary import word
from quadrat.runtime.provenance.origin import Origin

COLORS = ("var(--blue)", "var(--orange)")

DASHES = (None, "6 4")

SHOWN = 12
"""Digits of hashes that are shown."""


def training(content: Content) -> Markup:
    """Return the curves of losses and of the headline metric; nothing for a model without epochs."""
    found = content.training
    if found is None:
        return Markup()
    metric = f"validation_{content.metric}"
    groups = [("loss", ["train_loss", "validation_loss"]), (word(content.metric), [metric])]
    charts = []
    for name, columns in groups:
        drawn = [column for column in columns if column in found.columns and len(found.points(column))]
        if drawn:
            charts.append(_chart(found, name, drawn))
    kept = "" if found.kept is None else f" The weights of epoch {found.kept} were kept."
    told = paragraph(f"On chips of the training and validation scenes.{kept}", class_="soft")
    return section("Training", tag("div", *charts, class_="charts"), told) if charts else Markup()


def parameters(content: Content) -> Markup:
    """Return the parameters as in ``params.yaml``, without defaults."""
    return section("Parameters", tag("pre", content.parameters))


def origin(content: Content) -> Markup:
    """Return commit, inputs and versions of the run that made the predictions; nothing if they are unknown."""
    known = [scene.origin for scene in content.scenes if scene.origin]
    if not known:
        return Markup()
    kinds = list(dict.fromkeys(one.model_dump_json() for one in known))
    first = Origin.model_validate_json(kinds[0])
    rows = [[name, tag("td", value, class_="text")] for name, value in _told(first)]
    parts = [table("What made the predictions, as quadrat origin tells it", ["what", "value"], rows)]
    others = sum(one.model_dump_json() != kinds[0] for one in known)
    if others:
        parts.append(paragraph(f"Predictions of other runs: {others:,} of {len(known):,}.", class_="soft"))
    lacking = len(content.scenes) - len(known)
    if lacking:
        parts.append(paragraph(f"Predictions without an origin: {lacking:,}.", class_="soft"))
    return section("Origin", *parts)


def _told(made: Origin) -> Iterator[tuple[str, str]]:
    for prefix, one in (("", made), ("model, ", made.parent.origin if made.parent else None)):
        if one is None:
            continue
        yield f"{prefix}made by", one.made_by
        if one.git is not None:
            changed = f", with changes of {', '.join(one.git.changed)}" if one.git.dirty else ""
            yield f"{prefix}commit", f"{one.git.commit[:SHOWN]}{changed}"
        for path, found in (one.inputs or {}).items():
            yield f"{prefix}{path}", "missing" if found is None else found[:SHOWN]
    yield "versions", ", ".join(f"{name} {version}" for name, version in made.versions.items())


def _chart(found: Training, name: str, columns: list[str]) -> Markup:
    points = {column: found.points(column) for column in columns}
    every = np.concatenate(list(points.values()))
    low, high = float(every[:, 1].min()), float(every[:, 1].max())
    edge = 0.05 * ((high - low) or abs(high) or 1)
    axes = Axes("epoch", name, (float(every[:, 0].min()), float(every[:, 0].max())), (low - edge, high + edge))
    lines = [
        Line(color, points[column], dashes) for column, color, dashes in zip(columns, COLORS, DASHES, strict=False)
    ]
    texts = [_described(column, points[column]) for column in columns]
    legend = [tag("li", swatch(color), text) for color, text in zip(COLORS, texts, strict=False)]
    title = f"{name} by epoch".capitalize() if name == "loss" else f"{name} by epoch"
    drawn = chart(title, "; ".join(texts), axes, lines)
    return tag("figure", drawn, tag("figcaption", tag("ul", *legend, class_="legend")))


def _described(column: str, points: np.ndarray) -> str:
    values = points[:, 1]
    best = int(values.argmin() if column.endswith("loss") else values.argmax())
    which = "lowest" if column.endswith("loss") else "highest"
    name = word(column.replace("train_", "training_"))
    return f"{name}: from {values[0]:.3g} to {values[-1]:.3g}, {which} {values[best]:.3g} at epoch {points[best, 0]:g}"
