"""The parts of the page about scenes: scores, pictures and areas."""

from collections.abc import Sequence

import numpy as np

from quadrat.evaluation.page.content import Content, SceneContent
from quadrat.evaluation.page.markup import Markup, joined, paragraph, section, swatch, table, tag
from quadrat.evaluation.page.thumbnails import Panel
from quadrat.evaluation.pictures import css
from quadrat.evaluation.summary import figure, word

MOST_SCENES = 24
"""Most scenes with pictures."""

MOST_ROWS = 200
"""Most rows of the table of scenes."""

MOST_COLUMNS = 8
"""Most scenes of the table of areas."""

ORDER = ("test", "validation", "predict")
"""Splits, in the order in which their scenes are shown."""


def shown_first(scenes: Sequence[tuple[str, str]], most: int) -> set[str]:
    """Return the ids of at most ``most`` scenes, given with their splits: test scenes first."""
    ordered = sorted(scenes, key=lambda pair: ORDER.index(pair[1]))
    return {scene for scene, _ in ordered[:most]}


def scenes(content: Content) -> Markup:
    """Return the scores of each scene, and the pictures of the first scenes."""
    scored = [scene for scene in content.scenes if scene.summary]
    parts: list[object] = []
    if scored:
        names = list(scored[0].summary)
        rows = [[one.id, one.split, *(figure(one.summary[name]) for name in names)] for one in scored[:MOST_ROWS]]
        parts.append(table("Scores of each scene", ["scene", "split", *map(word, names)], rows))
    if len(scored) > MOST_ROWS:
        parts.append(
            paragraph(f"Further scenes in plots/scene_scores.csv: {len(scored) - MOST_ROWS:,}.", class_="soft")
        )
    drawn = [scene for scene in content.scenes if scene.thumbnail]
    drawn.sort(key=lambda scene: ORDER.index(scene.split))
    parts += [_drawn(scene) for scene in drawn]
    hidden = len(content.scenes) - len(drawn)
    if drawn and hidden:
        text = f"Scenes that are not shown here, but in metrics/pictures: {hidden:,} of {len(content.scenes):,}."
        parts.append(paragraph(text, class_="soft"))
    return section("Scenes", *parts) if parts else Markup()


def areas(content: Content) -> Markup:
    """Return hectares of each class: of scenes, and adjusted for errors; nothing for tasks without a map of classes."""
    measured = [scene for scene in content.scenes if scene.areas]
    estimate = content.estimate
    if estimate is None or not measured:
        return Markup()
    first = sorted(measured, key=lambda scene: ORDER.index(scene.split))[:MOST_COLUMNS]
    names = [joined([swatch(one.color), one.name]) for one in content.task.classes]
    columns = [scene.areas.hectares for scene in first if scene.areas]
    rows = [[name, *map(_hectares, values)] for name, values in zip(names, np.transpose(columns), strict=True)]
    head = ["class", *(f"{scene.id} ({scene.split})" for scene in first)]
    parts: list[object] = [table("Hectares on the ground as mapped, by scene", head, rows)]
    if len(measured) > len(first):
        parts.append(paragraph(f"Further scenes in plots/areas.csv: {len(measured) - len(first):,}.", class_="soft"))
    if estimate.adjusted is not None:
        found = zip(names, estimate.mapped, estimate.adjusted.areas, estimate.adjusted.margins, strict=True)
        rows = [
            [
                name,
                _hectares(mapped),
                _hectares(area),
                f"{_hectares(max(area - margin, 0))} to {_hectares(area + margin)}",
            ]
            for name, mapped, area, margin in found
        ]
        caption = f"Hectares of all {content.split} scenes, adjusted for the map's errors (Olofsson et al. 2014)"
        parts.append(table(caption, ["class", "mapped", "adjusted", "95% interval"], rows))
    parts.append(paragraph(estimate.sentence, class_="soft"))
    return section("Areas", *parts)


def _drawn(scene: SceneContent) -> Markup:
    assert scene.thumbnail
    keys = [tag("li", swatch(css(color)), name) for name, color in scene.thumbnail.legend]
    scores = ", ".join(f"{word(name)} {figure(value)}" for name, value in list(scene.summary.items())[:2])
    article = tag(
        "article",
        tag("h3", f"{scene.id} ({scene.split})"),
        *([paragraph(scores)] if scores else []),
        tag("div", *(_figure(scene, panel) for panel in scene.thumbnail.panels), class_="panels"),
        tag("ul", *keys, class_="legend"),
    )
    return joined([Markup("\n"), article])


def _figure(scene: SceneContent, panel: Panel) -> Markup:
    width, height = (panel.zoom * side for side in panel.size)
    alternative = f"Scene {scene.id}, {panel.name}: {panel.text}."
    enlarged = "enlarged" if panel.zoom > 1 else None
    image = tag("img", src=panel.source, width=width, height=height, alt=alternative, class_=enlarged)
    caption = panel.name if panel.name == "image" else f"{panel.name}: {panel.text}"
    return tag("figure", image, tag("figcaption", caption))


def _hectares(value: float) -> str:
    """Return hectares to four digits, or to whole ones."""
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{float(f'{value:.4g}'):,}" if value else "0"
