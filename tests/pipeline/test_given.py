"""Predictions of other programs are scored as the stage's own are; what can't be scored is an error in words."""

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from shapely.geometry import LineString
from sklearn.metrics import precision_recall_fscore_support
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.runtime.formats.yaml import dumped
from tests.ground import KINDS, pixel_box, segmentation, write_areas, write_raster
from tests.pipeline.test_eval import AOIS, labelled, pixels_of, predicted, run, write_ground

TASK = segmentation(*KINDS).model_dump(mode="json", by_alias=True)


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a catalog, parameters of nothing but the task, and predictions named by scenes."""
    catalog = write_ground(tmp_path)
    assert catalog.name == "scenes.yaml"
    for scene in ("m", "e"):
        (tmp_path / "given").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "predictions" / scene / "labels.tif", tmp_path / "given" / f"{scene}.tif")
    (tmp_path / "params.yaml").write_bytes(dumped({"task": TASK, "lr": 0.1}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scored(*options: str, out: str = "scores") -> dict[str, Any]:
    given = ["eval", "--catalog", "scenes.yaml", "--out", out, *options]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(Path(out, "eval.json").read_text())
    return found


def refused(*options: str) -> str:
    result = CliRunner().invoke(app, ["eval", "--catalog", "scenes.yaml", *options], catch_exceptions=False)
    assert result.exit_code == 1
    return " ".join(result.output.split())


def only(root: Path, *scenes: str) -> None:
    """Leave only some scenes in the catalog."""
    content = json.loads((root / "scenes.yaml").read_text())
    content["scenes"] = [entry for entry in content["scenes"] if entry["id"] in scenes]
    (root / "scenes.yaml").write_text(json.dumps(content))


def test_files_named_by_scenes_score_as_the_stage_scores_its_own(ground: Path) -> None:
    expected = run(ground, ground / "scenes.yaml", baseline=None)
    found = scored("--predictions", "given")
    assert expected["Test"].pop("over_majority")
    assert found == {key: expected[key] for key in ("Test", "overall", "validation")} | {"baseline": {}}
    assert scored("--predictions", "predictions", out="again") == found
    assert sorted(path.name for path in Path("scores").iterdir()) == [
        "areas.csv",
        "class_scores.csv",
        "confusion.csv",
        "eval.json",
        "intervals.json",
        "pictures",
        "reliability.csv",
        "report.html",
        "scene_scores.csv",
    ]


def test_one_file_scores_a_catalog_of_one_test_scene(ground: Path) -> None:
    everything = scored("--predictions", "given")
    only(ground, "e")
    wide = write_raster(ground / "map.tif", predicted(1)[None].astype(np.uint16), nodata=255)
    found = scored("--predictions", str(wide), out="one")
    assert found["overall"] == everything["overall"]
    assert found["validation"]["support"] == 0


def test_polygons_are_scored_as_the_pixels_that_they_cover(ground: Path) -> None:
    only(ground, "e")
    boxes = [pixel_box(0, 0, 200, 60), pixel_box(100, 50, 190, 110)]
    write_areas(ground / "map.geojson", boxes, {"class": ["wood", "lake"]}, to_crs="EPSG:4326")
    drawn = np.full(labelled().shape, 2, np.uint8)  # field is outside of all
    drawn[:60] = 0
    drawn[50:110, 100:190] = 1
    truth, ours = pixels_of("e", drawn)
    found = scored("--predictions", "map.geojson", "--background", "field")
    recall = precision_recall_fscore_support(truth, ours, labels=range(3), zero_division=np.nan)[1]
    assert found["overall"]["macro_recall"] == pytest.approx(np.nanmean(recall), abs=1e-4)
    assert found["overall"]["support"] == truth.size
    lake = geopandas.read_file(ground / "map.geojson").iloc[1:].drop(columns="class")
    lake.to_file(ground / "lake.geojson")
    found = scored("--predictions", "lake.geojson", "--class", "lake", "--background", "none", out="lake")
    covered = (labelled()[:, AOIS["e"]] != 255) & (drawn[:, AOIS["e"]] == 1)
    assert found["overall"]["support"] == covered.sum()
    assert found["overall"]["unpredicted"] > 0.4


def test_what_can_not_be_scored_is_an_error_in_words(ground: Path) -> None:
    assert "one file is given for several scenes" in refused("--predictions", "given/e.tif")
    (ground / "given/m.tif").unlink()
    told = refused("--predictions", "given")
    assert "a scene has no prediction" in told
    assert "m.tif" in told
    assert "got: e.tif" in told
    only(ground, "e")
    shutil.copy("given/e.tif", "given/e.tiff")
    assert "a scene has several predictions" in refused("--predictions", "given")
    write_areas(ground / "map.geojson", [pixel_box(0, 0, 200, 60)], {"class": ["wood"]}, to_crs="EPSG:4326")
    assert "which class is outside all of them" in refused("--predictions", "map.geojson")
    told = refused("--predictions", "map.geojson", "--background", "field", "--class", "wood")
    assert "have classes of their own" in told
    write_raster(ground / "three.tif", np.zeros((3, *labelled().shape), np.uint8))
    assert "one band of whole numbers" in refused("--predictions", "three.tif")
    (ground / "map.shp").write_text("")
    assert "are no such file" in refused("--predictions", "map.shp")
    assert "no such file or folder" in refused("--predictions", "nothing")
    assert "the folder for the scores is there" in refused("--predictions", "three.tif", "--out", "given")
    (ground / "given/e.tif").unlink()


def test_polygons_of_a_file_that_keeps_no_order_may_overlap_only_within_a_class(ground: Path) -> None:
    only(ground, "e")
    boxes = [pixel_box(0, 0, 195, 60), pixel_box(100, 50, 200, 110), pixel_box(165, 55, 170, 58)]
    write_areas(ground / "map.gpkg", boxes, {"class": ["wood", "lake", "wood"]})
    write_areas(ground / "map.fgb", boxes, {"class": ["wood", "lake", "wood"]})
    scored("--predictions", "map.gpkg", "--background", "field")
    told = refused("--predictions", "map.fgb", "--background", "field")
    assert "overlap, and the file does not keep their order" in told
    assert "got: 350 px" in told
    write_areas(ground / "same.fgb", boxes, {"class": ["wood"] * 3})
    scored("--predictions", "same.fgb", "--background", "field", out="same")


def test_lines_and_points_are_no_areas(ground: Path) -> None:
    only(ground, "e")
    across = LineString(pixel_box(165, 0, 195, 60).exterior.coords[:3])
    write_areas(ground / "map.gpkg", [pixel_box(160, 0, 200, 60), across, across.centroid], {"class": ["wood"] * 3})
    told = refused("--predictions", "map.gpkg", "--background", "field")
    assert "other features than polygons" in told
    assert "got: 2 of 3" in told


def test_a_file_without_any_polygon_is_all_background(ground: Path) -> None:
    only(ground, "e")
    (ground / "map.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    found = scored("--predictions", "map.geojson", "--background", "wood")
    truth, ours = pixels_of("e", np.zeros(labelled().shape, np.uint8))
    assert found["overall"]["accuracy"] == pytest.approx(np.mean(truth == ours), abs=1e-4)


def test_options_that_would_do_nothing_are_errors(ground: Path) -> None:
    only(ground, "e")
    assert "--background is no class of the task" in refused("--predictions", "given", "--background", "feild")
    told = refused("--predictions", "given", "--class", "none")
    assert "--class is no class of the task expected: wood, lake, field got: none" in told
    told = refused("--predictions", "given", "--background", "field", "--class", "wood")
    assert "a raster says all classes itself" in told
    assert "--background field --class wood" in told


def test_endings_may_be_of_upper_case(ground: Path) -> None:
    expected = scored("--predictions", "given")
    for scene, ending in (("m", "TIF"), ("e", "Tif")):
        (ground / f"given/{scene}.tif").rename(ground / f"given/{scene}.{ending}")
    assert scored("--predictions", "given", out="again") == expected
    only(ground, "e")
    write_areas(ground / "map.geojson", [pixel_box(0, 0, 200, 120)], {"class": ["wood"]}, to_crs="EPSG:4326")
    geopandas.read_file(ground / "map.geojson").to_parquet(ground / "MAP.PARQUET")
    scored("--predictions", "MAP.PARQUET", "--background", "field", out="parquet")


def test_nobody_is_told_to_predict_again_what_he_gave(ground: Path) -> None:
    write_raster(ground / "given/e.tif", predicted(1)[None, :-1], nodata=255)
    told = refused("--predictions", "given")
    assert "another grid than its scene" in told
    assert "hint: give another file, or correct this one" in told


def test_options_of_given_predictions_need_them(ground: Path) -> None:
    result = CliRunner().invoke(app, ["eval", "--out", str(ground / "out")])
    assert result.exit_code == 2
    assert "goes with --predictions" in " ".join(result.output.split())


def test_polygons_are_matched_as_polygons_too(ground: Path) -> None:
    only(ground, "e")
    (ground / "labels.gpkg").unlink()
    labelled_boxes = [pixel_box(165, 20, 175, 30), pixel_box(180, 50, 190, 60), pixel_box(20, 20, 40, 40)]
    write_areas(ground / "labels.gpkg", labelled_boxes, {"kind": ["wood", "lake", "lake"]})  # the last is elsewhere
    found_boxes = [pixel_box(165, 20, 175, 29), pixel_box(180, 50, 184, 54), pixel_box(162, 80, 170, 90)]
    write_areas(ground / "map.gpkg", found_boxes, {"class": ["wood", "lake", "wood"]})
    found = scored("--predictions", "map.gpkg", "--background", "field")
    assert found["polygons"] == {"f1": 0.4, "precision": 0.3333, "recall": 0.5, "support": 2}
    assert "Polygons matched as polygons, from an IoU of 0.5: F1 0.400" in Path("scores/report.html").read_text()
    assert "polygons" not in scored("--predictions", "given", out="raster")


def test_a_polygon_at_the_images_edge_is_matched_by_what_of_it_lies_on_the_image(ground: Path) -> None:
    only(ground, "e")
    (ground / "labels.gpkg").unlink()
    write_areas(ground / "labels.gpkg", [pixel_box(190, 20, 209, 30)], {"kind": ["wood"]})  # the image is 200 px wide
    for name, right in (("cut", 200), ("beyond", 209)):
        write_areas(ground / f"{name}.gpkg", [pixel_box(190, 20, right, 29)], {"class": ["wood"]})
        found = scored("--predictions", f"{name}.gpkg", "--background", "field", out=name)
        assert found["polygons"] == {"f1": 1.0, "precision": 1.0, "recall": 1.0, "support": 1}
