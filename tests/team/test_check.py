"""check reports every error at once, in words, in a table that fits a terminal, and says what analyze would say."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import rasterize
from ruamel.yaml import YAML
from shapely.geometry import Polygon, box, mapping
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.errors import AOIError, CatalogError, ImageError, LabelError, OverlapError, QuadratError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.vectors.burning import Areas
from quadrat.labels.labels import Labels, open_labels
from quadrat.labels.objects import Objects
from quadrat.labels.raster import LabelledPixels, RasterLabels
from quadrat.labels.vector import LabelledAreas, VectorLabels
from quadrat.models import Forest, Segmenter, Train
from quadrat.models.common.encoders import Encoder
from quadrat.models.peaks.peaks import Peaks
from quadrat.pipeline.chip import Chip
from quadrat.pipeline.eval import Eval
from quadrat.preflight.label_survey import PART, PARTS, survey_labels
from quadrat.preflight.problems import find_errors
from quadrat.preflight.survey import survey
from quadrat.runtime.failures import merged
from quadrat.runtime.parallel import Threads
from quadrat.runtime.run import Paths
from quadrat.scenes.aoi import AOI
from quadrat.tasks import Task
from quadrat.team.check import check
from quadrat.team.pin import index
from tests.ground import (
    BANDS,
    KINDS,
    NORTH_UP,
    UTM,
    cells,
    detection,
    legend,
    pixel_box,
    segmentation,
    write_areas,
    write_raster,
    write_world,
)
from tests.http_server import served
from tests.pipeline.test_analyze import run as analyze
from tests.plugins.own import project

FOREST = Forest(kind="forest", trees=1, radius=1, max_depth=None, min_samples_leaf=1, samples=1)
SMALL: dict[str, Any] = {"architecture": "unet", "encoder": "test_resnet", "depth": 3, "dropout": 0.0}


NONE = {"kind": "none"}


def network(**changed: Any) -> Segmenter:
    content = {
        "kind": "segmenter",
        "start": {"kind": "timm", "bands": ["red", "green", "blue"]},
        "dates": None,
        "decoder": {"decoder_channels": [8, 8, 8]},
        **SMALL,
        **changed,
    }
    return Segmenter.model_validate(content, strict=False)


def chip(**changed: Any) -> Chip:
    content = {"chip_size": 64, "windows": {"kind": "sliding", "stride": 64, "padding": 0}, "min_valid_fraction": 0.5}
    content |= {"target_classes": None, "min_targets": 0, "negatives": None}
    return Chip.model_validate({**content, **changed}, strict=False)


def told(
    capsys: pytest.CaptureFixture[str],
    catalog: Path,
    pictures: tuple[str, ...] | None = BANDS,
    task: Task | None = None,
    **changed: Any,
) -> tuple[int, str]:
    """Return the number of errors, and what is printed."""
    shown = {"longest_side": 64, "bands": pictures, "stretch": (2, 98)}
    options: dict[str, Any] = {
        "raw": catalog.parent,
        "aoi": catalog.parent,
        "bands": BANDS,
        "model": FOREST,
        "baseline": None,
        "chip": chip(),
        "epochs": 1,
        "batch_size": 4,
        "train": None,
        "predict": SimpleNamespace(window_size=64),
    }
    options |= {"scenes": catalog, "task": task or segmentation(*KINDS)}
    options["eval"] = Eval.model_validate({"match": None, "pictures": pictures and shown}, strict=False)
    params: Any = SimpleNamespace(**options | changed)
    count = check(params, Paths(pins=catalog.parent / "pins.json"), Threads(2))
    return count, capsys.readouterr().out


def edit(catalog: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(catalog.read_text())
    change(content)
    catalog.write_text(json.dumps(content))
    return catalog


@pytest.mark.parametrize("task", [segmentation(*KINDS), detection(*KINDS)])
def test_features_that_label_nothing_are_told_by_check_and_analyze(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: Task
) -> None:
    catalog = write_world(tmp_path / "in")
    path = tmp_path / "in" / "labels.gpkg"
    there = geopandas.read_file(path)
    flat = Polygon([NORTH_UP @ corner for corner in ((9, 9), (20, 9), (9, 9))])
    kinds = [*there["kind"], "lake", "lake", "lake"]
    write_areas(path, [*there.geometry, flat, flat, pixel_box(50, 50, 50.0002, 60)], {"kind": kinds})
    count, out = told(capsys, catalog, task=task)
    assert count == 0
    words = " ".join(out.split())
    assert words.count(f"2 of {len(kinds)} features have no area: they label nothing") == 1
    boxes = "an extent below 0.001 px: they are no objects"
    assert words.count(boxes) == (task.kind == "object_detection")
    noted = (analyze(catalog, tmp_path / "out", task=task) / "warnings.txt").read_text()
    assert noted.count(f"{path}: 2 of {len(kinds)} features have no area") == 1
    assert noted.count(boxes) == (task.kind == "object_detection")


def broken(root: Path) -> Path:
    """Write a catalog with a dozen errors, of which each would hide others if the first one ended all."""
    base = write_world(root, e={"aoi": str(root / "away.geojson")})
    write_areas(root / "away.geojson", [pixel_box(900, 0, 950, 50)], to_crs="EPSG:4326")
    write_areas(root / "far.gpkg", [pixel_box(900, 0, 950, 9)], {"kind": ["lake"]})
    write_areas(root / "odd.gpkg", [pixel_box(0, 0, 99, 99), pixel_box(9, 9, 20, 20)], {"kind": ["moor", "lake"]})
    write_areas(root / "wide.geojson", [pixel_box(100, 0, 150, 120)], to_crs="EPSG:4326")
    pixels = np.full((3, 30, 30), 900, np.uint16)
    write_raster(root / "nowhere.tif", pixels, crs=None, nodata=0)
    write_raster(root / "two.tif", pixels[:2])
    write_raster(root / "unit.tif", pixels, NORTH_UP @ Affine.translation(500, 0), nodata=0)

    def change(content: dict[str, Any]) -> None:
        (source,) = content["images"]["i"]["sources"]
        for name in ("nowhere", "two", "unit", "gone"):
            own = {**source, "path": str(root / f"{name}.tif")} | ({"unit": "radiance"} if name == "unit" else {})
            content["images"][name] = {"grid": "B1", "sources": [own]}
        for name in ("far", "odd"):
            content["labels"][name] = {**content["labels"]["l"], "path": str(root / f"{name}.gpkg")}
        content["scenes"] += [
            {"id": "odd", "split": "train", "image": "i", "labels": ["odd", "far"], "aoi": str(root / "w.geojson")},
            {"id": "nowhere", "split": "test", "image": "nowhere", "labels": "l", "aoi": str(root / "w.geojson")},
            {"id": "two", "split": "predict", "image": "two", "aoi": str(root / "away.geojson")},
            {"id": "unit", "split": "predict", "image": "unit"},
            {"id": "gone", "split": "test", "image": "gone", "labels": "l", "aoi": str(root / "none.geojson")},
            {"id": "gone2", "split": "predict", "image": "gone"},
            {"id": "wide", "split": "test", "image": "i", "labels": "l", "aoi": str(root / "wide.geojson")},
        ]

    return edit(base, change)


ERRORS: list[tuple[type[QuadratError], str, str]] = [
    (AOIError, "e", "covers no pixel"),
    (AOIError, "two", "covers no pixel"),
    (LabelError, "odd", "no class lists"),
    (LabelError, "odd", "no label lies on the image"),
    (LabelError, "nowhere", "must both have a CRS"),
    (AOIError, "nowhere", "must both have a CRS"),
    (ImageError, "two", "fewer bands"),
    (ImageError, "gone, gone2", "can't be opened"),
    (AOIError, "gone", "the file is missing"),
    (CatalogError, "unit", "have different meanings"),
    (OverlapError, "w and wide", "share ground"),
    (OverlapError, "m and wide", "share ground"),
    (OverlapError, "odd and wide", "share ground"),
]


def test_every_error_is_reported_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count, out = told(capsys, broken(tmp_path))
    for kind, scene, problem in ERRORS:
        heads = [part for part in out.split(f"{kind.__name__}: ")[1:] if problem in part.partition("\n")[0]]
        assert any(f"scene: {scene}\n" in head.partition("  hint:")[0] for head in heads), (kind, scene, problem)
    assert count == out.count("Error: ") == len(ERRORS)
    rows = {line.split()[0]: line.split() for line in out.splitlines()[1:12]}
    assert {name: row[-1] for name, row in rows.items()} == {
        "w": "1", "m": "1", "e": "1", "all": "–", "odd": "3", "nowhere": "2",
        "two": "2", "unit": "1", "gone": "2", "gone2": "1", "wide": "3",
    }  # fmt: skip
    assert rows["w"][2:6] == ["200×120", "EPSG:32633", "10", "m"]
    assert rows["w"][6:8] == ["3", "uint16"]
    assert rows["w"][9] == "55%"
    assert rows["nowhere"][3:6] == ["–", "1", "px"]


def test_a_vector_file_that_cannot_be_read_hides_no_other_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = write_world(tmp_path, e={"aoi": str(tmp_path / "gone.geojson")}, m={"aoi": str(tmp_path / "cut.gpkg")})
    (tmp_path / "cut.gpkg").write_bytes((tmp_path / "labels.gpkg").read_bytes()[:9000])
    feature = {"type": "Feature", "properties": {"kind": "lake"}, "geometry": mapping(pixel_box(0, 0, 9, 9))}
    (tmp_path / "degrees.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    edit(catalog, lambda content: content["labels"]["l"].update(path=str(tmp_path / "degrees.geojson")))
    count, text = told(capsys, catalog)
    assert [text.count(some) for some in ("not longitudes and latitudes", "can't be read as vector", "is missing")] == [
        1
    ] * 3
    assert count >= 3


def test_analyze_stops_at_the_first_and_tells_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AOIError, match="scene: e\n"):
        analyze(broken(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err.count("Error: ") == len(ERRORS) - 1


def test_what_is_told_fits_a_terminal_and_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = {n: {"split": "predict", "image": "i"} for n in ("a-scene-with-quite-a-long-name-2019-07-01-ortho", "b")}
    count, out = told(capsys, write_world(tmp_path, **ids))
    assert count == 0
    tables = out.partition("no errors")[0].splitlines()
    assert max(map(len, tables)) <= 80
    assert "\x1b" not in out
    assert "a-scene" in out
    assert "…" not in "".join(tables)
    assert "no errors, no warnings in 6 scenes" in out


def test_all_is_well_where_analyze_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = write_world(tmp_path)
    count, out = told(capsys, catalog, raw=tmp_path / "raw", aoi=tmp_path / "aoi")
    assert count == 0
    assert "image.tif lies outside" in out
    assert "no errors, 5 warnings in 4 scenes" in out
    analyze(catalog, tmp_path / "out")


def test_splits_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = write_world(tmp_path, w={"split": "test"}, m=None)
    count, out = told(capsys, catalog)
    assert count == 2
    assert "no scene of split 'train'" in out
    assert "no scene of split 'validation'" in out


def test_classes_that_no_feature_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = write_world(tmp_path)
    write_areas(tmp_path / "e.geojson", [pixel_box(160, 0, 161, 1)], to_crs="EPSG:4326")
    count, out = told(capsys, catalog, task=segmentation(*KINDS, "moor", "heath"))
    assert count == 1
    assert "LabelError: no training label has this class\n  expected: moor, heath\n  got: wood " in out
    assert "split 'validation' has no label of class moor" in out
    assert out.count("split 'test' has no label of class") == 3
    rest = edit(catalog, lambda content: content["labels"]["l"].update(background="moor"))
    count, out = told(capsys, rest, task=segmentation(*KINDS, "moor"))
    assert count == 0
    assert "moor      ?          ?    ?" in out


def test_bands_of_pictures_that_an_image_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count, out = told(capsys, write_world(tmp_path), ("B1", "B8", "B9"))
    assert count == 1
    assert "eval.pictures.bands names bands that the image lacks\n  scene: m, e, all\n" in out
    assert "got: B8, B9" in out
    catalog = edit(write_world(tmp_path), lambda c: c["images"]["i"]["sources"][0]["bands"].append("B4"))
    count, out = told(capsys, catalog, ("B4",))
    assert count == 1
    assert "ImageError: the file has fewer bands than the catalog names\n  scene: m, e, all" in out
    assert told(capsys, catalog, None)[0] == 0


def test_each_band_and_file_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = write_world(tmp_path)
    count, out = told(capsys, catalog, bands=("B8", "B1", "B9"))
    assert count == 2
    assert "expected: B8\n" in out
    assert "expected: B9\n" in out
    assert "200×120 EPSG:32633 10 m     ?" in out  # what is known all the same
    assert "B1" not in {line.split()[-1] for line in out.splitlines() if "expected" in line}
    write_raster(tmp_path / "B2.tif", np.ones((1, 120, 200), np.uint16), nodata=0)
    path = {"path": str(tmp_path / "{band}.tif"), "bands": [*BANDS, "B4"]}
    apart = edit(catalog, lambda content: content["images"]["i"]["sources"][0].update(path))
    (tmp_path / "labels.gpkg").unlink()
    count, out = told(capsys, apart)
    assert count == 2
    assert f"scene: w, m, e, all\n  file: {tmp_path}/B1.tif, {tmp_path}/B3.tif\n" in out
    assert "LabelError: the file is missing\n  scene: w, m, e\n" in out


def test_a_network_that_cannot_be_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write_world(tmp_path)
    monkeypatch.setattr(Encoder, "check_weights", lambda _: None)  # of servers
    assert told(capsys, catalog, model=network())[0] == 0
    for wrong in ({"decoder": {"decoder_channels": [8, 8]}}, {"encoder": "resnet10x"}, {"decoder": {"colour": 1}}):
        count, out = told(capsys, catalog, model=network(**wrong))
        assert count == 1, wrong
        assert "ModelError: no network can be built of these parameters" in out
    count, out = told(capsys, catalog, ("B9",), model=network(encoder="resnet10x"))
    assert "ModelError" not in out  # tried last


def test_a_network_that_cannot_take_its_windows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = write_world(tmp_path)
    fpn = network(start=NONE, architecture="fpn", depth=4, decoder={})
    count, out = told(capsys, catalog, model=fpn)
    assert count == 1
    assert "output is of another size than its windows" in out
    assert "set model.depth to 5" in out
    deep = network(start=NONE, architecture="deeplabv3", decoder={})
    assert told(capsys, catalog, model=deep)[0] == 0
    assert "batches of 1, of chips of 64 px" in told(capsys, catalog, model=deep, batch_size=1)[1]


def test_more_labels_than_a_chip_can_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Boxes: more than the train scene has features of the target classes."""
    catalog = write_world(tmp_path)
    count, out = told(capsys, catalog, chip=chip(min_targets=4097, negatives=0))
    assert count == 1
    assert "requires\n  expected: at most 4096 px\n  got: 4097\n" in out
    assert told(capsys, catalog, chip=chip(min_targets=4096, negatives=0))[0] == 0
    assert told(capsys, catalog, chip=chip(min_targets=4097))[0] == 0  # all are kept
    boxed, peaks = detection(*KINDS), Peaks(kind="peaks", bands={"B1": 1}, smoothing=1.0, distance=3)
    _, out = told(capsys, catalog, task=boxed, model=peaks)
    features = int(out.split("\nwood ")[1].split()[0])
    given: dict[str, Any] = {"task": boxed, "model": peaks}
    some = {"target_classes": ["wood"], "negatives": 1}
    assert told(capsys, catalog, **given, chip=chip(min_targets=features, **some))[0] == 0
    assert f"at most {features} boxes" in told(capsys, catalog, **given, chip=chip(min_targets=features + 1, **some))[1]
    one, several = (cells(*KINDS, multi_label=multi) for multi in (False, True))
    assert "at most 1 cells" in told(capsys, catalog, task=one, chip=chip(min_targets=2, negatives=0))[1]
    assert told(capsys, catalog, task=several, chip=chip(min_targets=len(KINDS), negatives=0))[0] == 0
    assert told(capsys, catalog, task=several, chip=chip(min_targets=len(KINDS) + 1, negatives=0))[0] == 1


