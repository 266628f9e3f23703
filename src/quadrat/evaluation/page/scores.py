"""The parts of the page about scores: headline, comparison, classes, confusion, precision and recall."""

from collections.abc import Iterator

import numpy as np

from quadrat.evaluation.intervals import LEVEL, Bounds
from quadrat.evaluation.page.charts import Axes, Line, bar, chart
from quadrat.evaluation.page.content import Content
from quadrat.evaluation.page.markup import Markup, joined, paragraph, section, swatch, table, tag
from quadrat.evaluation.summary import BOUNDED, MODEL, bounded, figure, gains, polygon_sentence, word
from quadrat.tasks.common.classes import NONE

MOST_CLASSES = 24
"""Most classes of a matrix or of curves; of more, the largest confusions are listed."""

MOST_CONFUSIONS = 24


def headline(content: Content) -> Markup:
    """Return the main score with its interval, and how much larger it is than each baseline's."""
    value = content.compared[MODEL].summary()[content.metric]
    model = content.spread.predictions.get(MODEL)
    own = None if model is None else model.overall.get(content.metric)
    scored = [scene for scene in content.scenes if scene.split == content.split and scene.summary]
    support = content.compared[MODEL].summary()["support"]
    name = word(content.metric)
    lines = [
        tag("h1", f"{content.task.kind.replace('_', ' ').capitalize()}: {name} {figure(value)}"),
        paragraph(
            tag("strong", figure(value)), f"{name} on the {content.split} scenes", _interval(own), class_="score"
        ),
        *(paragraph(line) for line in _gains(content)),
        paragraph(
            f"Of {len(scored):,} {content.split} {'scene' if len(scored) == 1 else 'scenes'}, "
            f"{figure(support)} {content.task.unit}. {_about(content)}",
            class_="soft",
        ),
    ]
    return Markup(f"\n{tag('header', *lines)}")


def comparison(content: Content) -> Markup:
    """Return the metrics over all classes, of the model and of what it is compared with."""
    rows = {name: counts.overall() for name, counts in content.compared.items()}
    bounds = {name: one.overall for name, one in content.spread.predictions.items()}
    names = list(next(iter(rows.values())))
    body = [
        [name, *(bounded(metrics.get(key), bounds.get(name, {}).get(key)) for key in names)]
        for name, metrics in rows.items()
    ]
    polygons = [paragraph(polygon_sentence(content.polygons))] if content.polygons else []
    shown = table(f"Metrics over all classes, {content.split} scenes", ["", *map(word, names)], body)
    return section("All classes", shown, *polygons)


def classes(content: Content) -> Markup:
    """Return the metrics of each class, with a bar and an interval for the main one."""
    model = content.spread.predictions.get(MODEL)
    per_class = content.compared[MODEL].per_class()
    names = list(per_class[0])
    main = next(name for name in names if name in BOUNDED)
    few: list[Bounds] = [{}] * len(per_class) if model is None else list(model.classes)
    rows = [
        [
            joined([swatch(one.color), one.name]),
            bar(metrics[main], bounds.get(main), one.color),
            *(bounded(metrics[name], bounds.get(name) if name == main else None) for name in names),
        ]
        for one, metrics, bounds in zip(content.task.classes, per_class, few, strict=True)
    ]
    line = "; the line on it is the interval" if model else ""
    caption = f"Metrics of each class, {content.split} scenes. The bar is {word(main)} from 0 to 1{line}."
    return section("Each class", table(caption, ["class", word(main), *map(word, names)], rows))


def confusion(content: Content) -> Markup:
    """Return the confusion matrix, or the largest confusions of many classes; nothing for tasks without classes."""
    counts = content.compared[MODEL].confused()
    names = [*content.task.names, NONE][: len(counts)]
    if not counts.size:
        return Markup()
    sums = np.maximum(counts.sum(1, keepdims=True), 1)
    shares = counts / sums
    if len(names) <= MOST_CLASSES:
        rows = [
            [truth, *(_share(shares[t, p], right=t == p) for p in range(len(names))), figure(int(counts[t].sum()))]
            for t, truth in enumerate(names)
        ]
        head = [joined([tag("span", "truth ↓ predicted →")]), *names, content.task.unit]
        return section("Confusion", table("Of each true class, % by predicted class", head, rows))
    wrong = np.where(np.eye(len(names), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [(int(n) // len(names), int(n) % len(names)) for n in order if wrong.flat[n]]
    rows = [
        [names[t], tag("td", names[p], class_="text"), figure(int(counts[t, p])), f"{100 * shares[t, p]:.0f} %"]
        for t, p in pairs
    ]
    head = ["truth", "predicted", content.task.unit, "share of the true class"]
    return section("Confusion", table(f"The {len(pairs)} largest confusions", head, rows))


def precision_recall(content: Content) -> Markup:
    """Return precision over recall of each class; nothing for tasks without scores."""
    shown = [
        (one, points)
        for one, points in zip(content.task.classes, content.compared[MODEL].curves(), strict=False)
        if len(points)
    ]
    if not shown:
        return Markup()
    lines = [Line(one.color, points) for one, points in shown[:MOST_CLASSES]]
    ends = [f"{one.name}: recall up to {points[-1, 0]:.2f}" for one, points in shown[:MOST_CLASSES]]
    axes = Axes("recall", "precision", (0.0, 1.0), (0.0, 1.0))
    drawn = chart("Precision over recall of each class", "; ".join(ends), axes, lines)
    legend = [tag("li", swatch(one.color), end) for (one, _), end in zip(shown, ends, strict=False)]
    more = len(shown) - len(lines)
    rest = [paragraph(f"Classes that are not shown: {more}.", class_="soft")] if more > 0 else []
    figures = tag("figure", drawn, tag("figcaption", "By falling score; higher is better."))
    return section(
        "Precision and recall", tag("div", figures, class_="charts"), tag("ul", *legend, class_="legend"), *rest
    )


def _gains(content: Content) -> Iterator[str]:
    for name, gain in gains(content.compared, content.metric).items():
        if gain is None:
            continue
        found = content.spread.gains.get(name)
        own = None if found is None else found.overall.get(content.metric)
        theirs = content.compared[name].summary()[content.metric]
        yield f"{gain:+.3f} against {name} ({figure(theirs)}){_interval(own)}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f", {LEVEL:.0%} interval {bounds[0]:.2f} to {bounds[1]:.2f}"


def _about(content: Content) -> str:
    if content.spread.plan is None:
        return "Intervals are switched off."
    start = f"{LEVEL:.0%} intervals" if content.spread.predictions else "No intervals"
    return f"{start}: {content.spread.plan.sentence}."


def _share(share: float, *, right: bool) -> Markup:
    return tag(
        "td",
        f"{100 * share:.0f}" if share else "·",
        class_="shaded right" if right else "shaded",
        style=f"background:rgba(var(--shade),{0.55 * share:.2f})" if share >= 0.005 else None,
    )
