"""Images elsewhere are read by window, labels whole, and errors name what is wrong with which object."""

from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pytest
from affine import Affine
from geopandas.testing import assert_geodataframe_equal

from quadrat.errors import ImageError, LabelError
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.channel import expand, gdal_name, is_remote
from quadrat.geo.vectors.features import read_features
from quadrat.preflight.problems import unwatched
from quadrat.scenes.scene import Scene
from tests.ground import NORTH_UP, image, opened, pixel_box, write_areas, write_raster
from tests.http_server import Served, served, served_apart
from tests.stores import Store, running

PIXELS = np.random.default_rng(0).integers(0, 9000, (3, 1024, 1024)).astype(np.uint16)
TILED = {"tiled": True, "blockxsize": 128, "blockysize": 128}
WINDOW = Window(300, 300, 100, 100)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Served]:
    write_raster(tmp_path / "web" / "a b.tif", PIXELS, **TILED)
    for n in (0, 1):
        place = NORTH_UP @ Affine.translation(512 * n, 0)
        write_raster(tmp_path / "web" / f"part{n}.tif", PIXELS[:, :512, 512 * n : 512 * n + 512], place, **TILED)
    write_raster(tmp_path / "web" / "secret.tif", PIXELS[:, :9, :9])
    (tmp_path / "web" / "page.tif").write_text("<html>Not here</html>")
    with served(tmp_path / "web") as found:
        yield found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    with running(folder / "data") as found:
        yield found


def test_addresses_become_gdals_names() -> None:
    assert gdal_name("s3://bucket/a/b.tif") == "/vsis3/bucket/a/b.tif"
    assert gdal_name("https://host/a.tif?sig=x&y=*") == "/vsicurl/https://host/a.tif?sig=x&y=*"
    assert gdal_name("data/a.tif") == "data/a.tif"
    assert expand("https://host/a.tif?sig=x&y=*") == ("https://host/a.tif?sig=x&y=*",)
    assert [is_remote(path) for path in ("gs://b/a", "az://b/a", "/vsis3/b/a", "/vsizip/a.zip/b", "data/a.tif")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_a_window_brings_its_blocks_not_the_file(web: Served) -> None:
    with opened(f"{web.url}/a%20b.tif", ("a", "b", "c")) as raster:
        np.testing.assert_array_equal(raster.read(WINDOW).values, PIXELS[:, *WINDOW.slices()])
    assert {path for path, _ in web.asked} == {"/a%20b.tif"}  # and nothing beside it
    assert len(web.asked) < 20
    assert sum(sent for _, sent in web.asked) < PIXELS.nbytes / 4


def test_a_mosaic_elsewhere(web: Served) -> None:
    with image((f"{web.url}/part0.tif", f"{web.url}/part1.tif"), ("a", "b", "c")).open(["c"]) as raster:
        assert raster.grid.shape == (512, 1024)
        window = Window(10, 500, 30, 30)
        np.testing.assert_array_equal(raster.read(window).values[0], PIXELS[2][window.slices()])
    assert {path for path, _ in web.asked} == {"/part0.tif", "/part1.tif"}


@pytest.mark.parametrize(
    ("name", "got"), [("none.tif", "404"), ("secret.tif", "403"), ("page.tif", "not recognized as")]
)
def test_errors_name_the_object_and_what_the_server_says(web: Served, name: str, got: str) -> None:
    with pytest.raises(
        ImageError, match=rf"can't be opened(.|\n)*file: {web.url}/{name}(.|\n)*got: .*{got}(.|\n)*hint"
    ):
        opened(f"{web.url}/{name}")


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", PIXELS, **TILED)
    with served(tmp_path) as web:
        raster = opened(f"{web.url}/a.tif", ("a", "b", "c"))
    with raster, pytest.raises(ImageError, match=r"can't be read(.|\n)*a\.tif(.|\n)*hint: check the network"):
        raster.read(WINDOW)


def test_dvc_does_not_watch_what_lies_outside_and_what_is_elsewhere_is_pinned(tmp_path: Path) -> None:
    inside, outside = (str(write_raster(tmp_path / n / "a.tif", PIXELS[:, :9, :9])) for n in ("raw", "other"))
    paths = (inside, outside, "s3://imagery/a.tif")
    scenes = [Scene(str(n), "predict", image(path), (), ()) for n, path in enumerate(paths)]
    (beside,) = unwatched({f for s in scenes for f in s.files()}, [tmp_path / "raw"])
    assert beside.startswith(f"{outside} lies outside")


def test_labels_elsewhere(tmp_path: Path) -> None:
    """In any format, and with errors that say what the server says."""
    areas = [pixel_box(n, n, n + 5, n + 3) for n in range(200)]
    files = [
        write_areas(tmp_path / f"a b.{ending}", areas, {"n": range(200)}, to_crs="EPSG:4326")
        for ending in ("geojson", "gpkg", "fgb", "shp")
    ]
    geopandas.read_file(files[1]).to_parquet(tmp_path / "a b.parquet")
    with served_apart(tmp_path) as url:
        for file in (*files, tmp_path / "a b.parquet"):
            frame = read_features(f"{url}/a%20b{file.suffix}", None, LabelError, "s")
            assert_geodataframe_equal(frame, read_features(str(file), None, LabelError, "s"))
        for name, got in (("none.gpkg", "404"), ("secret.fgb", "403"), ("none.parquet", "none.parquet")):
            with pytest.raises(LabelError, match=rf"file: {url}/{name}\n  got: .*{got}(.|\n)*hint: check the address"):
                read_features(f"{url}/{name}", None, LabelError, "s")


@pytest.mark.slow
def test_objects_are_read_by_window(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    address = store.put(write_raster(tmp_path / "a.tif", PIXELS, **TILED), "tiles/a.tif")
    with opened(address, ("a", "b", "c")) as raster:
        np.testing.assert_array_equal(raster.read(WINDOW).values, PIXELS[:, *WINDOW.slices()])
    with pytest.raises(ImageError, match=r"s3://imagery/tiles/none\.tif(.|\n)*does not exist"):
        opened("s3://imagery/tiles/none.tif")
    labels = write_areas(tmp_path / "a.gpkg", [pixel_box(0, 0, 4, 2)])
    frame = read_features(store.put(labels, "tiles/a.gpkg"), None, LabelError, "s")
    assert_geodataframe_equal(frame, read_features(str(labels), None, LabelError, "s"))


@pytest.mark.slow
def test_wrong_credentials(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = store.put(write_raster(tmp_path / "a.tif", PIXELS, **TILED), "private/a.tif")
    for name, value in {**store.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImageError, match=r"s3://imagery/private/a\.tif(.|\n)*signature(.|\n)*hint: .*credentials"):
        opened(address)
