"""Folds: each block is scored once, by a model that has seen neither it nor what is near it."""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Geod, Transformer
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.errors import CatalogError
from quadrat.folds.cutting import cut
from quadrat.folds.running import catalog_of
from quadrat.folds.section import Folds
from quadrat.geo.grids.windows import cover
from quadrat.scenes.aoi import open_aoi
from quadrat.scenes.catalog import load_catalog, read_catalog
from quadrat.scenes.image import Image
from quadrat.scenes.scene import Scene
from tests.ground import NORTH_UP, UTM, pixel_box, segmentation, write_areas, write_raster
from tests.pipeline.test_small_project import CATALOG, PARAMS, project

__all__ = ["project"]  # a fixture

TASK = segmentation("wood", "lake")
SIDE = 960.0  # m, of the image


def blocks_of(count: int = 3, block: float = 240, gap: float = 0, seed: int = 1) -> Folds:
    del seed
    return Folds(count=count, block=block, gap=gap)


def test_folds_share_the_ground_and_gaps_keep_training_away(project: Path) -> None:
    settings = blocks_of(gap=50)
    ground = cut(read_catalog(project / "scenes.yaml"), TASK, settings, 1)
    whole = shapely.union_all([*ground.areas.values()])
    assert whole.area == pytest.approx(SIDE**2, rel=0.01)
    assert whole.difference(shapely.union_all(ground.blocks)).area < 1
    sizes = [
        shapely.union_all(ground.blocks[ground.folds == fold]).intersection(whole).area / whole.area
        for fold in range(3)
    ]
    assert sizes == pytest.approx([1 / 3] * 3, abs=0.08)
    for fold in range(3):
        parts = ground.parts(fold, settings)
        assert parts["train"].distance(parts["test"]) == pytest.approx(50)
        assert parts["validation"].distance(parts["test"]) >= 49.99
        assert parts["train"].intersection(parts["validation"]).area == pytest.approx(0, abs=1e-6)
    again, other = (cut(read_catalog(project / "scenes.yaml"), TASK, settings, seed) for seed in (1, 2))
    assert again.folds.tolist() == ground.folds.tolist() != other.folds.tolist()


def test_what_can_not_be_cut_is_an_error(project: Path) -> None:
    scenes = read_catalog(project / "scenes.yaml")
    with pytest.raises(CatalogError, match=r"fewer blocks than folds(.|\n)*got: 1"):
        cut(scenes, TASK, blocks_of(block=2000), 1)
    with pytest.raises(CatalogError, match="too many blocks"):
        cut(scenes, TASK, blocks_of(block=1), 1)
    write_raster(project / "image.tif", np.ones((3, 96, 96), np.uint8), crs=None)
    (project / "scenes.yaml").write_text(CATALOG.replace(", aoi: west.geojson", "").replace(", aoi: east.geojson", ""))
    bare = [
        scene.__class__(scene.id, scene.split, scene.image, (), ()) for scene in read_catalog(project / "scenes.yaml")
    ]
    with pytest.raises(CatalogError, match="no place on Earth"):
        cut(bare, TASK, blocks_of(), 1)


def test_scenes_without_a_pixel_in_a_part_are_left_out_of_it(project: Path) -> None:
    catalog = load_catalog(project / "scenes.yaml")
    settings = blocks_of(4, block=479, gap=20)  # 480 m are the width of a scene: some parts are empty, or slivers
    counts = set()
    for seed in range(4):
        ground = cut(catalog.resolve(), TASK, settings, seed)
        areas = project / str(seed)
        areas.mkdir()
        made = catalog_of(catalog, ground, ground.parts(0, settings), areas)
        counts.add(len(made.scenes))
        for scene in made.resolve():
            with scene.open(("red",), TASK) as opened:
                assert opened.inside(opened.area).any()
        assert {f"{scene.id}.fgb" for scene in made.scenes} == {file.name for file in areas.iterdir()}
    assert min(counts) < 6
    nothing = {**ground.parts(0, settings), "train": shapely.Polygon()}
    with pytest.raises(CatalogError, match="no ground is left for the split train"):
        catalog_of(catalog, ground, nothing, areas)


@pytest.mark.parametrize("others", [(), ((-70, -30, 32719), (10, 60, 32632))], ids=["antimeridian", "continents"])
def test_gaps_are_as_wide_on_the_ground_anywhere(others: tuple[Any, ...], project: Path) -> None:
    images, settings = [], blocks_of(block=400, gap=100)
    for lon, lat, crs in ((179.999, -17, 32760), *others):
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
        images.append(f"{crs}.tif")
        write_raster(project / images[-1], np.ones((1, 96, 96), np.uint8), Affine(10, 0, x, 0, -10, y), f"EPSG:{crs}")
    sources = [f'{{"sources": [{{"path": "{path}", "bands": ["a"]}}]}}' for path in images]
    scenes = [
        Scene(path, "train", Image.model_validate_json(one), (), ()) for path, one in zip(images, sources, strict=True)
    ]
    ground = cut(scenes, TASK, settings, 1)
    parts, shortest = ground.parts(0, settings), {}
    to_earth = Transformer.from_crs(ground.plane, 4326, always_xy=True)
    for scene, area in ground.areas.items():
        test, train = (shapely.intersection(area, parts[name]) for name in ("test", "train"))
        corners = shapely.points(shapely.get_coordinates(shapely.segmentize(test, 50)))
        lines = shapely.get_coordinates(shapely.shortest_line(corners, train)).reshape(-1, 4)
        ends = [*to_earth.transform(*lines[:, :2].T), *to_earth.transform(*lines[:, 2:].T)]
        shortest[scene] = Geod(ellps="WGS84").inv(*ends)[2].min()
    assert all(99.9 < metres < 160 for metres in shortest.values()), shortest


