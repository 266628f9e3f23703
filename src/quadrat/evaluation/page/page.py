"""The page: all parts in one file, which opens without a network and without scripts."""

from pathlib import Path

from quadrat.evaluation.page import background, scenes, scores, trust
from quadrat.evaluation.page.content import Content
from quadrat.evaluation.page.markup import Markup, joined, paragraph, tag
from quadrat.evaluation.page.style import STYLE
from quadrat.evaluation.summary import MODEL, figure, word
from quadrat.runtime.files import replaced

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What browsers may load: nothing from outside, and no script."""


def write_page(path: Path, content: Content) -> None:
    """Write the page; the same content gives the same bytes."""
    with replaced(path) as part:
        part.write_text(page(content), encoding="utf-8", newline="\n")


def page(content: Content) -> str:
    """Return the page as HTML."""
    score = content.compared[MODEL].summary()[content.metric]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", f"{content.task.kind.replace('_', ' ').capitalize()}: {word(content.metric)} {figure(score)}"),
        tag("style", Markup(STYLE)),
    ]
    parts = [
        scores.headline(content),
        scores.comparison(content),
        scores.classes(content),
        scores.confusion(content),
        scores.precision_recall(content),
        trust.reliability(content),
        trust.sets(content),
        scenes.scenes(content),
        scenes.areas(content),
        background.training(content),
        background.parameters(content),
        background.origin(content),
        paragraph("Written by quadrat eval. Tables of all figures are in metrics, beside this file.", class_="soft"),
    ]
    lines = Markup("\n").join([tag("head", *head), tag("body", tag("main", joined(parts)))])
    return f'<!DOCTYPE html>\n<html lang="en">\n{lines}\n</html>\n'
