"""The project file of QGIS: layers in groups as XML, in a zip. It is written without QGIS."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from quadrat.prediction.qgis_style import VERSION

if TYPE_CHECKING:
    from rasterio.crs import CRS

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time in the zip, so that equal content gives equal bytes."""

MARGIN = 0.05
"""Part of the map's size that is left free around what it shows at first."""


@dataclass(frozen=True)
class Layer:
    """A layer of the project."""

    name: str
    source: str
    """The file from the project's folder on, and for a table of a GeoPackage its name, as QGIS writes them."""
    style: ET.Element
    """``pipe`` of a raster, ``renderer-v2`` of areas."""
    crs: "CRS | None"
    bounds: Bounds
    shown: bool = True

    @property
    def kind(self) -> str:
        """``raster`` or ``vector``."""
        return "raster" if self.style.tag == "pipe" else "vector"


@dataclass(frozen=True)
class Group:
    """Layers of a scene, from top to bottom."""

    name: str
    layers: Sequence[Layer]
    shown: bool


def write_project(path: Path, title: str, groups: Sequence[Group]) -> None:
    """Write a project (``.qgz``) that opens on the layers that are shown at first."""
    entry = zipfile.ZipInfo("project.qgs", EPOCH)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(entry, document(title, groups))


def document(title: str, groups: Sequence[Group]) -> bytes:
    """Return the project as XML."""
    root = ET.Element("qgis", projectname=title, version=VERSION)
    ET.SubElement(root, "homePath", path="")
    ET.SubElement(root, "title").text = title
    seen = [layer for group in groups if group.shown for layer in group.layers] or [
        layer for group in groups for layer in group.layers
    ]
    crs = next((layer.crs for layer in seen if layer.crs is not None), None)
    root.append(_system("projectCrs", crs))
    tree, layers = ET.Element("layer-tree-group"), ET.Element("projectlayers")
    numbers = count()
    for group in groups:
        branch = ET.SubElement(tree, "layer-tree-group", {"name": group.name, **_state(shown=group.shown)})
        for layer in group.layers:
            name = f"quadrat_layer_{next(numbers):05}"  # QGIS ignores ids of up to 10 characters
            layers.append(_layer(name, layer))
            about = {"id": name, "name": layer.name, "source": layer.source, **_state(shown=layer.shown)}
            about |= {"providerKey": _provider(layer), "legend_exp": ""}
            about["expanded"] = "0"
            ET.SubElement(branch, "layer-tree-layer", about)
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    same = [layer.bounds for layer in seen if layer.crs == crs]
    if same:
        canvas.append(_extent(_around(same)))
    canvas.append(_system("destinationsrs", crs))
    root.extend((tree, layers))
    settings = ET.SubElement(root, "properties")
    ET.SubElement(ET.SubElement(settings, "Paths"), "Absolute", type="bool").text = "false"
    known = str(int(crs is not None))
    ET.SubElement(ET.SubElement(settings, "SpatialRefSys"), "ProjectionsEnabled", type="int").text = known
    ET.indent(root)
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
    return f"{doctype}\n{ET.tostring(root, encoding='unicode')}\n".encode()


def _layer(name: str, layer: Layer) -> ET.Element:
    element = ET.Element("maplayer", type=layer.kind, styleCategories="AllStyleCategories")
    if layer.kind == "vector":
        element.set("geometry", "Polygon")
    element.append(_extent(layer.bounds))
    for tag, text in (("id", name), ("datasource", layer.source), ("layername", layer.name)):
        ET.SubElement(element, tag).text = text
    element.append(_system("srs", layer.crs))
    ET.SubElement(element, "provider", encoding="UTF-8").text = _provider(layer)
    element.append(layer.style)
    return element


def _provider(layer: Layer) -> str:
    return "gdal" if layer.kind == "raster" else "ogr"


def _state(*, shown: bool) -> dict[str, str]:
    return {"checked": "Qt::Checked" if shown else "Qt::Unchecked", "expanded": "1" if shown else "0"}


def _system(tag: str, crs: "CRS | None") -> ET.Element:
    element = ET.Element(tag)
    system = ET.SubElement(element, "spatialrefsys")
    if crs is not None:
        ET.SubElement(system, "wkt").text = crs.to_wkt(version="WKT2_2019")
        authority = crs.to_authority()
        if authority is not None:
            ET.SubElement(system, "authid").text = ":".join(authority)
    return element


def _extent(bounds: Bounds) -> ET.Element:
    element = ET.Element("extent")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        ET.SubElement(element, tag).text = repr(float(value))
    return element


def _around(some: Sequence[Bounds]) -> Bounds:
    left, bottom, right, top = zip(*some, strict=True)
    low, high = (min(left), min(bottom)), (max(right), max(top))
    free = MARGIN * max(high[0] - low[0], high[1] - low[1])
    return low[0] - free, low[1] - free, high[0] + free, high[1] + free
