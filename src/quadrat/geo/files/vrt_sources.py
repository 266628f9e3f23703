"""Lists the files that a VRT or a DIMAP refers to, and refuses those with unsafe content."""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from quadrat.errors import QuadratError
from quadrat.runtime.formats.parsing import read_bytes

FORMS: dict[str, tuple[str, ...]] = {".vrt": ("VRT",), ".xml": ("DIMAP",), ".dim": ("DIMAP",)}
"""GDAL's names of formats that refer to other files, by their ending."""

PARTS = re.compile(
    r'(?P<kind>NETCDF|HDF5):(?:"(?P<quoted>[^"]+)"|(?P<bare>[^":]+)):.+'
    r"|(?P<numbered>GTIFF_DIR|NITF_IM):(?:off:)?\d+:(?P<file>.+)",
    re.IGNORECASE,
)
"""Pattern of GDAL's name of one of several rasters in a file."""

NAMES = {"sourcefilename", "sourcedataset", "dempath"}
"""Elements of a VRT that name files, in lower case, because GDAL ignores case."""

ITEMS = {"x_dataset", "y_dataset", "rpc_dem", "overview_file"}
"""Items of metadata, and options, that name files."""

KINDS = {
    "vrtsourcedrasterband",
    "vrtderivedrasterband",
    "vrtwarpeddataset",
    "vrtwarpedrasterband",
    "vrtpansharpeneddataset",
    "vrtpansharpenedrasterband",
}
"""Kinds of datasets and bands in a VRT that read rasters; others read raw bytes or run code."""

REFUSED = {"pixelfunctioncode", "pixelfunctionlanguage", "processingsteps", "group"}
"""Elements of a VRT that hold code, or name files in other ways."""

ATTRIBUTES = {"relativetovrt", "subclass", "href"}
"""Names that programs write as attributes; GDAL would also accept them as elements."""

LARGEST_KERNEL = 101
"""Largest side of a filter, px."""

MOST_CONTROL_POINTS = 1000
"""Largest number of ground control points of a thin plate spline; its cost grows with their cube."""

MOST_MARKS = 1 << 21
"""Largest number of opening and closing tags: about ten for each of the allowed sources."""


def references(file: Path, error: type[QuadratError], scene: str | None) -> Iterator[str]:
    """Yield GDAL's names of the files in a VRT or a DIMAP; raise ``error`` if it is not allowed."""
    content = read_bytes(file, error)
    try:
        root = _parsed(content.decode("utf-8-sig"))
    except (ET.ParseError, ValueError, RecursionError) as cause:
        hint = "write it again (gdalbuildvrt), or give the file the ending of its format"
        raise error("the file is not XML, which its name promises", scene, file, got=cause, hint=hint) from cause
    virtual = file.suffix.lower() == ".vrt"
    wrong = _wrong(root, "vrtdataset" if virtual else "dimap_document")
    if wrong is not None:
        raise error(
            "the file does more than combine images",
            scene,
            file,
            expected="a VRT that reads its pixels from rasters, or a DIMAP",
            got=wrong[:100],
            hint="convert it, if you trust it: gdal_translate IN out.tif",
        )
    yield from (_of_virtual if virtual else _of_dimap)(root, file.parent)


def plainly(name: str) -> bool:
    """Return whether GDAL and this module understand a name in a VRT as the same path.

    GDAL knows neither ``!`` nor ``file://``, and reads ``c:`` as a drive and the text before a colon as a format, even
    if a file has this name.
    """
    part = PARTS.fullmatch(name)
    inner = name if part is None else next(part[key] for key in ("quoted", "bare", "file") if part[key])
    drive = part is not None and len(part["bare"] or "..") < 2
    return not drive and not any(mark in inner for mark in ":!{}<")


def _parsed(text: str) -> ET.Element:
    """Parse XML as GDAL does, without namespaces and entities; raise ValueError for XML that has these."""
    if text.count("<") > MOST_MARKS:
        raise ValueError(f"more than {MOST_MARKS} tags")
    for unlike in ("<!DOCTYPE", "<!ENTITY", "<![CDATA[", "xmlns"):
        if unlike in text:
            raise ValueError(unlike)
    root = ET.fromstring(text, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True, insert_pis=True)))  # noqa: S314
    for part in root.iter():
        if isinstance(part.tag, str):  # not a comment
            part.tag = part.tag.lower()
        part.attrib = {name.lower(): value for name, value in part.attrib.items()}
    return root


def _wrong(root: ET.Element, expected: str) -> str | None:
    """Return the first part of the file that is not allowed; None if there is none."""
    if root.tag != expected:
        return str(root.tag)
    for part in root.iter():
        kind, option = part.get("subclass"), part.get("name", part.get("key", "")).lower()
        if part.tag in REFUSED | ATTRIBUTES or (NAMES & part.attrib.keys()):
            return str(part.tag)
        if kind is not None and kind.lower() not in KINDS:
            return kind
        if option == "root_path" or (part.tag in NAMES and (len(part) or _unclear(part))):
            return f"{part.tag} {option}"
        if (part.tag == "kernel" and not _small(part.findtext("size", ""))) or _bent(part):
            return f"{part.tag} of {part.findtext('size', f'more than {MOST_CONTROL_POINTS} points')}"
    return None


def _unclear(part: ET.Element) -> bool:
    """Return whether an element that names a file is ambiguous."""
    return part.text != (part.text or "").strip() or part.get("relativetovrt", "0") not in {"0", "1"}


def _bent(part: ET.Element) -> bool:
    return part.tag == "tpstransformer" and sum(1 for _ in part.iter("gcp")) > MOST_CONTROL_POINTS


def _small(size: str) -> bool:
    return re.fullmatch(r"\s*\d{1,3}\s*", size) is not None and int(size) <= LARGEST_KERNEL


def _of_virtual(root: ET.Element, folder: Path) -> Iterator[str]:
    for part in root.iter():
        if part.tag in NAMES and part.text:
            yield _placed(part.text, folder, relative=part.get("relativetovrt") == "1")
        elif part.get("key", part.get("name", "")).lower() in ITEMS and part.text:
            yield _placed(part.text, folder, relative=False)


def _of_dimap(root: ET.Element, folder: Path) -> Iterator[str]:
    for part in root.iter("data_file_path"):
        yield _placed(part.get("href", ""), folder, relative=True)
    for part in root.iter("dataset_component"):
        href = part.find("component_path")
        if href is not None and part.findtext("component_type", "").strip().upper() == "DIMAP":
            yield _placed(href.get("href", ""), folder, relative=True)


def _placed(name: str, folder: Path, *, relative: bool) -> str:
    """Return the path that GDAL opens for a name in a file in ``folder``."""
    if not relative:
        return name
    part = PARTS.fullmatch(name)
    if part is None:
        return _joined(folder, name)
    place = next(key for key in ("quoted", "bare", "file") if part[key])
    return name[: part.start(place)] + _joined(folder, part[place]) + name[part.end(place) :]


def _joined(folder: Path, name: str) -> str:
    """Return the path of ``name`` in a folder without ``..``, unless links make that another file."""
    there = str(folder / name)
    plain = os.path.normpath(there)
    return plain if os.path.realpath(plain) == os.path.realpath(there) else there
