"""An object that is another than is pinned stops what reads it, and names what was expected and found."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quadrat.errors import PinError
from quadrat.geo.sources.source import Source
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
