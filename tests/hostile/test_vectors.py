"""Vector files that reach out, are endless, or aren't what their names say."""

import json
import os
import sqlite3
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from rasterio.crs import CRS

from quadrat.errors import AOIError, LabelError, QuadratError
from quadrat.geo.grids.grid import Grid
from quadrat.labels.vector import VectorLabels
from quadrat.scenes.aoi import open_aoi
from tests.ground import NORTH_UP, UTM, legend, pixel_box

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
LEGEND = legend(lake=["lake"], rest=["rest"])
COVERED = 21 * 20
"""Px of the polygon of ``good``."""

hits: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hits.append(self.path)
        self.send_response(404)
        self.end_headers()

    do_HEAD = do_POST = do_GET  # noqa: N815 (the names that the server calls)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """Load no models: none are needed here."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def unasked() -> Iterator[None]:
    """Fail a test in which the server was asked."""
    hits.clear()
    yield
    assert not hits


def covered(path: Path | str) -> int:
    """Return how many px labels cover."""
    content = {"kind": "vector", "path": str(path), "default": "lake", "background": "rest"}
    with VectorLabels.model_validate(content, strict=False).open(GRID, LEGEND, "s") as opened:
        return int((opened.class_ids(GRID.area, all_touched=False) == 0).sum())


def refused(path: Path | str, *words: str) -> None:
    for error, read in ((LabelError, covered), (AOIError, lambda one: open_aoi([str(one)], GRID, "s"))):
        with pytest.raises(QuadratError) as caught:
            read(path)
        told = str(caught.value)
        assert isinstance(caught.value, error)
        assert Path(path).name in told
        assert len(told) < 10_000
        assert not [word for word in words if word not in told], told


def outcome(path: Path) -> int | str:
    """Return how many px labels cover, or the name of the file of which an error tells."""
    try:
        return covered(path)
    except LabelError as error:
        return Path(str(error.file)).name


SQUARE = shapely.geometry.mapping(pixel_box(5, 6, 25, 27))
ON_GROUND = {"type": "name", "properties": {"name": UTM}}
FEATURE = {"type": "Feature", "properties": {"kind": "lake"}, "geometry": SQUARE}
GOOD = {"type": "FeatureCollection", "crs": ON_GROUND, "features": [FEATURE]}


def good(path: Path) -> Path:
    """Write a file with a polygon of 20 × 21 px, in any format."""
    frame = geopandas.GeoDataFrame({"kind": ["lake"]}, geometry=[pixel_box(5, 6, 25, 27)], crs=UTM)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
    return path


@pytest.mark.parametrize(
    "name", ["a.gpkg", "a.geojson", "a.json", "a.fgb", "a.shp", "a.parquet", "A.GPKG", "PG:a.gpkg"]
)
def test_good_files_are_read_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    (good(tmp_path / "x.gpkg") if name.endswith(("GPKG", "PG:a.gpkg")) else good(path)).rename(path)
    assert covered(path) == COVERED
    assert covered(Path(name)) == COVERED


def vrt(source: str) -> str:
    layer = f'<OGRVRTLayer name="a"><SrcDataSource>{source}</SrcDataSource></OGRVRTLayer>'
    return f"<OGRVRTDataSource>{layer}</OGRVRTDataSource>"


SQL = "select ogr_geocode('HERE') from passwd"

