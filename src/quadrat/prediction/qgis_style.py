"""Styles of layers for QGIS: files ``.qml`` beside them, which QGIS applies when it opens a layer."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from quadrat.tasks.common.classes import Class

VERSION = "3.22.0"
"""The oldest QGIS that these styles are made for."""

FAINT = 0.45
"""Opacity of the fill of areas; outlines are opaque."""

Rule = tuple[str, str, str, bool]
"""Filter (an expression of QGIS), label, colour ``#rrggbb``, and whether it is shown at first."""


def raster_style(classes: Sequence[Class]) -> str:
    """Return the style of a raster of class ids: a legend of exactly these classes."""
    return _written([raster_pipe(classes)], hasScaleBasedVisibilityFlag="0")


def vector_style(classes: Sequence[Class], threshold: float | None = None, *, several: bool = False) -> str:
    """Return the style of a vector layer with a field ``class``; see ``vector_renderer``."""
    return _written([vector_renderer(classes, threshold, several=several)], labelsEnabled="0")


def raster_pipe(classes: Sequence[Class]) -> ET.Element:
    """Return the element ``pipe`` of a raster of class ids."""
    renderer = ET.Element("rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor="")
    ET.SubElement(renderer, "rasterTransparency")
    palette = ET.SubElement(renderer, "colorPalette")
    for number, one in enumerate(classes):
        ET.SubElement(palette, "paletteEntry", value=str(number), label=one.name, color=one.color, alpha="255")
    return pipe(renderer)


def pipe(renderer: ET.Element) -> ET.Element:
    """Return the element ``pipe`` around a ``rasterrenderer``; pixels are drawn as they are, not blurred."""
    whole = ET.Element("pipe")
    provider = ET.SubElement(whole, "provider")
    ET.SubElement(provider, "resampling", enabled="false", zoomedInResamplingMethod="nearestNeighbour")
    whole.append(renderer)
    return whole


def vector_renderer(classes: Sequence[Class], threshold: float | None, *, several: bool = False) -> ET.Element:
    """Return the element ``renderer-v2``: a rule for each class.

    If there is a ``threshold``, features with a lower ``score`` have a rule of their own, which is off at first. If
    features may have ``several`` classes, a feature is drawn in the colour of each.
    """
    rules: list[Rule] = []
    for one in classes:
        name = _quoted(one.name)
        has = f"array_contains(string_to_array(\"class\", ', '), {name})" if several else f'"class" = {name}'
        enough = "" if threshold is None else f' AND "score" >= {threshold:g}'
        rules.append((f"{has}{enough}", one.name, one.color, True))
    if threshold:
        rules.append((f'"score" < {threshold:g}', f"score below {threshold:g}", "#808080", False))
    return rule_renderer(rules)


def rule_renderer(rules: Sequence[Rule], fill: float = FAINT) -> ET.Element:
    """Return the element ``renderer-v2`` of areas with these rules; ``fill`` is the opacity of the inside."""
    renderer = ET.Element("renderer-v2", type="RuleRenderer", symbollevels="0", forceraster="0", enableorderby="0")
    tree = ET.SubElement(renderer, "rules", key="{rules}")
    symbols = ET.SubElement(renderer, "symbols")
    for number, (expression, label, color, shown) in enumerate(rules):
        rule = ET.SubElement(tree, "rule", key=f"{{rule-{number}}}", label=label, symbol=str(number))
        if expression:
            rule.set("filter", expression)
        if not shown:
            rule.set("checkstate", "0")
        symbols.append(_area(str(number), color, fill))
    return renderer


def _area(name: str, color: str, fill: float) -> ET.Element:
    """Return the symbol of an area: a faint fill and an outline of the same colour."""
    red, green, blue = bytes.fromhex(color[1:])
    symbol = ET.Element("symbol", type="fill", name=name, alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    options = ET.SubElement(layer, "Option", type="Map")
    for key, value in (
        ("color", f"{red},{green},{blue},{round(255 * fill)}"),
        ("style", "solid" if fill else "no"),
        ("outline_color", f"{red},{green},{blue},255"),
        ("outline_style", "solid"),
        ("outline_width", "0.4"),
        ("outline_width_unit", "MM"),
    ):
        ET.SubElement(options, "Option", type="QString", name=key, value=value)
    return symbol


def _quoted(text: str) -> str:
    """Return a text as QGIS' expressions have it."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _written(parts: Sequence[ET.Element], **about: str) -> str:
    root = ET.Element("qgis", {"version": VERSION, "styleCategories": "Symbology", **about})
    root.extend(parts)
    ET.indent(root)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
    return f"{doctype}\n{ET.tostring(root, encoding='unicode')}\n"
