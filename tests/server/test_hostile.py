"""What strangers send: each is refused with a few words, in no time, and the server goes on."""

import gzip
import io
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile
from starlette.testclient import TestClient

from quadrat.server.limits import Access
from tests.server.conftest import serving

SECRET = "a secret that no answer tells"  # noqa: S105 (of these tests)

VRT = """<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>
</VRTDataset>"""

WMS = """<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png</ServerUrl></Service>
<DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>1</UpperLeftY><LowerRightX>1</LowerRightX><LowerRightY>0</LowerRightY>
<SizeX>256</SizeX><SizeY>256</SizeY></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>"""


def tiff(count: int = 3, shape: tuple[int, int] = (16, 16), dtype: str = "uint16", **options: Any) -> bytes:
    """Return a GeoTIFF of which nothing is written."""
    about = {"count": count, "height": shape[0], "width": shape[1], "dtype": dtype, "crs": "EPSG:32633", **options}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", transform=rasterio.Affine(10, 0, 330000, 0, -10, 5820000), **about) as file:
            file.descriptions = tuple(f"B{number + 1}" for number in range(count))
        return bytes(memory.read())


def entries(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    """Return a TIFF with one directory."""
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", following)


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("image.tif", tiff())
    return buffer.getvalue()


def plain(width: int, height: int, strips: int = 0, rows: int = 1) -> bytes:
    """Return the header of a TIFF of so many px, whose pixels are beyond its end."""
    return entries(
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, strips),
        (277, 3, 1, 1),
        (278, 4, 1, rows),
        (279, 4, 1, 16),
    )


def overviews_elsewhere() -> bytes:
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", count=3, height=16, width=16, dtype="uint16") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/etc/passwd")
            file.descriptions = ("B1", "B2", "B3")
        return bytes(memory.read())


FILES: dict[str, Callable[[], bytes]] = {
    "nothing": bytes,
    "one byte": lambda: b"I",
    "text": lambda: b"hello" * 100,
    "zeros": lambda: bytes(10_000),
    "a virtual raster": lambda: VRT.format(path="/etc/hostname").encode(),
    "a virtual raster of the net": lambda: VRT.format(path="/vsicurl/http://127.0.0.1:9/a.tif").encode(),
    "a virtual raster after the mark of a TIFF": lambda: b"II*\0" + VRT.format(path="/etc/hostname").encode(),
    "a map service": WMS.encode,
    "a zip": archive,
    "gzip": lambda: gzip.compress(tiff()),
    "PNG": lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "JPEG": lambda: b"\xff\xd8\xff\xe0" + bytes(100),
    "JPEG 2000": lambda: bytes.fromhex("0000000c6a5020200d0a870a") + bytes(100),
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(1000),
    "netCDF": lambda: b"CDF\x01" + bytes(1000),
    "GeoPackage": lambda: b"SQLite format 3\0" + bytes(4000),
    "PDF": lambda: b"%PDF-1.7\n" + bytes(100),
    "a program": lambda: b"\x7fELF" + bytes(1000),
    "JSON": lambda: b'{"type": "FeatureCollection", "features": []}',
    "only the mark of a TIFF": lambda: b"II*\0",
    "only the mark of a BigTIFF": lambda: b"II+\0\x08\0\0\0" + b"\xff" * 8,
    "the other byte order": lambda: b"MM\0*" + b"\xff" * 100,
    "a directory beyond the end": lambda: b"II*\0" + struct.pack("<I", 1 << 31),
    "a directory that is its own next": lambda: entries((256, 4, 1, 16), (257, 4, 1, 16), following=8),
    "a directory without tags": entries,
    "65535 tags": lambda: b"II*\0" + struct.pack("<IH", 8, 65535) + b"\xff" * 1000,
    "tags of nonsense": lambda: entries(*((number, 99, 1 << 30, 1 << 30) for number in range(256, 300))),
    "no width": lambda: plain(0, 16),
    "no height": lambda: plain(16, 0),
    "wider than the Earth": lambda: plain(1 << 30, 16),
    "higher than the Earth": lambda: plain(16, 1 << 30),
    "the largest of all": lambda: plain((1 << 31) - 1, (1 << 31) - 1),
    "more px than bytes": lambda: plain(1 << 20, 1 << 20),
    "one strip of all": lambda: plain(1 << 17, 1 << 17, rows=1 << 17),
    "pixels beyond the end": lambda: plain(16, 16, strips=1 << 30),
    "a file cut short": lambda: tiff(shape=(64, 64))[:300],
    "no names of bands": lambda: tiff(count=2),
    "too many bands": lambda: tiff(count=1200, shape=(1, 1)),
    "complex values": lambda: tiff(dtype="complex64"),
    "blocks of 400 MB": lambda: tiff(
        800, (512, 512), interleave="pixel", tiled=True, blockxsize=512, blockysize=512, sparse_ok=True
    ),
    "sparse, of 2^36 px": lambda: tiff(shape=(1 << 18, 1 << 18), tiled=True, sparse_ok=True, bigtiff="YES"),
    "overviews elsewhere": overviews_elsewhere,
}


