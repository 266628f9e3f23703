"""An object that is another than is pinned stops what reads it, and names what was expected and found."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import rasterio.shutil

from quadrat.errors import ImageError, LabelError, PinError
from quadrat.geo.files.vrt_sources import PARTS
from quadrat.geo.sources.channel import is_remote
from quadrat.geo.sources.source import Source
from quadrat.geo.sources.stac import read_items
from quadrat.geo.vectors.features import read_features
from quadrat.labels.stac import StacLabels
from quadrat.labels.vector import VectorLabels
from quadrat.scenes.pins import check_pins, companions, objects, pin_errors, read_pins, written
from quadrat.scenes.scene import Scene
from quadrat.scenes.stamps import Stamp, stamp
from tests.ground import image, pixel_box, write_areas, write_raster
from tests.http_server import Served, served

PIXELS = np.ones((1, 9, 9), np.uint8)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Served]:
    for name in ("a", "b"):
        write_raster(tmp_path / f"web/{name}.tif", PIXELS)
    write_areas(tmp_path / "web/l.shp", [pixel_box(0, 0, 5, 5)], {"kind": ["wood"]})
    with served(tmp_path / "web") as found:
        yield found


def scenes(web: Served) -> list[Scene]:
    labels = VectorLabels.model_validate({"kind": "vector", "path": f"{web.url}/l.shp", "field": "kind"})
    both = image((f"{web.url}/a.tif", f"{web.url}/b.tif"))
    return [Scene("one", "train", both, (labels,), ("data/aoi.geojson",)), Scene("two", "predict", both, (), ())]


def pinned(web: Served, file: Path, **others: Any) -> Path:
    """Pin what is there, but for ``others`` by name: other stamps, or None for none."""
    named = [*objects(scenes(web)), *companions(f"{web.url}/l.shp")]
    there = {address: found for address in named if (found := stamp(address)) is not None}
    for name, other in others.items():
        del there[f"{web.url}/{name}.tif"]
        if other is not None:
            there[f"{web.url}/{name}.tif"] = other
    file.write_text(written(there))
    return file


def test_the_file_gives_back_what_was_written_an_object_on_each_line(tmp_path: Path) -> None:
    pins = {
        "s3://imagery/b.tif": Stamp(etag="x", size=3),
        "https://host/ä.tif?q=1": Stamp(modified="Wed, 25 Nov 2026 01:18:07 GMT", size=0),
        "https://host/a.tif": Stamp(size=7),
    }
    (tmp_path / "pins.json").write_text(written(pins))
    assert read_pins(tmp_path / "pins.json") == pins
    assert len(written(pins).splitlines()) == 2 + 3
    assert [*json.loads(written(pins))] == sorted(pins)
    assert written({}) == "{}\n"
    assert read_pins(tmp_path / "none.json") == {}


@pytest.mark.parametrize(
    ("content", "got"),
    [("<<<<<<< ours", "Invalid JSON"), ('{"s3://a/b": {"etag": "x"}}', "s3://a/b: size: Field required")],
)
def test_a_file_that_holds_no_pins(tmp_path: Path, content: str, got: str) -> None:
    (tmp_path / "pins.json").write_text(content)
    with pytest.raises(PinError, match=rf"holds no pins\n  file: .*pins.json\n  got: {got}(.|\n)*quadrat index"):
        read_pins(tmp_path / "pins.json")


def test_what_is_as_pinned_passes(web: Served, tmp_path: Path) -> None:
    file = pinned(web, tmp_path / "pins.json")
    assert {address.rpartition("/")[2] for address in read_pins(file)} == {
        "a.tif", "b.tif", "l.shp", "l.shx", "l.dbf", "l.prj", "l.cpg",
    }  # fmt: skip
    check_pins(scenes(web), file)


def test_nothing_elsewhere_needs_no_file(tmp_path: Path) -> None:
    check_pins([Scene("one", "predict", image(write_raster(tmp_path / "a.tif", PIXELS)), (), ())], tmp_path / "none")


def test_another_object_in_its_place(web: Served, tmp_path: Path) -> None:
    file = pinned(web, tmp_path / "pins.json")
    old = read_pins(file)[f"{web.url}/b.tif"]
    write_raster(tmp_path / "web/b.tif", 2 * PIXELS)
    with pytest.raises(PinError) as caught:
        check_pins(scenes(web), file)
    assert str(caught.value) == (
        f"the object is another than is pinned\n  scene: one\n  file: {web.url}/b.tif\n  expected: {old}\n"
        f"  got: {stamp(f'{web.url}/b.tif')}\n"
        "  hint: bring the pinned one back, or take the new one: `quadrat index` pins what is there, for git to keep"
    )


def test_a_part_of_a_shapefile(web: Served, tmp_path: Path) -> None:
    file = pinned(web, tmp_path / "pins.json")
    write_areas(tmp_path / "web/l.shp", [pixel_box(0, 0, 5, 5)], {"kind": ["lake"]})
    with pytest.raises(PinError, match=rf"another than is pinned\n(.|\n)*file: {web.url}/l.dbf"):
        check_pins(scenes(web), file)


def test_all_sorts_of_errors_are_reported(web: Served, tmp_path: Path) -> None:
    file = pinned(web, tmp_path / "pins.json", a=Stamp(etag="x", size=9), b=None)
    for name in ("l.shp", "l.dbf"):
        (tmp_path / "web" / name).unlink()
    told = [str(error) for error in pin_errors(scenes(web), file)]
    assert [line.partition("\n")[0] for line in told] == [
        "the object is another than is pinned",
        "the object is gone (and 1 more: `quadrat index --check` lists all)",
        "the object is not pinned, so nobody would notice another in its place",
    ]
    assert all(f"file: {web.url}/{name}" in line for name, line in zip(("a.tif", "l.shp", "b.tif"), told, strict=True))
    assert str(file) in told[2]


def test_a_server_that_refuses(web: Served, tmp_path: Path) -> None:
    address = f"{web.url}/secret.tif"
    (tmp_path / "pins.json").write_text(written({address: Stamp(etag="x", size=9)}))
    with pytest.raises(PinError, match=rf"doesn't describe(.|\n)*file: {address}\n  expected: etag x(.|\n)*got: .*403"):
        check_pins([Scene("one", "predict", image(address), (), ())], tmp_path / "pins.json")


def test_items_elsewhere_and_their_assets(web: Served, tmp_path: Path) -> None:
    assets = {"a": {"href": "a.tif", "raster:bands": [{"unit": "DN", "scale": 1.0, "offset": 0.0}]}}
    item = {"type": "Feature", "id": "i", "assets": assets}
    (tmp_path / "web/item.json").write_text(json.dumps(item))
    source = Source(stac=f"{web.url}/item.json", bands=("a",), resampling="nearest")
    scene = Scene("s", "predict", image("x").model_copy(update={"sources": (source,)}), (), ())
    assert objects([scene]) == {f"{web.url}/item.json": "s", f"{web.url}/a.tif": "s"}


@pytest.mark.parametrize("of", ["image", "labels"])
def test_items_are_read_side_by_side(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Barrier(2, timeout=20)
    monkeypatch.setattr("quadrat.scenes.pins._files", lambda *_, **__: [str(both.wait() * 0)])
    item = Source(stac="item.json", bands=("a",), resampling="nearest")
    source = item if of == "image" else Source(path="a.tif", bands=("a",), resampling="nearest")
    labels = (StacLabels(kind="stac", path="item.json", default="a"),) if of == "labels" else ()
    scene = Scene("s", "predict", image("x").model_copy(update={"sources": (source,)}), labels, ())
    assert objects([scene, scene]) == {}


SPELLINGS = {
    "/vsicurl_streaming/URL/a.tif": "write it as URL/a.tif",
    "/vsicurl?url=URL/a.tif": "write it as URL/a.tif",
    "/vsicurl?max_retry=1&url=URL/a.tif": "write it as URL/a.tif",
    "HTTP://HOST/a.tif": "write it as http://HOST/a.tif",
    "Https://HOST/a.tif": "write it as https://HOST/a.tif",
    "S3://bucket/a.tif": "write it as s3://bucket/a.tif",
    "/vsis3_streaming/bucket/a.tif": "write it as s3://bucket/a.tif",
    "/vsigs_streaming/bucket/a.tif": "write it as gs://bucket/a.tif",
    "/vsiaz_streaming/bucket/a.tif": "write it as az://bucket/a.tif",
    "/vsiadls/bucket/a.tif": "correct",
    "/vsioss/bucket/a.tif": "correct",
    "/vsiswift/bucket/a.tif": "correct",
    "/vsihdfs/hdfs://HOST/a.tif": "correct",
    "/vsiwebhdfs/http://HOST/a.tif": "fetch",
    "/vsizip//vsicurl/URL/a.zip/a.tif": "fetch",
    "/vsizip/vsicurl/URL/a.zip/a.tif": "fetch",
    "/vsizip/{/vsicurl/URL/a.zip}/a.tif": "fetch",
    "/vsizip/vsis3/bucket/a.zip/a.tif": "fetch",
    "/vsizip//vsis3_streaming/bucket/a.zip/a.tif": "fetch",
    "/vsitar//vsicurl_streaming/URL/a.tar/a.tif": "fetch",
    "/vsigzip//vsicurl/URL/a.tif.gz": "fetch",
    "zip://URL/a.zip!a.tif": "fetch",
    "zip+URL/a.zip!a.tif": "fetch",
    "zip://s3://bucket/a.zip!a.tif": "fetch",
    "/vsisubfile/0_100,/vsicurl/URL/a.tif": "fetch",
    "/vsicached?file=/vsicurl/URL/a.tif": "fetch",
    "/vsisparse//vsicurl/URL/a.xml": "fetch",
    "/vsicrypt/key=a,file=/vsicurl/URL/a.tif": "fetch",
    "GTIFF_DIR:1:/vsicurl/URL/a.tif": "fetch",
    "GTIFF_DIR:off:8:/vsicurl/URL/a.tif": "fetch",
    "gtiff_dir:1:/vsis3/bucket/a.tif": "fetch",
    "NITF_IM:0:/vsicurl/URL/a.ntf": "fetch",
    'NETCDF:"URL/a.nc":a': "fetch",
    'NETCDF:"[mode=bytes]URL/a.nc":a': "fetch",
    'HDF5:"/vsicurl/URL/a.h5"://a': "fetch",
    "vrt://URL/a.tif?bands=1": "fetch",
    "vrt:///vsicurl/URL/a.tif": "fetch",
    "%2Fvsicurl/URL/a.tif": "fetch",
    "ftp://HOST/a.tif": "correct",
}
"""What GDAL or another library may read from a server, and what the error advises; for URL and HOST stand the server's.

