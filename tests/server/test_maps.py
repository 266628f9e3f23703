"""Tiles, pictures, points and descriptions of a served bundle."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import morecantile
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds
from rasterio.warp import Resampling, reproject, transform
from starlette.testclient import TestClient

from quadrat.server.drawing import canvas
from quadrat.server.drawing.layers import DOUBT, MapLayer, map_layers
from quadrat.serving.apply import apply
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from quadrat.tasks.common.outputs import SETS
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers
from tests.bundling import TASK
from tests.ground import NORTH_UP, UTM
from tests.server.conftest import serving

LAYERS = ("labels", "scores", "uncertainty")
NONE = 255
WEB = morecantile.tms.get("WebMercatorQuad")


@pytest.fixture(scope="module")
def written(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Return the layers of the whole image that ``quadrat apply`` writes."""
    out = tmp_path_factory.mktemp("out")
    plan = Plan(layers={"scores": True, "uncertainty": "margin", "polygons": None})
    apply(project / "bundle.zip", [str(project / "scenes.yaml")], out, Reading(), plan)
    found = {}
    for name in LAYERS:
        with rasterio.open(out / "all" / f"{name}.tif") as file:
            found[name] = file.read()
    return found


def picture(client: TestClient, address: str) -> np.ndarray:
    """Return a picture as red, green, blue and opacity (y, x, 4)."""
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.array(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def painted(ids: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 4), np.uint8)
    table[:3] = [(*c.rgb, 255) for c in TASK.classes]
    return table[ids]


def tiles(zoom: int) -> Iterator[tuple[Any, Any]]:
    """Yield the tiles of a zoom that meet the image, and their bounds."""
    left, top = NORTH_UP @ (0, 0)
    right, bottom = NORTH_UP @ (200, 120)
    (west, east), (south, north) = transform(UTM, "EPSG:4326", [left, right], [bottom, top])
    for tile in WEB.tiles(west, south, east, north, [zoom]):
        yield tile, WEB.xy_bounds(tile)


@pytest.mark.parametrize("zoom", [15, 17])
def test_tiles_show_the_nearest_pixels_of_what_the_stage_writes(
    zoom: int, client: TestClient, written: dict[str, np.ndarray]
) -> None:
    seen = 0
    for tile, bounds in list(tiles(zoom))[:6]:
        wanted = np.full((1, 256, 256), NONE, np.uint8)
        reproject(
            written["labels"],
            wanted,
            src_transform=NORTH_UP,
            src_crs=UTM,
            src_nodata=NONE,
            dst_transform=from_bounds(*bounds, 256, 256),
            dst_crs="EPSG:3857",
            dst_nodata=NONE,
            resampling=Resampling.nearest,
            tolerance=0,
        )
        found = picture(client, f"/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png?image=all")
        np.testing.assert_array_equal(found, painted(wanted[0]))
        seen += int((wanted != NONE).sum())
    assert seen > 30_000


@pytest.mark.parametrize("layer", LAYERS)
def test_a_box_on_the_images_own_grid_has_its_very_values(
    layer: str, client: TestClient, written: dict[str, np.ndarray]
) -> None:
    left, top = NORTH_UP @ (17, 5)
    right, bottom = NORTH_UP @ (190, 111)
    answer = client.get(f"/bbox/{left},{bottom},{right},{top}.tif?image=all&layer={layer}&coord_crs={UTM}")
    assert answer.status_code == 200, answer.text
    with MemoryFile(answer.content) as memory, memory.open() as file:
        assert file.crs == UTM
        assert file.transform.almost_equals(NORTH_UP @ Affine.translation(17, 5))
        assert file.nodata == NONE
        np.testing.assert_array_equal(file.read(), written[layer][:, 5:111, 17:190])