def refused(answer: Any, project: Path) -> None:
    """Fail the test unless an answer refuses something in a few words of its own."""
    assert 400 <= answer.status_code < 500, answer.text[:500]
    assert len(answer.text) < 2000
    for word in ("Traceback", str(project), "/tmp/", "site-packages", SECRET):  # noqa: S108 (a text)
        assert word not in answer.text


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_good_geotiff_are_refused(name: str, client: TestClient, project: Path) -> None:
    started = time.monotonic()
    content = FILES[name]()
    answer = client.post("/predict?f=tif", content=content, headers={"content-type": "image/tiff"})
    refused(answer, project)
    again = client.post("/predict", files={"file": (f"{name}.vrt", content)})
    refused(again, project)
    assert time.monotonic() - started < 10


def test_a_virtual_raster_cannot_be_made_to_tell_another_file(client: TestClient, tmp_path: Path) -> None:
    """Not even one that is a good image."""
    with rasterio.open(tmp_path / "secret.tif", "w", driver="GTiff", count=1, height=4, width=4, dtype="uint8") as file:
        file.write(np.full((1, 4, 4), 7, np.uint8))
    content = VRT.format(path=tmp_path / "secret.tif").encode()
    answer = client.post("/predict?bands=B1", content=content, headers={"content-type": "image/tiff"})
    assert answer.status_code == 422
    assert "no GeoTIFF" in answer.text


FORMS: dict[str, dict[str, Any]] = {
    "no part": {"data": {"other": "text"}, "files": {"another": ("a.tif", b"II*\0")}},
    "two files": {"files": [("file", ("a.tif", b"II*\0")), ("file", ("b.tif", b"II*\0"))]},
    "a field in place of a file": {"data": {"file": "II*\0"}, "files": {"x": ("x", b"")}},
    "many fields": {"data": {f"n{n}": "v" for n in range(100)}, "files": {"file": ("a.tif", b"II*\0")}},
    "a large field": {"data": {"a": "x" * 100_000}, "files": {"file": ("a.tif", b"II*\0")}},
    "no boundary": {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    "another boundary": {"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=a"}},
    "JSON": {"json": {"url": "http://127.0.0.1:9/image.tif"}},
    "a page": {"content": b"<html>", "headers": {"content-type": "text/html"}},
    "a name of a file above": {"files": {"file": ("../../../etc/passwd", b"II*\0")}},
    "a name with a zero": {"files": {"file": ("a\0.tif", b"II*\0")}},
    "an empty name": {"files": {"file": ("", b"II*\0")}},
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_hold_no_image_are_refused(name: str, client: TestClient, project: Path) -> None:
    refused(client.post("/predict", **FORMS[name]), project)


LONG = "x" * 5000
ADDRESSES = (
    "/preview?image=../../etc/passwd",
    "/preview?image=/etc/passwd",
    "/preview?image=http://127.0.0.1:9/a.tif",
    "/preview?image=s3://bucket/a.tif",
    "/preview?image=/vsicurl/http://127.0.0.1:9/a.tif",
    "/preview?image=%00",
    "/preview?image=",
    f"/preview?image={LONG}",
    "/preview?layer=../labels",
    "/preview?layer=expression",
    "/preview?layer=scores&class=nothing",
    "/preview?max_size=1000000000",
    "/preview?max_size=0",
    "/preview?max_size=-1",
    "/preview?max_size=NaN",
    "/tiles/WebMercatorQuad/99/0/0.png",
    "/tiles/WebMercatorQuad/3/-1/0.png",
    "/tiles/WebMercatorQuad/3/99999999999999999999999/0.png",
    "/tiles/WebMercatorQuad/3/8/0.png",
    "/tiles/WebMercatorQuad/3/1/1.png?tilesize=100000",
    "/tiles/WebMercatorQuad/3/1/1.exe",
    "/tiles/..%2F..%2Fetc/3/1/1.png",
    "/bbox/0,0,0,0.png",
    "/bbox/1,1,0,0.png",
    "/bbox/nan,0,1,1.png",
    "/bbox/-inf,-inf,inf,inf.png",
    "/bbox/0,0,1e300,1e300.tif",
    "/bbox/0,0,1.png",
    "/bbox/0,0,1,1/100000x100000.png",
    "/bbox/0,0,1,1/0x0.png",
    "/bbox/12,52,13,53.vrt",
    "/bbox/12,52,13,53.png?coord_crs=EPSG:999999",
    "/bbox/12,52,13,53.png?coord_crs=%2Bproj=longlat",
    "/bbox/12,52,13,53.png?coord_crs=/etc/passwd",
    "/bbox/12,52,13,53.png?coord_crs=http://127.0.0.1:9/crs",
    "/point/nan,nan",
    "/point/inf,0",
    "/point/1e308,1",
    "/point/0,91",
    "/point/a,b",
    "/features?bbox=1,2,3",
    "/features?bbox=nan,nan,nan,nan",
    "/features?bbox=__import__('os'),0,1,1",
    "/jobs/..%2F..%2Fetc%2Fpasswd",
    "/jobs/aaaaaaaaaaaaaaaaaaaaaaaa",
    "/jobs/aaaaaaaaaaaaaaaaaaaaaaaa/results",
    f"/jobs/{LONG}",
    "/legend?f=xml",
    "/nothing",
    "/..%2f..%2fetc/passwd",
    "/static/../../etc/passwd",
    "/docs/",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_name_nothing_are_refused(address: str, client: TestClient, project: Path) -> None:
    refused(client.get(address), project)


@pytest.mark.parametrize(
    "query",
    ["url=http://127.0.0.1:9/a.tif", "url=/etc/passwd", "expression=b1*1e9", "algorithm=hillshade", "rescale=0,1e9"],
)
def test_what_other_tile_servers_take_changes_nothing(query: str, client: TestClient) -> None:
    plain = client.get("/preview?image=all")
    assert client.get(f"/preview?image=all&{query}").content == plain.content


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "CONNECT", "NONSENSE"])
def test_other_methods_are_refused(method: str, client: TestClient, project: Path) -> None:
    refused(client.request(method, "/predict"), project)
    refused(client.request(method, "/preview"), project)


