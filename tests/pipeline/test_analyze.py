"""analyze: exact, the same bytes for any number of workers, and nothing wrong gets past it."""

import json
import re
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from shapely.geometry import LineString

from quadrat.errors import CatalogError, ImageError, LabelError, OverlapError, PinError
from quadrat.geo.grids.grid import Grid
from quadrat.labels.vector import VectorLabels
from quadrat.pipeline.analyze import Analyze
from quadrat.runtime.parallel import Executor, Processes, Threads
from quadrat.tasks import Task
from tests.ground import BANDS, KINDS, NORTH_UP, legend, pixel_box, segmentation, write_areas, write_raster, write_world
from tests.stage_calls import analyze

OUTPUTS = {
    "stats": "stats.json",
    "table": "scenes.parquet",
    "warnings": "warnings.txt",
    "analyze_metrics": "analyze.json",
    "class_plot": "classes.csv",
    "band_plot": "bands.csv",
}

TWO = Threads(2)


def run(
    catalog: Path,
    out: Path,
    executor: Executor = TWO,
    bands: tuple[str, ...] = BANDS,
    kinds: tuple[str, ...] = KINDS,
    raw: Path | None = None,
    task: Task | None = None,
) -> Path:
    analyze(
        scenes=catalog,
        raw=raw or catalog.parent,
        aoi=raw or catalog.parent,
        task=task or segmentation(*kinds),
        bands=bands,
        analyze=Analyze(percentiles=(2, 50, 98), histogram_bins=16),
        pins=catalog.parent / "pins.json",
        executor=executor,
        **{name: out / file for name, file in OUTPUTS.items()},
    )
    return out


