"""Descriptions of tiles: TileJSON and WMTS."""

import math
from xml.etree import ElementTree as ET

from fastapi import Request

from quadrat.server.blocks.gallery import Served
from quadrat.server.drawing.canvas import MOST_BLOCKS
from quadrat.server.routes.asked import Asked, Named, asked, matrices, matrix_system, placed
from quadrat.server.service import Service

DEGREE = 111_320.0
"""Metres of a degree at the equator."""

LATITUDE = 85.06
"""Northernmost latitude of web maps."""

MERCATOR = 3857

OWS, WMTS, XLINK = "http://www.opengis.net/ows/1.1", "http://www.opengis.net/wmts/1.0", "http://www.w3.org/1999/xlink"

SCHEME = "WebMercatorQuad"


def zooms(service: Service, served: Served, tms: str) -> tuple[int, int]:
    """Return the zoom from which on layers are predicted, and that of the image's own pixels."""
    if served.bounds is None:
        return 0, 0
    scheme, crs = matrices(tms), matrix_system(tms)
    side = served.gsd / DEGREE if crs.is_geographic else served.gsd
    if not crs.is_geographic:
        latitude = min(max((served.bounds[1] + served.bounds[3]) / 2, -LATITUDE), LATITUDE)
        side /= math.cos(math.radians(latitude))
    native = min(24, scheme.maxzoom, scheme.zoom_for_res(side, zoom_level_strategy="upper"))
    if len(service.blocks.around(served, served.grid.area)) <= MOST_BLOCKS:
        return 0, native
    for zoom in range(native + 1):
        across = scheme.matrix(zoom).tileWidth * 2.0 ** (native - zoom) / service.blocks.side
        if (math.ceil(across) + 1) ** 2 <= MOST_BLOCKS:
            return zoom, native
    return native, native


def tilejson(service: Service, request: Request, what: Asked, tms: str) -> dict[str, object]:
    """Return the TileJSON of a layer."""
    placed(what.served)
    assert what.served.bounds is not None
    low, high = zooms(service, what.served, tms)
    west, south, east, north = _within(what.served.bounds)
    return {
        "tilejson": "3.0.0",
        "name": f"{what.served.id}, {what.layer.name}",
        "scheme": "xyz",
        "tiles": [f"{request.base_url}tiles/{tms}/{{z}}/{{x}}/{{y}}.png?{what.query}"],
        "minzoom": low,
        "maxzoom": high,
        "bounds": [west, south, east, north],
        "center": [(west + east) / 2, (south + north) / 2, low],
    }


def _within(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return bounds within 180° west and east: all around the Earth for what lies across 180°."""
    _, south, east, north = bounds
    return (-180.0, south, 180.0, north) if east > 180 else bounds


def capabilities(service: Service, base: str) -> bytes:
    """Return the WMTS capabilities of all images with a place, and all layers."""
    for prefix, uri in (("", WMTS), ("ows", OWS), ("xlink", XLINK)):
        ET.register_namespace(prefix, uri)
    root = ET.Element(f"{{{WMTS}}}Capabilities", version="1.0.0")
    about = ET.SubElement(root, f"{{{OWS}}}ServiceIdentification")
    _text(about, OWS, "Title", service.title)
    _text(about, OWS, "ServiceType", "OGC WMTS")
    _text(about, OWS, "ServiceTypeVersion", "1.0.0")
    contents = ET.SubElement(root, f"{{{WMTS}}}Contents")
    for served in service.gallery:
        if served.bounds is not None:
            for name in service.layers:
                _layer(contents, served, asked(service, Named(served.id, name)), base)
    _matrix_set(contents)
    ET.SubElement(root, f"{{{WMTS}}}ServiceMetadataURL", {f"{{{XLINK}}}href": f"{base}WMTSCapabilities.xml"})
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _layer(contents: ET.Element, served: Served, what: Asked, base: str) -> None:
    assert served.bounds is not None
    west, south, east, north = _within(served.bounds)
    layer = ET.SubElement(contents, f"{{{WMTS}}}Layer")
    _text(layer, OWS, "Title", f"{served.id}: {what.layer.name}")
    box = ET.SubElement(layer, f"{{{OWS}}}WGS84BoundingBox", crs="urn:ogc:def:crs:OGC:2:84")
    _text(box, OWS, "LowerCorner", f"{west} {south}")
    _text(box, OWS, "UpperCorner", f"{east} {north}")
    _text(layer, OWS, "Identifier", f"{served.id}_{what.layer.name}")
    style = ET.SubElement(layer, f"{{{WMTS}}}Style", isDefault="true")
    _text(style, OWS, "Identifier", "default")
    _text(layer, WMTS, "Format", "image/png")
    _text(ET.SubElement(layer, f"{{{WMTS}}}TileMatrixSetLink"), WMTS, "TileMatrixSet", SCHEME)
    address = f"{base}tiles/{SCHEME}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png?{what.query}"
    about = {"format": "image/png", "resourceType": "tile", "template": address}
    ET.SubElement(layer, f"{{{WMTS}}}ResourceURL", about)


def _matrix_set(contents: ET.Element) -> None:
    scheme = matrices(SCHEME)
    found = ET.SubElement(contents, f"{{{WMTS}}}TileMatrixSet")
    _text(found, OWS, "Identifier", SCHEME)
    _text(found, OWS, "SupportedCRS", f"urn:ogc:def:crs:EPSG::{MERCATOR}")
    for matrix in scheme.tileMatrices:
        one = ET.SubElement(found, f"{{{WMTS}}}TileMatrix")
        _text(one, OWS, "Identifier", matrix.id)
        for name, value in (
            ("ScaleDenominator", matrix.scaleDenominator),
            ("TopLeftCorner", " ".join(map(str, matrix.pointOfOrigin))),
            ("TileWidth", matrix.tileWidth),
            ("TileHeight", matrix.tileHeight),
            ("MatrixWidth", matrix.matrixWidth),
            ("MatrixHeight", matrix.matrixHeight),
        ):
            _text(one, WMTS, name, value)


def _text(parent: ET.Element, space: str, name: str, text: object) -> None:
    ET.SubElement(parent, f"{{{space}}}{name}").text = str(text)