def test_several_aois_and_images_that_fit_only_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_areas(tmp_path / "away.geojson", [pixel_box(900, 0, 950, 50)], to_crs="EPSG:4326")
    aoi = [str(tmp_path / name) for name in ("away.geojson", "w.geojson", "none.geojson")]
    count, out = told(capsys, write_world(tmp_path, w={"aoi": aoi}))
    assert count == 2
    assert "covers no pixel" in out
    assert "none.geojson" in out
    assert [line.split()[-2] for line in out.splitlines() if line.startswith("w ")] == ["?"]


def test_errors_that_differ_only_in_scene_and_file_are_merged() -> None:
    def error(scene: str, file: str, got: str) -> ImageError:
        return ImageError("lost", scene, file, got=got, hint="look")

    some = [error("a", f"{n}.tif", f"{n}.tif: no such file") for n in range(5)]
    (one,) = merged([*some, error("b", "0.tif", "0.tif: no such file")])
    assert (one.scene, one.file) == ("a, b", "0.tif, 1.tif, 2.tif, and 2 more")
    assert len(merged([*some, error("a", "0.tif", "0.tif: no rights")])) == 2
    assert merged([some[0]]) == [some[0]]


@given(st.data())
def test_features_are_counted_as_one_by_one(data: st.DataObject) -> None:
    """By GEOS one by one: on the image, by those that touch the AOI; within reach of it, a class may be there."""
    numbers = st.integers(-4, 20)
    boxes = st.lists(st.tuples(numbers, numbers, st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12)
    areas = [box(x, y, x + w, y + h) for x, y, w, h in data.draw(boxes)]
    image = box(0, 0, 16, 16)
    aoi = [box(x, y, x + w, y + h).intersection(image) for x, y, w, h in data.draw(boxes)]
    aoi = [one for one in aoi if one.area > 0] or [box(0, 0, 1, 1)]
    ids = np.array(data.draw(st.lists(st.sampled_from([0, 1, 2, 255]), min_size=len(areas), max_size=len(areas))))
    ids, reach = ids.astype(np.uint8), data.draw(st.sampled_from([0, 3, np.inf]))
    geometry = np.array(areas, object)
    part = LabelledAreas(Areas(geometry, ids), Objects(geometry, ids), 255)
    whole = AOI(np.array(aoi, object), Window(0, 0, 16, 16))
    seen = survey_labels(Labels((part,), grid((16, 16)), "s"), whole, whole.bounds, 3, reach)
    on_image = [a.intersection(image).area > 0 for a in areas]
    meeting = [on and any(a.intersects(one) for one in aoi) for on, a in zip(on_image, areas, strict=True)]
    near = [on and any(a.distance(one) <= reach for one in aoi) for on, a in zip(on_image, areas, strict=True)]
    np.testing.assert_array_equal(seen.features, np.bincount(ids[meeting], minlength=3)[:3])
    np.testing.assert_array_equal(seen.absent, np.bincount(ids[near], minlength=3)[:3] == 0)


def grid(shape: tuple[int, int]) -> Grid:
    return Grid(CRS.from_string(UTM), NORTH_UP, shape)


def raster_labels(tmp_path: Path, ids: np.ndarray, **options: Any) -> tuple[RasterLabels, Grid]:
    path = write_raster(tmp_path / "ids.tif", ids[None], nodata=9)
    source = RasterLabels.model_validate({"kind": "raster", "path": str(path), "values": "ids", **options})
    return source, grid(ids.shape)


def test_a_small_raster_is_read_whole_within_the_aoi(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).choice([0, 1, 9], (60, 70)).astype(np.uint8)
    source, place = raster_labels(tmp_path, ids)
    area = box(10, 5, 40, 50).difference(box(20, 20, 30, 30))
    aoi = AOI(np.array([area], object), Window(5, 10, 45, 30))
    with open_labels([source], place, legend(a=["0"], b=["1"], c=["2"]), "s") as labels:
        assert labels is not None
        seen = survey_labels(labels, aoi, aoi.bounds, 3, 0)
    inside = rasterize([area], ids.shape) > 0
    np.testing.assert_array_equal(seen.pixels, np.bincount(ids[inside], minlength=3)[:3])
    np.testing.assert_array_equal(seen.absent, [False, False, True])


@pytest.mark.parametrize("shape", [(PART * PARTS + 700, 3000), (90, 60_000)])
def test_of_a_large_raster_parts_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Any) -> None:
    ids = np.zeros(shape, np.uint8)
    ids[-1, -1] = 1  # the last px of the last part
    source, place = raster_labels(tmp_path, ids)
    read: list[Window] = []
    whole = LabelledPixels.class_ids

    def spy(self: LabelledPixels, window: Window, *, all_touched: bool) -> Any:
        read.append(window)
        return whole(self, window, all_touched=all_touched)

    monkeypatch.setattr(LabelledPixels, "class_ids", spy)
    with open_labels([source], place, legend(a=["0"], b=["1"], c=["2"]), "s") as labels:
        assert labels is not None
        seen = survey_labels(labels, None, place.area, 3, 0)
    taken = sum(window.height * window.width for window in read)
    assert taken <= (PART * PARTS) ** 2 < ids.size
    assert all(window.intersection(place.area) == window for window in read)
    assert seen.pixels.tolist() == [taken - 1, 1, 0]
    assert not seen.absent.any()  # a class may hide in what wasn't read