def test_statistics_are_those_of_the_valid_train_pixels(tmp_path: Path) -> None:
    out = run(write_world(tmp_path), tmp_path / "out")
    with rasterio.open(tmp_path / "image.tif") as file:
        pixels = file.read()[:, :, :110]
    for band, values in zip(json.loads((out / "stats.json").read_text())["bands"], pixels, strict=True):
        assert band["count"] == values.size
        assert band["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert band["std"] == pytest.approx(values.std(), rel=1e-9)
        assert (band["min"], band["max"]) == (values.min(), values.max())
        assert band["percentiles"]["50"] == np.percentile(values, 50, method="inverted_cdf")
    table = geopandas.read_parquet(out / "scenes.parquet").set_index("scene")
    assert table.crs.to_epsg() == 4326
    assert table.loc["w", "pixels"] == 110 * 120
    assert table.loc["w", ["px_wood", "px_lake", "px_field"]].sum() == 110 * 120
    assert table.loc["all", "split"] == "predict"
    assert table.loc["w", "gsd"] == pytest.approx(10, rel=1e-4)  # UTM's scale
    metrics = json.loads((out / "analyze.json").read_text())
    assert metrics["train"] == {"scenes": 1, "pixels": 13_200, "valid": 1.0, "labels": 13_200}


def test_statistics_tell_how_bands_were_brought_to_the_grid(tmp_path: Path) -> None:
    """By the way of most train scenes, so that a bundle can bring new images to it alike."""
    catalog = json.loads(write_world(tmp_path).read_text())
    coarse = np.full((1, 60, 100), 700, np.uint16)
    write_raster(tmp_path / "coarse.tif", coarse, NORTH_UP @ Affine.scale(2), nodata=0)
    (fine,) = catalog["images"]["i"]["sources"]
    for name, way in (("i", "average"), ("j", "nearest"), ("k", "average")):
        other = {**fine, "path": str(tmp_path / "coarse.tif"), "bands": ["B3"], "resampling": way}
        two = {**fine, "bands": {"B1": 1, "B2": 2}, "resampling": "cubic"}
        catalog["images"][name] = {"grid": "B1", "sources": [two, other]}
    scene = catalog["scenes"][0]
    catalog["scenes"] += [{**scene, "id": name, "image": name} for name in ("j", "k")]
    (tmp_path / "scenes.yaml").write_text(json.dumps(catalog))
    out = run(tmp_path / "scenes.yaml", tmp_path / "out")
    bands = json.loads((out / "stats.json").read_text())["bands"]
    assert [band["resampling"] for band in bands] == [None, None, "average"]


def test_bins_of_small_values_have_edges_of_their_own(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    with rasterio.open(tmp_path / "image.tif") as file:
        write_raster(tmp_path / "image.tif", (file.read() * 1e-11).astype(np.float32))
    edges = pd.read_csv(run(catalog, tmp_path / "out") / "bands.csv").query("band == 'B1'")["value"].to_numpy()
    statistics = json.loads((tmp_path / "out" / "stats.json").read_text())["bands"][0]
    wanted = np.linspace(statistics["min"], statistics["max"], 17)[:-1]
    np.testing.assert_allclose(edges, wanted, atol=1e-4 * (wanted[1] - wanted[0]))


def test_files_that_dvc_does_not_watch_are_a_warning(tmp_path: Path) -> None:
    out = run(write_world(tmp_path / "in"), tmp_path / "out", raw=tmp_path / "elsewhere")
    noted = (out / "warnings.txt").read_text().splitlines()
    assert len(noted) == 5
    assert sum("image.tif lies outside" in line for line in noted) == 1


def test_without_a_warning_the_file_says_so_for_dvc_warns_of_empty_ones(tmp_path: Path) -> None:
    assert (run(write_world(tmp_path / "in"), tmp_path / "out") / "warnings.txt").read_text() == "no warnings\n"


def test_nodata_counts_nowhere(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    with rasterio.open(tmp_path / "image.tif") as file:
        pixels = file.read()
    pixels[1, 10:40, 5:60] = 0  # one band without a value takes the pixel out
    write_raster(tmp_path / "image.tif", pixels, nodata=0)
    out = run(catalog, tmp_path / "out")
    assert {b["count"] for b in json.loads((out / "stats.json").read_text())["bands"]} == {13_200 - 30 * 55}
    table = geopandas.read_parquet(out / "scenes.parquet").set_index("scene")
    assert table.loc["w", "valid"] == pytest.approx(1 - 30 * 55 / 13_200)
    assert table.loc["w", ["px_wood", "px_lake", "px_field"]].sum() == 13_200 - 30 * 55


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    executors = (Threads(1), Threads(4), Processes(1))
    outs = [run(catalog, tmp_path / str(executor), executor) for executor in executors]
    for file in OUTPUTS.values():
        assert len({(out / file).read_bytes() for out in outs}) == 1, file


@pytest.mark.parametrize(("split", "scenes"), [("train", {"w": {"split": "test"}}), ("validation", {"m": None})])
def test_a_split_that_is_missing(tmp_path: Path, split: str, scenes: dict[str, Any]) -> None:
    with pytest.raises(CatalogError, match=f"no scene of split '{split}'"):
        run(write_world(tmp_path, **scenes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_train_and_held_out_areas_that_overlap(tmp_path: Path) -> None:
    write_areas(tmp_path / "wide.geojson", [pixel_box(100, 0, 200, 120)], to_crs="EPSG:4326")
    catalog = write_world(tmp_path, e={"aoi": str(tmp_path / "wide.geojson")})
    with pytest.raises(OverlapError, match=r"a train and a test scene share ground(.|\n)*w and e(.|\n)*1200 px"):
        run(catalog, tmp_path / "out")


def test_areas_that_touch_do_not_overlap(tmp_path: Path) -> None:
    write_areas(tmp_path / "next.geojson", [pixel_box(110, 0, 115, 120)], to_crs="EPSG:4326")
    run(write_world(tmp_path, e={"aoi": str(tmp_path / "next.geojson")}), tmp_path / "out")


def test_a_held_out_scene_in_another_crs_that_overlaps(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    with rasterio.open(tmp_path / "image.tif") as file:
        from rasterio.vrt import WarpedVRT

        with WarpedVRT(file, crs="EPSG:3035") as warped:
            write_raster(tmp_path / "other.tif", warped.read(), warped.transform, "EPSG:3035", nodata=0)
    content = json.loads(catalog.read_text())
    source = {**content["images"]["i"]["sources"][0], "path": str(tmp_path / "other.tif")}
    content["images"]["laea"] = {"grid": "B1", "sources": [source]}
    content["scenes"].append({"id": "again", "split": "test", "image": "laea", "labels": "l"})
    catalog.write_text(json.dumps(content))
    with pytest.raises(OverlapError, match="w and again"):
        run(catalog, tmp_path / "out")


def test_labels_elsewhere(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    write_areas(tmp_path / "labels.gpkg", [pixel_box(900, 0, 950, 9)], {"kind": ["lake"]})
    with pytest.raises(LabelError, match="no label lies on the image"):
        run(catalog, tmp_path / "out")


def labelled_anew(catalog: Path, **sources: Any) -> Path:
    """Give all scenes with labels those of ``sources``, in this order of priority."""
    content = json.loads(catalog.read_text())
    content["labels"] = sources
    for entry in content["scenes"]:
        entry.update({"labels": list(sources)} if "labels" in entry else {})
    catalog.write_text(json.dumps(content))
    return catalog


def pixels_of(out: Path) -> dict[str, int]:
    table = geopandas.read_parquet(out / "scenes.parquet").set_index("scene")
    return {name: int(table.loc["w", f"px_{name}"]) for name in KINDS}


def test_labels_of_every_sort(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    whole = pixels_of(run(catalog, tmp_path / "before"))
    with rasterio.open(tmp_path / "image.tif") as file:
        grid = Grid(file.crs, file.transform, file.shape)
    vector = {"kind": "vector", "path": str(tmp_path / "labels.gpkg"), "field": "kind"}
    with VectorLabels(**vector).open(grid, segmentation(*KINDS), "s") as drawn:
        ids = drawn.class_ids(grid.area, all_touched=False)
    paints = np.array([[0, 99, 0], [0, 0, 255], [255, 200, 0]], np.uint8)
    write_raster(tmp_path / "colors.tif", paints[ids].transpose(2, 0, 1), photometric="RGB")
    colors = {"kind": "raster", "path": str(tmp_path / "colors.tif"), "values": "colors"}
    task = legend(wood=["#006300", "wood"], lake=["#0000ff"], field=["#ffc800"])
    assert pixels_of(run(labelled_anew(catalog, c=colors), tmp_path / "colors", task=task)) == whole
    write_areas(tmp_path / "line.gpkg", [LineString([NORTH_UP @ (0, 60), NORTH_UP @ (200, 60)])], to_crs="EPSG:4326")
    line = {"kind": "vector", "path": str(tmp_path / "line.gpkg"), "default": "lake"}
    wide = {**line, "width": {"unit": "px", "default": 4.0}}
    ranked = pixels_of(run(labelled_anew(catalog, line=wide, c=colors), tmp_path / "ranked", task=task))
    assert ranked["lake"] == whole["lake"] + (ids[58:62, :110] != 1).sum()
    with pytest.raises(LabelError, match=r"without a width(.|\n)*scene: w(.|\n)*got: 1 lines of class lake"):
        run(labelled_anew(catalog, line=line, c=colors), tmp_path / "bare", task=task)
    woods = {**vector, "filter": "kind == 'wood'", "background": "field"}
    background = pixels_of(run(labelled_anew(catalog, lake=wide, woods=woods), tmp_path / "rest", task=task))
    assert sum(background.values()) == 110 * 120
    assert background["wood"] == (ids[:, :110] == 0).sum() - (ids[58:62, :110] == 0).sum()
    paints[2] = 7
    write_raster(tmp_path / "colors.tif", paints[ids].transpose(2, 0, 1), photometric="RGB")
    with pytest.raises(LabelError, match=rf"no class lists(.|\n)*got: #070707 \({(ids == 2).sum()} px\)"):
        run(labelled_anew(catalog, c=colors), tmp_path / "unknown", task=task)


def test_an_aoi_of_two_files(tmp_path: Path) -> None:
    write_areas(tmp_path / "more.gpkg", [pixel_box(100, 10, 113, 20)], to_crs="EPSG:3035")
    out = run(write_world(tmp_path, w={"aoi": [str(tmp_path / f) for f in ("w.geojson", "more.gpkg")]}), tmp_path / "o")
    table = geopandas.read_parquet(out / "scenes.parquet").set_index("scene")
    assert table.loc["w", "pixels"] == 110 * 120 + 3 * 10


def test_a_class_without_a_training_pixel(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no training label has this class(.|\n)*expected: moor"):
        run(write_world(tmp_path), tmp_path / "out", kinds=(*KINDS, "moor"))


def test_a_value_that_the_task_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no class lists(.|\n)*field"):
        run(write_world(tmp_path), tmp_path / "out", kinds=("wood", "lake"))


def test_a_band_that_the_image_has_not(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no such band(.|\n)*expected: B9"):
        run(write_world(tmp_path), tmp_path / "out", bands=("B1", "B9"))


def test_nodata_everywhere(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    write_raster(tmp_path / "image.tif", np.zeros((3, 120, 200), np.uint16), nodata=0)
    with pytest.raises(ImageError, match=r"no pixel of the scene is valid(.|\n)*scene: w"):
        run(catalog, tmp_path / "out")


def with_second_image(tmp_path: Path, crs: str | None, transform: Any = NORTH_UP, **about: Any) -> Path:
    catalog = write_world(tmp_path)
    write_raster(tmp_path / "other.tif", np.full((3, 30, 30), 900, np.uint16), transform, crs, nodata=0)
    content = json.loads(catalog.read_text())
    source = {**content["images"]["i"]["sources"][0], "path": str(tmp_path / "other.tif"), **about}
    content["images"]["second"] = {"grid": "B1", "sources": [source]}
    content["scenes"].append({"id": "far", "split": "predict", "image": "second"})
    catalog.write_text(json.dumps(content))
    return catalog


def test_a_mixture_of_crss_is_a_warning_that_names_them(tmp_path: Path) -> None:
    out = run(with_second_image(tmp_path, "EPSG:32634"), tmp_path / "out")
    assert "2 CRSs (EPSG:32633: w, m, e, all; EPSG:32634: far)" in (out / "warnings.txt").read_text()


def test_pixels_of_different_sizes_are_a_warning(tmp_path: Path) -> None:
    from affine import Affine

    out = run(with_second_image(tmp_path, "EPSG:32633", NORTH_UP @ Affine.scale(2)), tmp_path / "out")
    assert "pixels differ in size" in (out / "warnings.txt").read_text()


def test_pixels_are_compared_on_the_ground(tmp_path: Path) -> None:
    from affine import Affine

    mercator = Affine(16.5, 0, 1.39e6, 0, -16.5, 6.9e6)  # 10 m at 52.6°
    out = run(with_second_image(tmp_path, "EPSG:3857", mercator), tmp_path / "out")
    assert "differ in size" not in (out / "warnings.txt").read_text()


def test_the_pixels_of_a_photo_have_no_size_to_differ_by(tmp_path: Path) -> None:
    out = run(with_second_image(tmp_path, None), tmp_path / "out")
    assert "2 CRSs (EPSG:32633: w, m, e, all; no CRS: far)" in (out / "warnings.txt").read_text()
    assert "differ in size" not in (out / "warnings.txt").read_text()


def test_a_unit_that_differs_between_scenes(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"bands B1, B2, B3 have different meanings(.|\n)*radiance"):
        run(with_second_image(tmp_path, "EPSG:32633", unit="radiance"), tmp_path / "out")


def test_a_held_out_class_that_is_missing_is_a_warning(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    write_areas(tmp_path / "e.geojson", [pixel_box(160, 0, 161, 1)], to_crs="EPSG:4326")
    out = run(catalog, tmp_path / "out")
    assert (out / "warnings.txt").read_text().count("split 'test' has no label of class") == 2


def test_what_a_file_says_against_the_catalog(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    with rasterio.open(tmp_path / "image.tif", "r+") as file:
        file.descriptions = ("B2", "B1", "other")
        file.nodata = None
        file.write_mask(np.arange(200) % 2 * np.ones((120, 1)) > 0)
    out = run(catalog, tmp_path / "out")
    assert (out / "warnings.txt").read_text().count("calls its band 1 B2, the catalog B1") == 1
    assert json.loads((out / "analyze.json").read_text())["train"]["valid"] == 0.5
    with rasterio.open(tmp_path / "image.tif", "r+") as file:
        file.scales, file.offsets = (0.0001, 0.0001, 0.01), (0.0, 0.0, -0.1)
    with pytest.raises(
        ImageError, match=r"different scale and offset for band B3(.|\n)*0\.0001(.|\n)*scale 0\.01, offset -0\.1"
    ):
        run(catalog, tmp_path / "out")


def test_an_image_elsewhere_that_is_not_pinned(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    catalog.write_text(catalog.read_text().replace(str(tmp_path / "image.tif"), "https://host/image.tif"))
    with pytest.raises(
        PinError, match=r"not pinned(.|\n)*scene: w\n  file: https://host/image.tif(.|\n)*quadrat index"
    ):
        run(catalog, tmp_path / "out")
    assert not (tmp_path / "out").exists()


F32 = np.finfo(np.float32)


@pytest.mark.parametrize(
    ("dtype", "nodata", "value", "told"),
    [
        ("float32", -3.39999999999999996e38, float(F32.min), "nodata is -3.3999999521443642e\\+38"),
        ("float32", None, float(F32.min), "no nodata value is known"),
        ("float64", -9999, -9998.9999, "-9998.9999, and count .nodata is -9999.0."),
        ("int16", 0, -9999, "-9999, and count"),
        ("int16", None, -32768, "-32768, and count"),
        ("int32", -9999, 2**31 - 1, "2147483647, and count"),
        ("int32", 2**31 - 1, 2**31 - 60, "2147483588, and count .nodata is 2147483647.*, which a network takes it for"),
        ("int32", -(2**31), -(2**31) + 200, None),
        ("float32", -9999, -9999, None),
        ("float32", None, -99.5, None),
        ("uint16", 0, 65535, None),
    ],
)
def test_values_that_look_like_none_are_a_warning(
    tmp_path: Path, dtype: str, nodata: float | None, value: float, told: str | None
) -> None:
    catalog = write_world(tmp_path)
    with rasterio.open(tmp_path / "image.tif") as file:
        pixels = np.maximum(file.read(), 1).astype(dtype)
    pixels[0, 5:8, 3:7] = value
    pixels[2, 5:7, 180:184] = value  # of a held-out scene
    write_raster(tmp_path / "image.tif", pixels, nodata=nodata)
    noted = (run(catalog, tmp_path / "out") / "warnings.txt").read_text()
    if told is None:
        assert noted == "no warnings\n"
        return
    first = rf"scene w: 12 px of B1 in \S*image\.tif are (.|\n)*{told}(.|\n)*'nodata: "
    assert re.search(first + r"(.|\n)*scene e: 8 px of B3 in(.|\n)*scene all: 20 px of B1, B3 in", noted)


def test_values_beyond_float32_are_an_error(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    with rasterio.open(tmp_path / "image.tif") as file:
        pixels = file.read().astype(np.float64)
    pixels[1, 9, 9] = np.finfo(np.float64).min
    write_raster(tmp_path / "image.tif", pixels)
    with pytest.raises(ImageError, match=r"band B2 has values that float32(.|\n)*image\.tif(.|\n)*-1\.79(.|\n)*nodata"):
        run(catalog, tmp_path / "out")