@pytest.mark.parametrize(
    "host", ["evil.example", "testserver.evil.example", "", "evil@testserver", "testserver:port", "127.0.0.1", "[::1"]
)
def test_a_foreign_name_of_the_server_is_refused(host: str, client: TestClient, project: Path) -> None:
    refused(client.get("/health", headers={"host": host}), project)
    assert client.get("/health", headers={"host": "testserver:8000"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://testserver.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_foreign_pages_may_not_send_images_or_end_jobs(headers: dict[str, str], client: TestClient) -> None:
    assert client.post("/predict", content=b"", headers=headers).status_code == 403
    assert client.delete("/jobs/aaaaaaaaaaaaaaaaaaaaaaaa", headers=headers).status_code == 403
    answer = client.get("/health", headers=headers)
    assert "access-control-allow-origin" not in answer.headers


@pytest.fixture(scope="module")
def guarded(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a server with a token, a friendly page and tight bounds."""
    access = Access(("testserver",), SECRET, ("https://maps.example",))
    place = tmp_path_factory.mktemp("cache")
    with serving(project, place, project / "scenes.yaml", access, upload=5000, pixels=100) as found:
        yield found


def test_a_token_is_asked_for_and_compared(guarded: TestClient) -> None:
    assert guarded.get("/health").status_code == 200
    for wrong in ("", "Bearer", "Bearer no", f"Basic {SECRET}", f"Bearer {SECRET}x", "Bearer ä"):
        answer = guarded.get("/info", headers={"authorization": wrong.encode()})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.get("/info", headers={"authorization": f"Bearer {SECRET}"}).status_code == 200
    assert guarded.get("/?token=no").status_code == 401
    entered = guarded.get("/", params={"token": SECRET}, follow_redirects=False)
    assert entered.status_code == 303
    assert "HttpOnly; SameSite=Strict" in entered.headers["set-cookie"]


def test_only_pages_that_are_named_are_answered(guarded: TestClient) -> None:
    known = {"authorization": f"Bearer {SECRET}"}
    answer = guarded.get("/info", headers={**known, "origin": "https://maps.example"})
    assert answer.headers["access-control-allow-origin"] == "https://maps.example"
    before = {"origin": "https://maps.example", "access-control-request-method": "POST"}
    assert "POST" in guarded.options("/predict", headers=before).headers["access-control-allow-methods"]
    assert guarded.options("/predict", headers={**before, "origin": "https://other.example"}).status_code == 401
    assert guarded.post("/predict", headers={**known, "origin": "https://other.example"}).status_code == 403


def test_bodies_and_images_are_bounded(guarded: TestClient) -> None:
    known = {"authorization": f"Bearer {SECRET}", "content-type": "image/tiff"}
    large = guarded.post("/predict", content=bytes(5001), headers=known)
    assert large.status_code == 413
    streamed = guarded.post("/predict", content=iter([bytes(3000), bytes(3000)]), headers=known)
    assert streamed.status_code == 413
    assert guarded.post("/nothing", content=bytes(1 << 17), headers=known).status_code == 413
    many = guarded.post("/predict", content=tiff(shape=(11, 11)), headers=known)
    assert many.status_code == 422
    assert "too large" in many.text
    assert not list(guarded.service.jobs.store._folder.iterdir())  # type: ignore[attr-defined]


def test_a_failure_of_the_server_tells_a_number_and_no_more(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(client.service.canvas, "draw", fails)  # type: ignore[attr-defined]
    answer = client.get("/preview")
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert answer.json()["error"] in caplog.text
    assert SECRET in caplog.text