@pytest.mark.parametrize(("crs", "height", "width"), [("EPSG:4326", 20, 180), ("EPSG:4326", 110, 15), (UTM, 20, 180)])
def test_a_box_of_any_shape_keeps_the_images_resolution(crs: str, height: int, width: int, client: TestClient) -> None:
    corners = transform(UTM, crs, *np.array([NORTH_UP @ (5, 5), NORTH_UP @ (5 + width, 5 + height)]).T)
    (left, right), (top, bottom) = corners
    answer = client.get(f"/bbox/{left},{bottom},{right},{top}.tif?image=all&coord_crs={crs}")
    with MemoryFile(answer.content) as memory, memory.open() as file:
        np.testing.assert_allclose(file.shape, (height, width), atol=8)  # north is not quite up


def test_previews_have_the_colours_of_the_bundle(client: TestClient, written: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(picture(client, "/preview?image=all"), painted(written["labels"][0]))
    found = picture(client, "/preview?image=all&layer=scores&class=lake")
    assert (found[..., :3] == TASK.classes[1].rgb).all()
    np.testing.assert_allclose(found[..., 3], written["scores"][1] * (255 / 250), atol=0.51)
    assert picture(client, "/preview?image=all&layer=image").shape == (120, 200, 4)
    assert picture(client, "/preview?image=all&max_size=50").shape == (30, 50, 4)


def test_only_scores_have_the_colours_of_classes() -> None:
    layers = (
        MapLayer("confidence", "shares", ("confidence", "uncalibrated")),
        MapLayer("scores", "shares", ("a", "b")),
    )
    palettes = [tuple(layer.palette(0, TASK.classes[:2])[250, :3].tolist()) for layer in layers]
    assert palettes == [DOUBT, TASK.classes[0].rgb]


def test_sets_of_classes_are_seen() -> None:
    section = SegmentationLayers(kind="semantic_segmentation", scores=True, conformal=0.1)
    layers = map_layers(TASK, section)
    sets, scores = np.array([[[0, 1, NONE]]], np.uint8), np.array([[[0, 250, NONE]]], np.uint8)
    for layer, values in ((layers[SETS], sets), (layers["scores"], scores)):
        assert layer.palette(0, TASK.classes)[layer.stepped(values, 0)][0, :, 3].tolist() == [0, 255, 0]


def test_zoomed_out_tiles_show_some_of_the_pixels(client: TestClient) -> None:
    tile, _ = next(tiles(10))
    found = picture(client, f"/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}?image=all")
    colors = {tuple(color) for color in found[found[..., 3] > 0].tolist()}
    assert colors
    assert colors <= {(*c.rgb, 255) for c in TASK.classes}


def test_where_too_much_would_be_predicted_there_is_the_outline_and_a_hint(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas, "MOST_BLOCKS", 0)
    tile, _ = next(tiles(14))
    address = f"/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png?image=all"
    answer = client.get(address)
    assert answer.headers["x-quadrat-hint"].startswith("zoom in")
    found = picture(client, address)
    assert {tuple(c) for c in found[found[..., 3] > 0].tolist()} == {canvas.OUTLINE}
    from_afar = picture(client, f"{address}&layer=image")
    assert len(np.unique(from_afar[from_afar[..., 3] > 0], axis=0)) > 10


def test_tiles_where_the_image_is_not_are_empty_and_such_that_cannot_be_are_refused(client: TestClient) -> None:
    assert client.get("/tiles/WebMercatorQuad/15/0/0.png").status_code == 204
    assert client.get("/tiles/WebMercatorQuad/2/4/0.png").status_code == 404
    assert client.get("/tiles/WebMercatorQuad/25/0/0.png").status_code == 422
    assert client.get("/tiles/WorldCRS84Quad/24/31785673/14776316.png").status_code == 404  # its last one is 23
    assert client.get("/tiles/Nowhere/2/0/0.png").status_code == 422


def test_points_tell_class_and_scores(client: TestClient, written: dict[str, np.ndarray]) -> None:
    (lon,), (lat,) = transform(UTM, "EPSG:4326", *([v] for v in NORTH_UP @ (150.4, 33.6)))
    found = client.get(f"/point/{lon},{lat}?image=all").json()
    assert found["pixel"] == [33, 150]
    number = int(written["labels"][0, 33, 150])
    assert (found["class_id"], found["class"], found["color"]) == (
        number,
        TASK.names[number],
        TASK.classes[number].color,
    )
    assert found["scores"] == {
        name: round(int(v) / 250, 4) for name, v in zip(TASK.names, written["scores"][:, 33, 150], strict=True)
    }
    assert found["uncertainty"] == round(int(written["uncertainty"][0, 33, 150]) / 250, 4)
    assert client.get(f"/point/{lon},{lat}?image=w").json()["class"] is None  # outside of its area of interest
    assert client.get("/point/0,0?image=all").status_code == 404


def test_descriptions_lead_to_tiles(client: TestClient) -> None:
    told = client.get("/tilejson.json?image=all&layer=scores&class=lake").json()
    west, south, east, north = told["bounds"]
    tile = WEB.tile((west + east) / 2, (south + north) / 2, told["maxzoom"])
    assert (told["minzoom"], told["maxzoom"]) == (0, 14)
    address = told["tiles"][0].format(z=tile.z, x=tile.x, y=tile.y)
    assert "class=lake" in address
    assert picture(client, address)[..., 3].any()
    assert client.get("/WorldCRS84Quad/tilejson.json").json()["maxzoom"] == 13
    spaces = {"w": "http://www.opengis.net/wmts/1.0", "o": "http://www.opengis.net/ows/1.1"}
    root = ET.fromstring(client.get("/WMTSCapabilities.xml").content)  # noqa: S314 (of this server)
    layers = root.findall(".//w:Layer", spaces)
    assert len(layers) == 4 * 4
    template = next(
        layer.find("w:ResourceURL", spaces).get("template")  # type: ignore[union-attr] # checked by what follows
        for layer in layers
        if layer.findtext("o:Identifier", namespaces=spaces) == "all_labels"
    )
    assert template is not None
    for name, value in (("TileMatrix", tile.z), ("TileCol", tile.x), ("TileRow", tile.y)):
        template = template.replace(f"{{{name}}}", str(value))
    assert picture(client, template)[..., 3].any()


def test_the_server_tells_what_it_serves(client: TestClient) -> None:
    info = client.get("/info").json()
    assert (info["title"], info["task"]) == ("Woods and lakes", "semantic_segmentation")
    assert [c["name"] for c in info["classes"]] == list(TASK.names)
    assert [layer["name"] for layer in info["layers"]] == ["image", *LAYERS]
    assert {band["unit"] for band in info["bands"]} == {"reflectance"}
    assert info["metrics"]
    assert info["origin"]
    assert {one["id"]: one["shape"] for one in info["images"]}["all"] == [120, 200]
    assert client.get("/images").json()["images"] == info["images"]
    assert client.get("/legend").json()["classes"] == info["classes"]
    assert all(name in client.get("/legend?f=html").text for name in TASK.names)
    assert picture(client, "/legend?f=png").shape[1] == 240
    assert client.get("/health").json() == {"status": "ok"}
    assert client.head("/health").status_code == 200
    counted = client.get("/metrics").text
    assert 'quadrat_requests_total{route="/info",status="200"}' in counted
    assert 'quadrat_blocks_total{by="made",kind="predicted"}' in counted


def test_the_list_of_routes_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert "/tiles/{tms}/{z}/{x}/{y}" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_an_image_that_changes_is_read_anew(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from quadrat.server.blocks import gallery

    monkeypatch.setattr(gallery, "FRESH", 0.0)
    with rasterio.open(project / "image.tif") as file:
        pixels, profile = file.read(), file.profile
    with rasterio.open(tmp_path / "one.tif", "w", **profile) as file:
        file.write(pixels)
        file.descriptions = ("B1", "B2", "B3")
        file.scales = [0.0001] * 3
    with serving(project, tmp_path / "cache", tmp_path / "one.tif") as client:
        before = picture(client, "/preview")
        with rasterio.open(tmp_path / "one.tif", "r+") as file:
            file.write(pixels[:, ::-1])
        np.testing.assert_array_equal(picture(client, "/preview"), before[::-1])
        (tmp_path / "one.tif").unlink()
        answer = client.get("/preview")
        assert answer.status_code == 422
        assert str(tmp_path) not in answer.text