Percent-escapes mean nothing in a path of this machine."""


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve nothing, and note what is asked."""
    with served(tmp_path_factory.mktemp("far")) as found:
        yield found


@pytest.mark.parametrize(("path", "hint"), SPELLINGS.items(), ids=SPELLINGS)
def test_what_leads_elsewhere_by_another_spelling_is_not_read_unpinned(
    far: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path, hint = (text.replace("URL", far.url).replace("HOST", far.url[len("http://") :]) for text in (path, hint))
    part = PARTS.fullmatch(path)
    inner = Path(next((part[key] for key in ("quoted", "bare", "file") if part and part[key]), "/"))
    if not inner.is_absolute():  # a file of the project that is called so
        inner.parent.mkdir(parents=True)
        inner.write_bytes(b"1")
    scene = Scene("s", "predict", image(path), (), ())
    assert objects([scene]) == {}
    with pytest.raises(ImageError) as caught, scene.image.open(("a",)):
        pass
    assert hint in str(caught.value.hint)
    for read in (partial(read_features, f"{path}.geojson", None, LabelError, "s"), partial(read_items, path)):
        with pytest.raises((LabelError, ImageError)):
            read()
    assert far.asked == []


def test_the_supported_spellings_are_pinned(web: Served) -> None:
    for path in (f"{web.url}/a.tif", f"/vsicurl/{web.url}/a.tif"):
        scene = Scene("s", "predict", image(path), (), ())
        assert [*objects([scene])] == [path]
        assert stamp(path) is not None
        with scene.image.open(("a",)) as raster:
            assert raster.grid.shape == (9, 9)


def test_an_image_elsewhere_of_several_files_is_not_read_unpinned(
    web: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "TRUE")  # GDAL looks for other files, but lists no folder
    rasterio.shutil.copy(tmp_path / "web/a.tif", tmp_path / "web/a.img", driver="ENVI")
    with pytest.raises(ImageError, match=r"other files, which are not pinned(.|\n)*got: .*a\.hdr"):
        image(f"{web.url}/a.img").open(("a",))


def test_a_file_called_as_a_scheme_is_on_this_machine() -> None:
    assert not [name for name in ("s3", "https", "s3:/a", "data/s3://a") if is_remote(name)]