TEXTS: dict[str, Callable[[str], str]] = {
    "a virtual layer of an address": lambda to: vrt(f"/vsicurl/{to}/x.geojson"),
    "a virtual layer of a file": lambda _: vrt("/etc/passwd"),
    "a virtual layer of SQL": lambda to: (
        '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>CSV:/etc/passwd</SrcDataSource><SrcSQL>'
        + SQL.replace("HERE", to)
        + "</SrcSQL></OGRVRTLayer></OGRVRTDataSource>"
    ),
    "a web feature service": lambda to: f"<OGRWFSDataSource><URL>{to}/wfs</URL></OGRWFSDataSource>",
    "a catalogue service": lambda to: f"<OGRCSWDataSource><URL>{to}/csw</URL></OGRCSWDataSource>",
    "a pipeline of GDAL": lambda to: json.dumps(
        {"type": "gdal_streamed_alg", "command_line": f"gdal vector pipeline ! read /vsicurl/{to}/x.gpkg ! write a"}
    ),
    "GML with an entity": lambda to: (
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "{to}/e">]><ogr:FeatureCollection xmlns:gml='
        '"http://www.opengis.net/gml" xmlns:ogr="http://ogr"><gml:featureMember>&x;</gml:featureMember>'
        "</ogr:FeatureCollection>"
    ),
    "GML with a schema elsewhere": lambda to: (
        '<ogr:FeatureCollection xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:ogr="http://ogr" '
        f'xsi:schemaLocation="http://ogr {to}/s.xsd" xmlns:gml="http://www.opengis.net/gml"/>'
    ),
    "KML with a link": lambda to: (
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><NetworkLink><Link><href>{to}/a.kml</href></Link></NetworkLink></kml>'
    ),
    "GeoRSS": lambda to: f'<rss version="2.0"><channel><item><link>{to}</link></item></channel></rss>',
    "a vector tile's description": lambda to: json.dumps(
        {"tiles": [f"{to}/{{z}}/{{x}}/{{y}}.pbf"], "vector_layers": []}
    ),
    "a MapML document": lambda to: f'<mapml- xmlns="http://www.w3.org/1999/xhtml"><map-link href="{to}"/></mapml->',
    "TopoJSON": lambda _: json.dumps({"type": "Topology", "objects": {}, "arcs": []}),
    "ESRIJSON": lambda _: json.dumps({"geometryType": "esriGeometryPolygon", "features": [], "fields": []}),
    "an address": lambda to: f"{to}/a.geojson",
}