@pytest.mark.parametrize(("turned", "sides"), [(0, 1.0), (45, 2**0.5)])
def test_no_pixel_of_a_scored_block_is_in_a_chip_that_trains(turned: float, sides: float, project: Path) -> None:
    size, side = 16, 10.0
    transform = NORTH_UP @ Affine.scale(side / NORTH_UP.a) @ Affine.rotation(turned)
    write_raster(project / "turned.tif", np.ones((1, 160, 160), np.uint8), transform)
    image = Image.model_validate_json('{"sources": [{"path": "turned.tif", "bands": ["a"]}]}')
    settings = blocks_of(block=350, gap=1.01 * size * side * sides)
    ground = cut([Scene("t", "train", image, (), ())], TASK, settings, 1)
    grid = ground.grids["t"]
    for fold in range(3):
        masks = {}
        for split, part in ground.parts(fold, settings).items():
            file = project / f"{split}.fgb"
            area = shapely.get_parts(shapely.intersection(ground.areas["t"], part))
            geopandas.GeoSeries(area, crs=ground.plane).to_file(file)
            aoi = open_aoi((str(file),), grid, "t")
            assert aoi is not None
            masks[split] = aoi.mask(grid.area)
        windows = [window.slices() for window in cover(grid.area, size, 4)]
        assert any(masks["train"][some].any() for some in windows)
        assert not any(masks["train"][some].any() and masks["test"][some].any() for some in windows)


def run(*options: str) -> str:
    result = CliRunner().invoke(app, ["folds", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_map_of_all_folds_is_put_together_of_those_that_were_scored(project: Path) -> None:
    (project / "params.yaml").write_text(PARAMS + "folds: {count: 3, block: 240, gap: 20}\n")
    halves = [pixel_box(0, 0, 48, 96), pixel_box(48, 0, 96, 96)]
    items = {"ml-aoi:split": ["train", "validate"]}  # and none for test, as which both are scored
    write_areas(project / "both.geojson", halves, items, to_crs="EPSG:4326")
    catalog = CATALOG.replace("west.geojson", "both.geojson").replace("east.geojson", "both.geojson")
    (project / "scenes.yaml").write_text(catalog)
    told = run("--out", "crossed")
    found = json.loads((project / "crossed/folds.json").read_text())
    assert len(found["folds"]) == 3
    accuracies = [fold["accuracy"] for fold in found["folds"]]
    assert found["mean"]["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-4)
    assert found["deviation"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1), abs=1e-4)
    assert f"accuracy {np.mean(accuracies):.3f}" in told
    blocks = geopandas.read_file(project / "crossed/blocks.geojson")
    assert set(blocks["fold"]) == {1, 2, 3}
    for scene, cols in (("west", slice(0, 48)), ("east", slice(48, 96))):
        with rasterio.open(project / f"crossed/maps/{scene}/labels.tif") as dataset:
            whole = dataset.read(1)
        assert (whole[:, cols] != 255).mean() > 0.99
        places = shapely.points(*(NORTH_UP @ np.stack(np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5))))
        in_map = blocks.to_crs(UTM)
        for fold in (1, 2, 3):
            path = project / f"crossed/{fold}/data/predictions/{scene}-test/labels.tif"
            inside = shapely.contains(shapely.union_all(in_map.geometry[in_map["fold"] == fold]), places)
            with rasterio.open(path) as dataset:
                own = dataset.read(1)
            assert (own[~inside] == 255).mean() > 0.99
            both = own != 255
            np.testing.assert_array_equal(own[both], whole[both])
    for fold in (1, 2, 3):
        files = {
            path.stem: geopandas.read_file(path).to_crs(UTM) for path in (project / f"crossed/{fold}/areas").iterdir()
        }
        splits = {name: [area for stem, area in files.items() if stem.endswith(name)] for name in ("train", "test")}
        apart = [a.distance(b.union_all()).min() for a in splits["train"] for b in splits["test"]]
        assert min(apart) == pytest.approx(20, abs=0.1)
    overall = json.loads((project / "crossed/scores/metrics/eval.json").read_text())["overall"]
    assert overall["support"] == pytest.approx(96 * 96, rel=0.01)
    assert "there" in CliRunner().invoke(app, ["folds", "--out", "crossed"]).output


def test_without_the_section_it_is_said_what_to_write(project: Path) -> None:
    assert project.is_dir()
    result = CliRunner().invoke(app, ["folds"])
    assert result.exit_code == 1
    assert "add folds: {count: 5" in result.output
