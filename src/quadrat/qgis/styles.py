"""Styles of a project's layers that are not of classes: images, values, outlines."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from quadrat.prediction.qgis_style import Rule, pipe, rule_renderer

Range = tuple[float, float]
"""The values that are black and full colour."""

RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""Colours of low to high values (viridis), the same in QGIS and on the server's maps."""


def image_style(bands: Sequence[int], ranges: Sequence[Range]) -> ET.Element:
    """Return the style of an image: three bands (numbers from 1) as red, green and blue, or one as grey."""
    about = {"opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    if len(bands) == 1:
        renderer = ET.Element(
            "rasterrenderer", {"type": "singlebandgray", "grayBand": str(bands[0]), "gradient": "BlackToWhite", **about}
        )
        ET.SubElement(renderer, "rasterTransparency")
        renderer.append(_stretch("contrastEnhancement", ranges[0]))
        return pipe(renderer)
    colors = ("red", "green", "blue")
    numbers = {f"{color}Band": str(number) for color, number in zip(colors, bands, strict=True)}
    renderer = ET.Element("rasterrenderer", {"type": "multibandcolor", **numbers, **about})
    ET.SubElement(renderer, "rasterTransparency")
    for color, values in zip(colors, ranges, strict=True):
        renderer.append(_stretch(f"{color}ContrastEnhancement", values))
    return pipe(renderer)


def value_style(low: float, high: float) -> ET.Element:
    """Return the style of a raster of values: a ramp of colours from ``low`` to ``high``."""
    about = {"opacity": "1", "alphaBand": "-1", "nodataColor": "", "band": "1"}
    about |= {"classificationMin": repr(low), "classificationMax": repr(high)}
    renderer = ET.Element("rasterrenderer", {"type": "singlebandpseudocolor", **about})
    ET.SubElement(renderer, "rasterTransparency")
    shader = ET.SubElement(renderer, "rastershader")
    ramp = ET.SubElement(shader, "colorrampshader", colorRampType="INTERPOLATED", classificationMode="1", clip="0")
    for number, color in enumerate(RAMP):
        value = low + (high - low) * number / (len(RAMP) - 1)
        ET.SubElement(ramp, "item", value=repr(value), label=f"{value:.3g}", color=color, alpha="255")
    return pipe(renderer)


def outline_style(*rules: Rule) -> ET.Element:
    """Return the style of areas of which only the outline is drawn, by rules."""
    return rule_renderer(rules, fill=0)


def _stretch(tag: str, values: Range) -> ET.Element:
    element = ET.Element(tag)
    for name, text in (
        ("minValue", repr(values[0])),
        ("maxValue", repr(values[1])),
        ("algorithm", "StretchToMinimumMaximum"),
    ):
        ET.SubElement(element, name).text = text
    return element