@pytest.mark.parametrize("ending", [".geojson", ".gpkg", ".shp", ".fgb"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_of_another_format_is_not_followed(
    tmp_path: Path, address: str, text: Callable[[str], str], ending: str
) -> None:
    (tmp_path / f"a{ending}").write_text(text(address))
    refused(tmp_path / f"a{ending}")


NAMES = [
    "PG:dbname=a",
    "PG:host=127.0.0.1 dbname=a.gpkg",
    "WFS:{}/wfs",
    "OAPIF:{}/a.geojson",
    "CSV:/etc/passwd",
    "GeoJSON:{}/a.geojson",
    "/vsistdin/a.geojson",
    "/vsizip//vsicurl/{}/a.zip/a.gpkg",
    "/vsisubfile/0_10,/etc/passwd.csv",
    "zip+{}/a.zip!a.gpkg",
    "ftp://127.0.0.1:1/a.gpkg",
    "file:///etc/passwd.csv",
    "github://a:b@main/a.parquet",
    "simplecache::{}/a.parquet",
    '{{"type": "FeatureCollection", "features": []}}.geojson',
    "a.vrt",
    "a.gml",
    "a.kml",
    "a.gdb",
    "a.sqlite",
    "a.pdf",
    "a",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_plain_files_are_not_opened(tmp_path: Path, address: str, name: str) -> None:
    if len(name) <= len("a.sqlite"):
        (tmp_path / name).write_text(vrt(f"/vsicurl/{address}/x.geojson"))
    with pytest.raises(LabelError, match=r"missing|not supported"):
        covered(name.format(address))


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".json", ".fgb", ".shp", ".csv", ".parquet"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_devices_and_folders_are_no_files(tmp_path: Path, make: Callable[[Path], None], ending: str) -> None:
    make(tmp_path / f"a{ending}")
    refused(tmp_path / f"a{ending}", "plain file")


@pytest.mark.parametrize("name", ["a.dbf", "a.prj", "a.cpg", "a.shx"])
def test_a_pipe_beside_a_shapefile_is_told(tmp_path: Path, name: str) -> None:
    path = good(tmp_path / "a.shp")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    refused(path, "plain file", name)


@pytest.mark.parametrize("key", ["crs", "CRS", "\\u0063rs"])
@pytest.mark.parametrize("kind", ["link", "url", "LINK"])
def test_a_crs_at_an_address_is_not_asked_for(tmp_path: Path, address: str, kind: str, key: str) -> None:
    crs = {"type": kind, "properties": {"href": f"{address}/crs", "url": f"{address}/crs", "type": "proj4"}}
    (tmp_path / "a.geojson").write_text(json.dumps({**GOOD, "crs": crs}).replace('"crs"', f'"{key}"'))
    refused(tmp_path / "a.geojson", address, "ogr2ogr -a_srs")


CRSES = {
    "a file": "/etc/passwd",
    "an address": "http://127.0.0.1:1/crs",
    "PROJ of a file": "+init=/etc/passwd:1",
    "a grid of an address": "+proj=longlat +nadgrids=http://127.0.0.1:1/grid.tif +type=crs",
    "a megabyte": "x" * 1_000_000,
}


@pytest.mark.parametrize("name", CRSES.values(), ids=CRSES)
def test_names_of_crss_name_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps({**GOOD, "crs": {"type": "name", "properties": {"name": name}}}))
    refused(tmp_path / "a.geojson")


JSONS: dict[str, bytes] = {
    "100,000 lists in each other": b'{"type": "Polygon", "coordinates": ' + b"[" * 100_000,
    "100,000 collections in each other": b'{"type":"GeometryCollection","geometries":[' * 100_000,
    "10,000 collections in each other": b'{"type":"GeometryCollection","geometries":[' * 10_000 + b"]}" * 10_000,
    "a number of 5000 digits": json.dumps(GOOD).replace("330050.0", "9" * 5000).encode(),
    "coordinates of 1e300": json.dumps(GOOD).replace("330050.0", "1e300").encode(),
    "NaN": json.dumps(GOOD).replace("330050.0", "NaN").encode(),
    "infinity": json.dumps(GOOD).replace("330050.0", "1e999").encode(),
    "half a file": json.dumps(GOOD).encode()[:150],
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "noise": bytes(range(256)) * 1000,
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "no geometry": json.dumps({**GOOD, "features": [{**FEATURE, "geometry": None}]}).encode(),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("content", JSONS.values(), ids=JSONS)
def test_json_that_is_no_map_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.geojson").write_bytes(content)
    refused(tmp_path / "a.geojson")


@pytest.mark.parametrize("x", [1e99, 1e50, 1e12])
def test_coordinates_of_no_place_in_web_mercator_are_told(tmp_path: Path, x: float) -> None:
    areas = [pixel_box(5, 6, 25, 27), shapely.box(x, 0, 2 * x, 1)]
    frame = geopandas.GeoDataFrame(geometry=areas, crs=UTM)
    frame.geometry = [frame.to_crs(3857).geometry[0], areas[1]]
    frame.set_crs(3857, allow_override=True).to_parquet(tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "invalid coordinates", "number 2")


def star(count: int) -> shapely.Polygon:
    points = np.random.default_rng(0).random((count, 2)) * (500, -400) + (330_000, 5_822_000)
    return shapely.Polygon(points)


def coast(count: int, jagged: float) -> shapely.Polygon:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radius = 100 + jagged * np.random.default_rng(0).random(count)
    x, y = NORTH_UP @ (20, 20)
    return shapely.Polygon(np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)]))


TANGLES = {
    "300 vertices that cross": [star(300)],
    "3000 vertices that cross": [star(3000)],
    "200,000 vertices that cross": [star(200_000)],
    "a million vertices that nearly do": [coast(1_000_000, 50)],
    "1000 polygons of 100 that cross": [star(100)] * 1000,
    "one in a collection": [shapely.GeometryCollection([pixel_box(5, 6, 25, 27), star(1000)])],
}


@pytest.mark.parametrize("areas", TANGLES.values(), ids=TANGLES)
def test_polygons_that_cross_themselves_all_over_are_told(tmp_path: Path, areas: list[shapely.Geometry]) -> None:
    whole = [pixel_box(5, 6, 25, 27), *areas]
    geopandas.GeoDataFrame(geometry=whole, crs=UTM).to_parquet(tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "feature number ", "implify")
    if len(areas) == 1:
        refused(tmp_path / "a.parquet", "feature number 2")


def test_a_coast_of_a_million_vertices_still_works(tmp_path: Path) -> None:
    geopandas.GeoDataFrame(geometry=[coast(1_000_000, 1e-4)], crs=UTM).to_parquet(tmp_path / "a.parquet")
    assert covered(tmp_path / "a.parquet") == pytest.approx(np.pi * 100, abs=12)