def test_values_of_a_raster_that_no_class_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = write_world(tmp_path)
    ids = np.full((120, 200), 7, np.uint8)
    ids[:, 110:] = 1
    write_raster(tmp_path / "ids.tif", ids[None])
    labels = {"kind": "raster", "path": str(tmp_path / "ids.tif"), "values": "ids"}
    edit(catalog, lambda content: content["labels"].update(l=labels))
    count, out = told(capsys, catalog, task=legend(wood=["1"], lake=["2"]))
    assert count == 1
    assert "no class lists\n  scene: w\n" in out
    assert "got: 7 (13200 px)" in out


def test_a_baseline_that_takes_other_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peaks = Peaks(kind="peaks", bands={"B1": 1, "green": 2}, smoothing=1.0, distance=3)
    count, out = told(capsys, write_world(tmp_path), task=detection(*KINDS), baseline=peaks)
    assert count == 1
    assert "ModelError: the baseline has bands that the model does not take" in out


def test_what_a_task_cannot_do_with_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a class that only lies beside the AOI: its box may reach into it, its pixels don't."""
    catalog = write_world(tmp_path)
    write_raster(tmp_path / "ids.tif", np.ones((1, 120, 200), np.uint8))
    labels = {"kind": "raster", "path": str(tmp_path / "ids.tif"), "values": "ids"}
    edit(catalog, lambda content: content["labels"].update(r=labels))
    edit(catalog, lambda content: content["scenes"][1].update(labels=["l", "r"]))
    count, out = told(capsys, catalog, task=detection(*KINDS, "1"))
    assert count == 2
    assert "no training label has this class\n  expected: 1\n" in out
    assert "labels of pixels have no objects\n  scene: m\n" in out
    corner = [pixel_box(0, 0, 9, 9), pixel_box(150, 0, 180, 9)]
    write_areas(tmp_path / "labels.gpkg", corner, {"kind": ["wood", "lake"]})
    edit(catalog, lambda content: content["scenes"][1].update(labels=["l"]))
    assert told(capsys, catalog, task=detection("wood", "lake"))[0] == 0
    assert "expected: lake" in told(capsys, catalog, task=segmentation("wood", "lake"))[1]


