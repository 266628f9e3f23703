"""A time series from its files to the bundle, where no date alone tells the classes apart, but their mean does."""

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
import onnx
import pytest
import rasterio
import rasterio.features
from shapely.geometry import shape

from quadrat.bundle.loading import Runtime
from quadrat.chips.store import open_chips
from quadrat.errors import CatalogError, ImageError, ModelError
from quadrat.evaluation.pictures import Pictures
from quadrat.models import Segmenter, Train
from quadrat.models.model_folder import read_model
from quadrat.pipeline.bundle import Bundle
from quadrat.pipeline.chip import Chip
from quadrat.pipeline.eval import Eval
from quadrat.prediction.sliding_window import Predict
from quadrat.runtime.parallel import Threads
from quadrat.runtime.run import Paths
from quadrat.serving.apply import apply, verify
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from quadrat.team.check import check
from tests.bundling import FOREST, SECTIONS
from tests.ground import KINDS, NORTH_UP, REFLECTANCE, kept, pixel_box, segmentation, write_areas, write_raster
from tests.models.test_network import TRAIN
from tests.stage_calls import analyze, bundle, chip, evaluate, predict, train

pytestmark = pytest.mark.slow

TASK = segmentation(*KINDS)
BANDS = ("B2", "B1")
SHAPE = (120, 200)
YEARS = ("2016", "2017")
DATES = ("03-01", "06-01", "09-01")
GONE = np.zeros(SHAPE, bool)
"""Where no date has a value."""
GONE[:12, :12] = GONE[:12, 188:] = True
ONCE = GONE[::-1]
"""Where only the last date has values."""

MODEL = Segmenter.model_validate(
    {
        "kind": "segmenter",
        "architecture": "unet",
        "encoder": "test_resnet",
        "depth": 3,
        "decoder": {"decoder_channels": [32, 16, 16]},
        "dropout": 0.0,
        "dates": "mean",
    }
)
CHIP = Chip.model_validate(
    {**SECTIONS["chip"].model_dump(), "windows": {"kind": "random", "count": 120, "padding": 0}}, strict=False
)
EVAL = Eval(match=SECTIONS["eval"].match, pictures=Pictures(longest_side=64, bands=("B1",), stretch=(2.0, 98.0)))
PREDICT = Predict.model_validate({**SECTIONS["predict"].model_dump(), "window_size": 64, "stride": 48})


