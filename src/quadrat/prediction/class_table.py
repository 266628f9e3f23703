"""Names and colours of classes as GDAL's raster attribute table, beside a GeoTIFF and inside it."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from quadrat.tasks.common.classes import Class

ITEM = "DEFAULT_RASTER_ATTRIBUTE_TABLE"
"""The item of the tag GDALMetadata that holds the table; GDAL reads it from 3.11 on, older ones skip it."""

# GDALRATFieldType and GDALRATFieldUsage of gdal.h
_INTEGER, _STRING = 0, 2
_COLUMNS = (
    ("Value", _INTEGER, 5),
    ("Class", _STRING, 2),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
)


def pam(classes: Sequence[Class]) -> str:
    """Return GDAL's auxiliary XML (PAM) with the classes as category names and as a raster attribute table."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    categories = ET.SubElement(band, "CategoryNames")
    for c in classes:
        ET.SubElement(categories, "Category").text = c.name
    band.append(_table(classes))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def place_for_table(classes: Sequence[Class]) -> dict[str, str]:
    """Return the tag of the first band that ``put_table`` replaces: GDAL before 3.11 can't write the table itself."""
    return {ITEM: "-" * len(_item(classes))}


def put_table(path: Path, classes: Sequence[Class]) -> None:
    """Write the table into the GeoTIFF at ``path`` in place of its tag ``place_for_table``; nothing else moves."""
    table = _item(classes)
    empty = f'<Item name="{ITEM}" sample="0">{"-" * len(table)}</Item>'.encode()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(empty)
        if at < 0:
            raise ValueError(f"{path} has no place for the table of classes")
        content[at : at + len(empty)] = table.ljust(len(empty))


def _item(classes: Sequence[Class]) -> bytes:
    item = ET.Element("Item", name=ITEM, sample="0", role="rat")
    item.append(_table(classes))
    return ET.tostring(item, encoding="unicode").encode()


def _table(classes: Sequence[Class]) -> ET.Element:
    table = ET.Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, value in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(column, tag).text = str(value)
    for number, c in enumerate(classes):
        row = ET.SubElement(table, "Row", index=str(number))
        for value in (number, c.name, *c.rgb):
            ET.SubElement(row, "F").text = str(value)
    return table