def test_a_scene_without_errors_is_surveyed_as_it_is_opened(tmp_path: Path) -> None:
    from quadrat.scenes.catalog import read_catalog

    task = segmentation(*KINDS)
    for scene in read_catalog(write_world(tmp_path)):
        finding = survey(scene, bands=BANDS, task=task)
        assert not finding.errors
        assert finding.survey is not None
        with scene.open(BANDS, task) as opened:
            assert finding.survey.area == opened.area
            assert finding.survey.grid == opened.grid
            assert finding.survey.bands == opened.raster.bands
        assert find_errors([finding], task)  # splits are missing


def test_the_command_ends_with_1_where_there_is_an_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    params = YAML(typ="safe").load(root / "params.yaml")
    catalog = write_world(tmp_path)
    params |= {"scenes": str(catalog), "raw": str(tmp_path), "aoi": str(tmp_path), "bands": list(BANDS)}
    params["task"]["classes"] = [{"name": n, "color": "#000000", "from": [n]} for n in KINDS]
    params["eval"]["pictures"]["bands"] = ["B1"]

    def run() -> tuple[int, str, list[str]]:
        """Return the status, what is printed, and what is told but for how far it is, which a slow machine is told."""
        (tmp_path / "params.yaml").write_text(json.dumps(params))
        done = CliRunner().invoke(app, ["check", "--params", str(tmp_path / "params.yaml")])
        return done.exit_code, done.stdout, [one for one in done.stderr.splitlines() if not one.startswith("check: ")]

    status, printed, told = run()
    assert (status, told) == (0, [])
    assert "no errors" in printed
    params["eval"]["pictures"]["bands"] = ["B7"]
    (tmp_path / "labels.gpkg").unlink()
    status, printed, told = run()
    assert (status, told) == (1, [])
    assert "2 errors" in printed
    params["lr"] = "fast"
    status, _, told = run()
    assert status == 1
    assert told[0].startswith("ParamsError: lr")


