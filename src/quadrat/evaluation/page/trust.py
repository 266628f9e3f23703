"""The parts of the page about doubt: how often probabilities are right, and sets of classes hold the truth."""

import numpy as np

from quadrat.evaluation.page.charts import Axes, Line, chart
from quadrat.evaluation.page.content import Content
from quadrat.evaluation.page.markup import Markup, joined, paragraph, section, swatch, table, tag
from quadrat.evaluation.summary import figure
from quadrat.evaluation.trust import NO_CONFIDENCE
from quadrat.tasks.common.reliability import BINS, PROBABILITIES, Coverage

COLORS = dict(zip(PROBABILITIES, ("var(--blue)", "var(--orange)"), strict=True))

DASHES = dict(zip(PROBABILITIES, (None, "6 4"), strict=True))

WORDS = dict(zip(PROBABILITIES, ("as given", "before calibration"), strict=True))


def reliability(content: Content) -> Markup:
    """Return how often labels of each probability are right, or why that is not known."""
    if content.trust is None:
        return Markup()
    found = content.trust.reliability
    if not found:
        return section("Probabilities", paragraph(NO_CONFIDENCE))
    diagonal = Line("var(--line)", np.array([[0.0, 0.0], [1.0, 1.0]]))
    lines, told = [diagonal], []
    for name, one in found.items():
        points = one.bins()[:, 1:]
        lines.append(Line(COLORS[name], points[~np.isnan(points).any(1)], DASHES[name]))
        told.append(f"{WORDS[name]}: off by {figure(one.error)}")
    axes = Axes("probability of the label", "share that is right", (0.0, 1.0), (0.0, 1.0))
    drawn = chart("Share of right labels over their probability", "; ".join(told), axes, lines)
    caption = "Reliable probabilities lie on the diagonal."
    legend = [tag("li", swatch(COLORS[name]), words) for name, words in zip(found, told, strict=True)]
    about = f"Mean difference over {BINS} bins of equal width (expected calibration error), {content.split} scenes."
    return section(
        "Probabilities",
        tag("div", tag("figure", drawn, tag("figcaption", caption)), class_="charts"),
        tag("ul", *legend, class_="legend"),
        paragraph(about, class_="soft"),
    )


def sets(content: Content) -> Markup:
    """Return how often the sets of classes hold the truth, of each class; nothing without such sets."""
    coverage = {} if content.trust is None else content.trust.coverage
    return joined([_sets(content, promised, one) for promised, one in coverage.items()])


def _sets(content: Content, promised: float, one: Coverage) -> Markup:
    rows = [
        [joined([swatch(each.color), each.name]), f"{promised:.0%}", _percent(share), figure(int(count))]
        for each, share, count in zip(content.task.classes, one.covered.tolist(), one.held[:, 0], strict=True)
    ]
    caption = f"Pixels of each class whose set of classes holds the truth, {content.split} scenes"
    none, single, several = (one.sets / max(1, one.sets.sum())).tolist()
    about = (
        f"Of all sets, {single:.1%} have one class, {several:.1%} several and {none:.1%} none. The promise is for "
        "pixels like those of the validation scenes: of another region or date, it may not hold."
    )
    return section(
        "Sets of classes",
        table(caption, ["class", "promised", "measured", content.task.unit], rows),
        paragraph(about, class_="soft"),
    )


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.1%}"