def test_a_polygon_that_crosses_itself_a_little_still_works(tmp_path: Path) -> None:
    xy = np.asarray(coast(10_000, 1e-4).exterior.coords)
    xy[[10, 13]] = xy[[13, 10]]
    geopandas.GeoDataFrame(geometry=[shapely.Polygon(xy)], crs=UTM).to_parquet(tmp_path / "a.parquet")
    assert covered(tmp_path / "a.parquet") == pytest.approx(np.pi * 100, abs=12)


def changed(path: Path, **about: Any) -> None:
    """Write GeoParquet whose metadata says something else; ``geo`` is its text."""
    table = pq.read_table(good(path))
    told = json.loads(table.schema.metadata[b"geo"])
    told["columns"]["geometry"].update(about.pop("column", {}))
    text = about.pop("geo", None) or json.dumps({**told, **about})
    pq.write_table(table.replace_schema_metadata({b"geo": text}), path)


def garbage(path: Path, wkb: bytes) -> None:
    table = pq.read_table(good(path))
    place = table.schema.get_field_index("geometry")
    pq.write_table(table.set_column(place, table.schema.field("geometry"), pa.array([wkb])), path)


def cut(path: Path, part: float) -> None:
    content = good(path).read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


NESTED = '{"type": "BoundCRS", "source_crs": ' * 20_000
PARQUETS: dict[str, Callable[[Path], Any]] = {
    "metadata that is no JSON": lambda path: changed(path, geo="{"),
    "metadata that is a list": lambda path: changed(path, geo="[]"),
    "metadata of 100,000 lists": lambda path: changed(path, geo="[" * 100_000),
    "no columns": lambda path: changed(path, columns={}),
    "columns of texts": lambda path: changed(path, columns={"geometry": "x"}),
    "another column": lambda path: changed(path, primary_column="other"),
    "a column that is a number": lambda path: changed(path, primary_column=1),
    "another encoding": lambda path: changed(path, column={"encoding": "pickle"}),
    "points": lambda path: changed(path, column={"encoding": "point"}),
    "a CRS of 20,000 CRSs": lambda path: changed(
        path,
        geo='{"version": "1.0.0", "primary_column": "geometry", '
        '"columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "crs": '
        + NESTED
        + "1"
        + "}" * 20_000
        + "}}}",
    ),
    "a CRS that is a number": lambda path: changed(path, column={"crs": 10**20}),
    "a CRS that is a file": lambda path: changed(path, column={"crs": "/etc/passwd"}),
    "a CRS that is an address": lambda path: changed(path, column={"crs": "http://127.0.0.1:1/crs"}),
    "an empty CRS": lambda path: changed(path, column={"crs": {}}),
    "WKB of noise": lambda path: garbage(path, bytes(range(256))),
    "WKB of 2^32 points": lambda path: garbage(path, struct.pack("<BIII", 1, 3, 1, 0xFFFFFFFF)),
    "WKB of 10,000 collections": lambda path: garbage(path, struct.pack("<BII", 1, 7, 1) * 10_000),
    "WKB of 500,000 collections": lambda path: garbage(path, struct.pack("<BII", 1, 7, 1) * 500_000),
    "empty WKB": lambda path: garbage(path, b""),
    "half a file": lambda path: cut(path, 0.5),
    "its beginning": lambda path: path.write_bytes(b"PAR1"),
    "a footer of 4 GB": lambda path: path.write_bytes(b"PAR1" + b"\xff" * 100 + b"\xff\xff\xff\x7fPAR1"),
    "SQLite": lambda path: good(path.with_suffix(".gpkg")).rename(path),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("write", PARQUETS.values(), ids=PARQUETS)
def test_geoparquet_that_is_none_is_one_error(tmp_path: Path, write: Callable[[Path], Any]) -> None:
    write(tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet")


def altered(path: Path, *statements: str) -> Path:
    """Write a GeoPackage, and let SQLite change it."""
    with sqlite3.connect(good(path)) as database:
        database.execute("pragma writable_schema=on")
        for statement in statements:
            database.execute(statement)
    database.close()
    return path


def shown(select: str) -> list[str]:
    """Return what makes the GeoPackage's only layer a view."""
    return [
        f"create view v as {select}",
        "update gpkg_contents set table_name='v'",
        "update gpkg_geometry_columns set table_name='v'",
    ]


def virtual(module: str) -> list[str]:
    text = f"create virtual table v using {module}".replace("'", "''")
    row = f"insert into sqlite_master(type, name, tbl_name, rootpage, sql) values('table', 'v', 'v', 0, '{text}')"
    return [row, *shown("")[1:]]


ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c)"

PACKAGES: dict[str, list[str]] = {
    "a virtual table of an address": virtual("VirtualOGR('/vsicurl/http://127.0.0.1:1/a.geojson')"),
    "a virtual table of a file": virtual("VirtualOGR('/etc/passwd')"),
    "a virtual shapefile": virtual("VirtualShape('/etc/passwd', 'UTF-8', 4326)"),
    "a virtual CSV": virtual("csv(filename='/etc/passwd')"),
    "a view that asks an address": shown("select fid, geom, ogr_geocode('http://127.0.0.1:1') as kind from a"),
    "a view that loads a library": shown("select fid, geom, load_extension('/tmp/a.so') as kind from a"),
    "a view that reads a file": shown("select fid, geom, readfile('/etc/passwd') as kind from a"),
    "a view of two gigabytes": shown("select fid, geom, hex(zeroblob(2000000000)) as kind from a"),
    "a view without end": shown(f"{ENDLESS} select x as fid, geom, kind from a, c"),  # noqa: S608
    "a view that never has a row": shown(f"{ENDLESS} select x as fid, geom, kind from a, c where x < 0"),  # noqa: S608
    "a view of 900 MB": shown("select fid, geom, printf('%.900000000c', 'x') as kind from a"),
    "a column that is computed to 900 MB": [
        "alter table a add column z text generated always as (printf('%.900000000c', 'x')) virtual"
    ],
    "layers that are a view without end": [
        "alter table gpkg_contents rename to g",
        f"create view gpkg_contents as {ENDLESS} select g.* from g, c",  # noqa: S608
    ],
    "a pixel of an address": shown(
        "select fid, geom, gdal_get_pixel_value('/vsicurl/http://127.0.0.1:1/a', 1, 'pixel', 1, 1) as kind from a"
    ),
    "a view of itself": shown("select fid, geom, kind from v"),
    "geometries of noise": ["drop trigger if exists rtree_a_geom_insert", "insert into a(fid, geom) values(9, x'00')"],
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("statements", PACKAGES.values(), ids=PACKAGES)
def test_a_geopackage_that_names_other_things_is_one_error(tmp_path: Path, statements: list[str]) -> None:
    refused(altered(tmp_path / "a.gpkg", *statements))


RIGHT: dict[str, list[str]] = {
    "a trigger": ["create trigger t after insert on a begin select load_extension('/tmp/a.so'); end"],
    "a view": shown("select fid, geom, upper(kind) as kind from a where kind like 'l%'"),
    "a computed column": ["alter table a add column z text generated always as (kind || 'x') virtual"],
    "a count of 10^12": ["update gpkg_ogr_contents set feature_count = 1000000000000"],
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("statements", RIGHT.values(), ids=RIGHT)
def test_what_a_geopackage_does_when_it_is_written_is_not_done(tmp_path: Path, statements: list[str]) -> None:
    assert covered(altered(tmp_path / "a.gpkg", *statements)) == COVERED


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".shp"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_half_a_file_is_told_or_read_rightly(tmp_path: Path, ending: str, part: float) -> None:
    cut(tmp_path / f"a{ending}", part)
    assert outcome(tmp_path / f"a{ending}") in {COVERED, f"a{ending}"}


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["a.dbf", "a.cpg", "a.shx", "a.prj"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 10_000, b"/etc/passwd", b"x" * 5_000_000])
def test_noise_beside_a_shapefile_is_told_or_changes_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    path = good(tmp_path / "a.shp")
    (tmp_path / name).write_bytes(content)
    assert outcome(path) in {COVERED, "a.shp"}


def test_a_flatgeobuf_of_2_to_the_60_features_is_told(tmp_path: Path) -> None:
    content = good(tmp_path / "a.fgb").read_bytes()
    count = struct.pack("<Q", 1)
    places = [at for at in range(8, 400) if content[at : at + 8] == count]
    assert places
    for at in places:
        (tmp_path / "a.fgb").write_bytes(content[:at] + struct.pack("<Q", 1 << 60) + content[at + 8 :])
        assert outcome(tmp_path / "a.fgb") in {COVERED, "a.fgb"}