def write_years(root: Path) -> np.ndarray:
    """Write an image of 3 dates in each of two years, its labels and catalog; return the first (date, band, y, x).

    Classes stand in squares of 10 px, and differ less than what is added to a square on one date and taken off on
    the others. The second year's image is the first's.
    """
    generator = np.random.default_rng(5)
    squares = (SHAPE[0] // 10, SHAPE[1] // 10)
    kinds = generator.integers(0, 3, squares)
    shifts = generator.uniform(-1000, 1000, (3, *squares))
    shifts -= shifts.mean(0)
    level = (3000 + 300 * kinds + shifts).repeat(10, 1).repeat(10, 2)
    pixels = level[:, None] + generator.normal(0, 20, (3, 3, *SHAPE))
    pixels = np.clip(pixels, 1, 9999).astype(np.uint16)
    pixels[:, :, GONE] = pixels[:2, :, ONCE] = 0
    for year in YEARS:
        for date, bands in zip(DATES, pixels, strict=True):
            for number, band in enumerate(bands, 1):
                write_raster(root / f"raw/{year}-{date}_B{number}.tif", band[None], nodata=0)
    ids = (kinds + 1).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    shapes = [(shape(g), int(v)) for g, v in rasterio.features.shapes(ids, transform=NORTH_UP)]
    write_areas(root / "raw/labels.gpkg", [g for g, _ in shapes], {"kind": [KINDS[v - 1] for _, v in shapes]})
    scenes = []
    for name, split, left, right, year in (
        ("w", "train", 0, 120, 0),
        ("m", "validation", 120, 150, 1),
        ("e", "test", 150, 200, 1),
    ):
        write_areas(root / f"aoi/{name}.geojson", [pixel_box(left, 0, right, 120)], to_crs="EPSG:4326")
        about = {"image": YEARS[year], "labels": "l", "aoi": str(root / f"aoi/{name}.geojson")}
        scenes.append({"id": name, "split": split, **about})
    source = {"path": str(root / "raw/{date}_{band}.tif"), "bands": ["B1", "B2", "B3"], "resampling": "nearest"}
    catalog = {
        "images": {
            year: {"grid": "B1", "dates": [f"{year}-{date}" for date in DATES], "sources": [{**source, **REFLECTANCE}]}
            for year in YEARS
        },
        "labels": {"l": {"kind": "vector", "path": str(root / "raw/labels.gpkg"), "field": "kind"}},
        "scenes": scenes,
    }
    (root / "scenes.yaml").write_text(json.dumps(catalog))  # JSON is YAML
    return pixels


def sections(root: Path) -> dict[str, Any]:
    about = {"scenes": root / "scenes.yaml", "seed": 3, "task": TASK, "bands": BANDS, "pins": root / "pins.json"}
    return {**about, "executor": Threads(2)}


def taken(root: Path, *names: str) -> dict[str, Any]:
    return {name: value for name, value in sections(root).items() if name in names}


def analyzed(root: Path) -> None:
    outputs = ("stats", "table", "warnings", "class_plot", "band_plot", "analyze_metrics")
    sizes = {"raw": root / "raw", "aoi": root / "aoi", "analyze": SECTIONS["analyze"]}
    analyze(
        **taken(root, "scenes", "task", "bands", "pins", "executor"), **sizes, **{name: root / name for name in outputs}
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Return a project in which all stages have run, and the pixels of its images."""
    root = tmp_path_factory.mktemp("series")
    pixels = write_years(root)
    analyzed(root)
    models = {"model": MODEL, "baseline": FOREST}
    learning = {"lr": 0.01, "epochs": 5, "batch_size": 8, "train": Train.model_validate({**TRAIN, "ema_decay": 0.8})}
    folders = {"model_folder": root / "model", "baseline_folder": root / "baseline"}
    places = {"stats", "table", "chips", "predictions", "confusion", "pictures", "eval_metrics", "train_metrics"}
    tables = {"class_scores", "scene_scores", "areas", "reliability"}
    at = {name: root / name for name in places | tables | {"intervals", "page"}}

    def files(*names: str) -> dict[str, Path]:
        return {name: at[name] for name in names}

    chip(
        **taken(root, "scenes", "seed", "task", "bands", "pins", "executor"),
        **files("table", "chips"),
        **kept(root, "chip"),
        chip=CHIP,
    )
    train(
        **{**taken(root, "seed", "task", "bands"), **learning, **models, **folders},
        **files("stats", "table", "chips", "train_metrics"),
        curves=root / "curves.csv",
        checkpoints=root / "checkpoints",
    )
    predict(
        **{**taken(root, "scenes", "task", "bands", "pins", "executor"), **folders, **files("predictions")},
        **kept(root, "prediction"),
        baseline=FOREST,
        predict=PREDICT,
        batch=4,
    )
    evaluate(
        **taken(root, "scenes", "seed", "task", "pins", "executor"),
        **files("predictions", "table", "eval_metrics", "intervals", "class_scores", "scene_scores", "confusion"),
        **files("areas", "reliability", "pictures", "page"),
        baseline=FOREST,
        eval=EVAL,
    )
    bundle(
        **{**taken(root, "scenes", "seed", "task", "bands"), **learning, **models},
        **{name: SECTIONS[name] for name in ("raw", "aoi", "analyze")},
        chip=CHIP,
        predict=PREDICT,
        eval=EVAL,
        bundle=Bundle(title="Squares"),
        **files("chips", "train_metrics", "eval_metrics", "class_scores"),
        model_folder=root / "model",
        bundle_file=root / "bundle.zip",
    )
    return root, pixels


def layer(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "labels.tif") as file:
        return file.read(1)


def changed(root: Path, out: Path, **images: dict[str, Any]) -> Path:
    """Write the catalog with other keys of images; return its path."""
    catalog = json.loads((root / "scenes.yaml").read_text())
    for year, keys in images.items():
        catalog["images"][year.removeprefix("y")].update(keys)
    out.write_text(json.dumps(catalog))
    return out


def test_statistics_of_a_band_are_over_all_its_dates(project: tuple[Path, np.ndarray]) -> None:
    root, pixels = project
    found = json.loads((root / "stats").read_text())["bands"]
    assert [band["band"] for band in found] == ["B2", "B1"]
    for band, number in zip(found, (1, 0), strict=True):
        values = pixels[:, number, :, :120]
        values = values[values > 0].astype(float)
        assert band["count"] == values.size == 3 * 120 * 120 - 3 * 144 - 2 * 144
        assert band["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert band["std"] == pytest.approx(values.std(), rel=1e-9)
    table = geopandas.read_parquet(root / "table").set_index("scene")
    assert table.loc["w", "valid"] == 1 - 144 / 120**2


def test_chips_hold_all_dates(project: tuple[Path, np.ndarray]) -> None:
    root, pixels = project
    chips = open_chips(root / "chips", "validation", TASK.columns, BANDS)
    found, target = chips.read(np.arange(len(chips)))
    for values, classes, row in zip(found, target["classes"], chips.index.itertuples(), strict=True):
        there = pixels[:, [1, 0], row.row : row.row + 32, row.col : row.col + 32]
        inside = there.shape[2:]
        np.testing.assert_array_equal(values.reshape(3, 2, 32, 32)[:, :, : inside[0], : inside[1]], there)
        assert (classes[: inside[0], max(0, 120 - row.col) : max(0, 150 - row.col)] < 3).all()


def test_the_mean_over_dates_tells_what_no_date_does(project: tuple[Path, np.ndarray]) -> None:
    root, pixels = project
    metrics = json.loads((root / "eval_metrics").read_text())
    areas = geopandas.read_file(root / "raw/labels.gpkg")
    ids = [KINDS.index(kind) for kind in areas["kind"]]
    truth = rasterio.features.rasterize(zip(areas.geometry, ids, strict=True), SHAPE, transform=NORTH_UP)
    for one in pixels[:, 0]:
        counted = [np.histogram(one[truth == kind], 12, (1, 6000))[0] for kind in range(3)]
        assert np.max(counted, 0).sum() / truth.size < 0.6  # the best guess by the value on one date
    assert metrics["overall"]["accuracy"] > 0.9
    assert metrics["overall"]["accuracy"] > metrics["baseline"]["forest"]["accuracy"]
    assert metrics["overall"]["support"] == 120 * 50 - 144
    labels = layer(root / "predictions/e")
    assert (labels[:, 150:] == 255).sum() == 144
    assert (labels[GONE] == 255).all()
    assert (labels[108:, 188:] < 3).all()


def test_the_picture_shows_the_mean_over_dates(project: tuple[Path, np.ndarray]) -> None:
    root, _ = project
    assert (root / "pictures/e.png").stat().st_size > 0


def test_scenes_have_as_many_dates(project: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    root, _ = project
    few = changed(root, tmp_path / "few.yaml", y2017={"dates": ["2017-03-01", "2017-06-01"]})
    message = r"different numbers of dates\n  scene: m, e\n  expected: 3 \(scene w\)\n  got: 2"
    with pytest.raises(CatalogError, match=message):
        analyze(
            **{**taken(root, "task", "bands", "pins", "executor"), "scenes": few, "analyze": SECTIONS["analyze"]},
            **dict.fromkeys(("raw", "aoi"), root),
            **{n: tmp_path / n for n in ("stats", "table", "warnings", "class_plot", "band_plot", "analyze_metrics")},
        )
    with pytest.raises(ModelError, match=r"another number of dates(.|\n)*scene: m(.|\n)*expected: 3\n  got: 2"):
        predict(
            **{**taken(root, "task", "bands", "pins", "executor"), "scenes": few},
            predictions=tmp_path / "predictions",
            **kept(tmp_path, "prediction"),
            model_folder=root / "model",
            baseline_folder=root / "baseline",
            baseline=None,
            predict=PREDICT,
            batch=4,
        )


def test_check_tells_of_dates(
    project: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = project
    few = changed(root, tmp_path / "few.yaml", y2017={"dates": ["2017-03-01", "2017-06-01"]})
    plain = MODEL.model_copy(update={"dates": None})
    for catalog, model, errors, text in (
        (root / "scenes.yaml", MODEL, 0, "3×2 uint16"),
        (root / "scenes.yaml", plain, 1, "time series, and the network doesn't pool over dates"),
        (few, MODEL, 1, "different numbers of dates"),
    ):
        about = {**taken(root, "task", "bands"), "scenes": catalog, "raw": root, "aoi": root}
        windows = {"chip": CHIP, "epochs": 1, "batch_size": 8, "predict": PREDICT}
        params: Any = SimpleNamespace(**about, **windows, model=model, baseline=FOREST, train=None, eval=EVAL)
        assert check(params, Paths(pins=root / "pins.json"), Threads(2)) == errors
        captured = capsys.readouterr()
        assert text in captured.out + captured.err


def test_the_bundle_says_what_it_takes(project: tuple[Path, np.ndarray]) -> None:
    root, _ = project
    verify(root / "bundle.zip")
    card = read_model(root / "model").card
    assert [(band.date, band.name) for band in card.bands] == [(f"2016-{d}", b) for d in DATES for b in BANDS]
    with zipfile.ZipFile(root / "bundle.zip") as file:
        text = file.read("README.md").decode()
        properties = {p.key: p.value for p in onnx.load_from_string(file.read("model.onnx")).metadata_props}
    assert "windows of 2 bands on 3 dates" in text
    assert "number d × 2 + b" in text
    assert "from 2016-03-01 to 2016-09-01" in text
    assert (json.loads(properties["bands"]), json.loads(properties["dates"])) == (["B2", "B1"], 3)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_bundle_is_applied_to_a_catalog(project: tuple[Path, np.ndarray], tmp_path: Path, runtime: Runtime) -> None:
    root, _ = project
    apply(root / "bundle.zip", [str(root / "scenes.yaml")], tmp_path / "out", Reading(), Plan(runtime))
    expected = layer(root / "predictions/e")
    assert (layer(tmp_path / "out/e") == expected).mean() > 0.9999


def test_a_bundle_of_series_takes_nothing_else(project: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    root, _ = project
    paths = {"path": str(root / "raw/2017-03-01_{band}.tif"), "bands": ["B1", "B2"], "resampling": "nearest"}
    plain = {"grid": "B1", "sources": [{**paths, **REFLECTANCE}]}
    alone = {"images": {"i": plain}, "scenes": [{"id": "s", "split": "predict", "image": "i"}]}
    (tmp_path / "alone.yaml").write_text(json.dumps(alone))
    for path, error, message in (
        (root / "raw/2017-03-01_{band}.tif", ImageError, r"learnt from time series(.|\n)*of 3 dates(.|\n)*a catalog"),
        (tmp_path / "alone.yaml", ModelError, r"another number of dates(.|\n)*3 dates(.|\n)*an image without dates"),
    ):
        with pytest.raises(error, match=message):
            apply(root / "bundle.zip", [str(path)], tmp_path / "out", Reading(), Plan("onnx"))
    assert not (tmp_path / "out").exists()


def test_clouds_that_a_band_hides_are_not_taken_for_another_unit(
    project: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """Where a date is all clouds, only what is clear is looked at."""
    root, pixels = project
    clouds = np.full((1, *SHAPE), 60_000, np.uint16)
    for number in (1, 2):
        for date in ("2018-03-01", "2018-06-01"):
            write_raster(tmp_path / f"{date}_B{number}.tif", clouds, nodata=0)
        write_raster(tmp_path / f"2018-09-01_B{number}.tif", pixels[2, number - 1 : number], nodata=0)
    for date in DATES:
        clear = np.full((1, *SHAPE), date == "09-01", np.uint8)
        write_raster(tmp_path / f"2018-{date}_clear.tif", clear)
    path = {"path": str(tmp_path / "{date}_{band}.tif"), "resampling": "nearest"}
    told = {"unit": "class", "scale": 1.0, "offset": 0.0}
    image: dict[str, Any] = {"grid": "B1", "dates": [f"2018-{date}" for date in DATES]}
    image["sources"] = [{**path, **REFLECTANCE, "bands": ["B1", "B2"]}, {**path, **told, "bands": ["clear"]}]
    catalog = {"images": {"i": image}, "scenes": [{"id": "s", "split": "predict", "image": "i"}]}
    (tmp_path / "a.yaml").write_text(json.dumps(catalog))
    with pytest.raises(ImageError, match="unlike all that the model learnt"):
        apply(root / "bundle.zip", [str(tmp_path / "a.yaml")], tmp_path / "out", Reading(), Plan("onnx"))
    image["clear"] = {"band": "clear", "values": [1]}
    (tmp_path / "a.yaml").write_text(json.dumps(catalog))
    apply(root / "bundle.zip", [str(tmp_path / "a.yaml")], tmp_path / "out", Reading(), Plan("onnx"))
    np.testing.assert_array_equal(layer(tmp_path / "out/s") == 255, GONE)
