"""Layers open in QGIS with exactly their classes; what QGIS itself says is asked where it is installed."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pytest
import rasterio
from rasterio.crs import CRS

from quadrat.errors import ParamsError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.vectors.vector_files import read
from quadrat.prediction.writers import files_of, writer_for
from quadrat.runtime.formats.yaml import check
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.outputs import Features, RasterLayer, Rows, VectorLayer
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers
from tests.ground import NORTH_UP
from tests.qgis_python import asked

CLASSES = tuple(
    Class.model_validate({"name": name, "color": color})
    for name, color in (("Wald & Feld", "#117733"), ("o'clock", "#88ccee"), ("<built>", "#cc6677"))
)
GRID = Grid(CRS.from_epsg(32633), NORTH_UP, (40, 60))
LABELS = RasterLayer("labels", "uint8", ("class",), 255, classes=CLASSES)
BOXES = VectorLayer("detections", "detections.gpkg", CLASSES, threshold=0.5)
LEGEND = [[number, one.name, one.color] for number, one in enumerate(CLASSES)]


def written(folder: Path, layer: RasterLayer | VectorLayer) -> Path:
    """Write a layer to ``folder``, and return its file."""
    with writer_for(layer, GRID, folder, {}) as writer:
        if isinstance(layer, RasterLayer):
            values = np.indices(GRID.shape).sum(0).astype(np.uint8) % 4
            writer.write(Rows(layer.name, 0, 0, np.where(values == 3, 255, values).astype(np.uint8)[None]))
        else:
            import shapely

            corners = np.arange(3) * 10
            fields = {"class": np.array([one.name for one in CLASSES], object), "score": np.array([0.9, 0.6, 0.2])}
            writer.write(Features(layer.name, shapely.box(corners, corners, corners + 5, corners + 5), fields))
    return folder / files_of(layer)[0]


def test_a_raster_has_its_classes_beside_it_and_inside(tmp_path: Path) -> None:
    path = written(tmp_path, LABELS)
    assert {one.name for one in tmp_path.iterdir()} == set(files_of(LABELS))
    entries = ET.parse(tmp_path / "labels.qml").getroot().iter("paletteEntry")  # noqa: S314 (our own)
    assert [[int(e.attrib["value"]), e.attrib["label"], e.attrib["color"]] for e in entries] == LEGEND
    content = path.read_bytes()
    start = content.index(b"<GDALMetadata>")
    tag = ET.fromstring(content[start : content.index(b"</GDALMetadata>") + len(b"</GDALMetadata>")])  # noqa: S314
    (table,) = tag.findall("Item[@name='DEFAULT_RASTER_ATTRIBUTE_TABLE'][@role='rat']/GDALRasterAttributeTable")
    rows = [[one.text for one in row] for row in table.findall("Row")]
    assert rows == [[str(number), one.name, *map(str, one.rgb)] for number, one in enumerate(CLASSES)]
    with rasterio.open(path) as file:  # the older GDAL of rasterio skips it
        assert file.tags(1) == {f"class_{number}": one.name for number, one in enumerate(CLASSES)}


@pytest.mark.parametrize("ending", ["parquet", "fgb", "geojson"])
def test_other_vectors_have_a_style_beside_them(ending: str, tmp_path: Path) -> None:
    layer = replace(BOXES, file=f"detections.{ending}")
    written(tmp_path, layer)
    assert {one.name for one in tmp_path.iterdir()} == {f"detections.{ending}", "detections.qml"}
    rules = [one.attrib for one in ET.parse(tmp_path / "detections.qml").getroot().iter("rule")]  # noqa: S314
    assert [one["label"] for one in rules] == [*(one.name for one in CLASSES), "score below 0.5"]
    assert rules[1]["filter"] == "\"class\" = 'o''clock' AND \"score\" >= 0.5"
    assert [one.get("checkstate") for one in rules] == [None, None, None, "0"]


def test_a_geopackage_holds_its_style(tmp_path: Path) -> None:
    path = written(tmp_path, BOXES)
    assert [one.name for one in tmp_path.iterdir()] == ["detections.gpkg"]
    first = path.read_bytes()
    assert written(tmp_path, BOXES).read_bytes() == first
    with closing(sqlite3.connect(path)) as database:
        (row,) = database.execute("SELECT f_table_name, useAsDefault, styleQML FROM layer_styles").fetchall()
    assert row[:2] == ("detections", 1)
    assert "score below 0.5" in row[2]
    assert len(pyogrio.read_dataframe(path, layer="detections")) == 3
    assert len(read(str(path))) == 3  # without a warning of the second table


def test_without_classes_there_is_no_style(tmp_path: Path) -> None:
    (tmp_path / "detections.qml").write_text("of an older layer")
    written(tmp_path, VectorLayer("detections", "detections.parquet"))
    assert [one.name for one in tmp_path.iterdir()] == ["detections.parquet"]


def test_polygons_share_no_style_with_the_raster() -> None:
    content = {"kind": "semantic_segmentation", "polygons": "labels.parquet"}
    with pytest.raises(ParamsError, match=r"style of labels\.tif"):
        check(content, SegmentationLayers, ParamsError, Path("params.yaml"))


def test_qgis_shows_the_classes_of_a_raster(tmp_path: Path) -> None:
    code = """
layer = QgsRasterLayer(sys.argv[1], "labels")
seen = [[round(one.value), one.label, one.color.name()] for one in layer.renderer().classes()]
"""
    assert asked(code, written(tmp_path, LABELS)) == LEGEND


@pytest.mark.parametrize("file", ["detections.gpkg", "detections.fgb", "detections.geojson"])
def test_qgis_hides_unlikely_detections(file: str, tmp_path: Path) -> None:
    code = """
layer = QgsVectorLayer(sys.argv[1], "boxes", "ogr")
context = QgsRenderContext()
renderer = layer.renderer()
renderer.startRender(context, layer.fields())
drawn = {}
for feature in layer.getFeatures():
    context.expressionContext().setFeature(feature)
    drawn[feature["class"]] = [one.color().name() for one in renderer.symbolsForFeature(feature, context)]
renderer.stopRender(context)
seen = {"drawn": drawn, "labels": [item.label() for item in renderer.legendSymbolItems()]}
"""
    seen = asked(code, written(tmp_path, replace(BOXES, file=file)))
    assert seen["labels"] == [*(one.name for one in CLASSES), "score below 0.5"]
    likely = {one.name: [one.color] for one in CLASSES[:2]}
    assert seen["drawn"] == {**likely, CLASSES[2].name: []}


def test_qgis_draws_several_classes_of_a_cell(tmp_path: Path) -> None:
    code = """
layer = QgsVectorLayer(sys.argv[1], "cells", "ogr")
rules = layer.renderer().rootRule().children()
both = QgsFeature(layer.fields())
both.setAttribute("class", "Wald & Feld, <built>")
context = QgsExpressionContext()
context.setFeature(both)
seen = [bool(QgsExpression(one.filterExpression()).evaluate(context)) for one in rules]
"""
    layer = VectorLayer("cells", "cells.fgb", CLASSES, several=True)
    assert asked(code, written(tmp_path, layer)) == [True, False, True]