def test_labels_of_vector_files_that_miss_one_scene_of_several(tmp_path: Path) -> None:
    """An error of one scene is not taken for that of another: the places differ."""
    write_areas(tmp_path / "far.gpkg", [pixel_box(900, 0, 950, 9)], {"kind": ["lake"]})
    source = VectorLabels(kind="vector", path=str(tmp_path / "far.gpkg"), field="kind")
    errors = []
    for left in (0, 300):
        place = Grid(CRS.from_string(UTM), NORTH_UP @ Affine.translation(left, 0), (9, 9))
        with pytest.raises(LabelError) as raised, source.open(place, segmentation(*KINDS), f"s{left}"):
            pass
        errors.append(raised.value)
    assert len(merged(errors)) == 2


def test_an_object_elsewhere_that_is_not_pinned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path) as web:
        catalog = write_world(tmp_path)
        catalog.write_text(catalog.read_text().replace(str(tmp_path / "image.tif"), f"{web.url}/image.tif"))
        count, out = told(capsys, catalog)
        assert count == 1
        assert "PinError: the object is not pinned, so nobody would notice another in its place\n  scene: w" in out
        assert f"file: {web.url}/image.tif\n" in out
        index(catalog, tmp_path / "pins.json", write=True)
        assert told(capsys, catalog)[0] == 0


def test_check_tries_plugins_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write_world(tmp_path / "in")
    source = "def mean():\n    return lambda outputs, truth, mask: outputs[:, 0][mask].mean()\n"
    monkeypatch.chdir(project(tmp_path, losses=source))
    loss = {"kind": "plugin", "name": "plugins.losses:mean"}
    augment = {"plugin": {"name": "plugins.nowhere:Blurred"}}
    count, printed = told(capsys, catalog, train=Train.model_validate({"loss": loss, "augment": augment}))
    assert count == 2
    assert "train.loss: the loss plugins.losses:mean is not finite for a batch without a label" in printed
    assert "train.augment.plugin.name: there is no augmentation plugins.nowhere:Blurred here" in printed
