"""One image and one file of labels need few lines: what is not said is neutral, or comes from the files."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from quadrat.models.model_folder import read_model
from quadrat.params import read_params, written
from quadrat.runtime.parallel import Threads
from quadrat.runtime.run import Paths, Run, subset
from tests.ground import pixel_box, smooth, write_areas, write_raster

CATALOG = """\
images:
  town: {sources: [{path: image.tif, bands: [red, green, blue]}]}
labels:
  land: {kind: vector, path: labels.gpkg, field: kind}
scenes:
  - {id: west, split: train, image: town, labels: land, aoi: west.geojson}
  - {id: east, split: validation, image: town, labels: land, aoi: east.geojson}
"""

PARAMS = """\
scenes: scenes.yaml
raw: .
aoi: .
seed: 1
task:
  kind: semantic_segmentation
  classes:
    - {name: wood, color: "#1f6f3a"}
    - {name: lake, color: "#3476c4"}
bands: [red, green, blue]
analyze: {}
chip: {chip_size: 32, windows: {kind: sliding, stride: 32}}
model: {kind: forest, trees: 5, radius: 1, samples: 2000}
baseline: null
lr: 0.001
epochs: 1
batch_size: 8
train: {}
predict: {window_size: 32, stride: 32}
eval: {}
bundle: {title: Woods and lakes}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project in ten lines of catalog and 25 of parameters; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    lake = np.arange(96) >= 40
    pixels = (smooth((96, 96), 1) * 100 + np.where(lake, 100, 0)[:, None]).astype(np.uint8)
    write_raster(tmp_path / "image.tif", np.stack([pixels] * 3))
    areas = [pixel_box(0, 0, 96, 40), pixel_box(0, 40, 96, 96)]
    write_areas(tmp_path / "labels.gpkg", areas, {"kind": ["wood", "lake"]})
    for name, left, right in (("west", 0, 48), ("east", 48, 96)):
        write_areas(tmp_path / f"{name}.geojson", [pixel_box(left, 0, right, 96)], to_crs="EPSG:4326")
    (tmp_path / "scenes.yaml").write_text(CATALOG)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def run_stages() -> Paths:
    """Run the stages up to eval, and return the paths of what they wrote."""
    from quadrat.pipeline.analyze import AnalyzeParams, analyze
    from quadrat.pipeline.chip import ChipParams, chip
    from quadrat.pipeline.eval import EvalParams, evaluate
    from quadrat.pipeline.predict import PredictParams, predict
    from quadrat.pipeline.train import TrainParams, train

    params, paths, run = read_params(Path("params.yaml")), Paths(), Run(Threads(1))
    for stage, kind in (
        (analyze, AnalyzeParams),
        (chip, ChipParams),
        (train, TrainParams),
        (predict, PredictParams),
        (evaluate, EvalParams),
    ):
        stage(subset(kind, params), paths, run)
    return paths


@pytest.mark.usefixtures("project")
def test_a_small_project_takes_few_lines_and_runs() -> None:
    assert CATALOG.count("\n") <= 10
    assert PARAMS.count("\n") <= 25
    paths = run_stages()
    (statistics, *_) = json.loads(paths.stats.read_text())["bands"]
    assert statistics["band"] == "red"
    assert json.loads(paths.eval_metrics.read_text())["overall"]["accuracy"] > 0.9


def test_probabilities_are_learnt_by_train_and_measured_by_eval(project: Path) -> None:
    generator = np.random.default_rng(2)
    pixels = generator.normal(100, 30, (3, 96, 96)) + np.where(np.arange(96) >= 40, 30, 0)[:, None]
    write_raster(project / "image.tif", pixels.clip(1, 255).astype(np.uint8))
    layers = "layers: {confidence: true, conformal: 0.1}"
    Path("params.yaml").write_text(PARAMS.replace("stride: 32}\neval", f"stride: 32, {layers}}}\neval"))
    paths = run_stages()
    card = read_model(paths.model_folder).card
    assert card.calibration is not None
    assert json.loads(paths.train_metrics.read_text())["model"]["temperature"] == card.calibration.temperatures[0]
    found = json.loads(paths.eval_metrics.read_text())
    assert all(0 < error < 0.1 for error in found["calibration"].values())
    assert found["sets"]["promised"] == 0.9
    assert found["sets"]["covered_lowest"] == pytest.approx(0.9, abs=0.1)  # scores of a forest are few
    with rasterio.open(paths.predictions / "east" / "conformal.tif") as dataset:
        assert dataset.descriptions == ("wood", "lake", "several")
        several, here = dataset.read(3), dataset.read(1) != 255
    assert set(np.unique(several[here])) <= {0, 1}
    assert np.mean(several[here]) == pytest.approx(found["sets"]["several"], abs=1e-4)


@pytest.mark.usefixtures("project")
def test_the_full_parameters_say_the_same() -> None:
    params = read_params(Path("params.yaml"))
    Path("full.yaml").write_bytes(written(params))
    assert read_params(Path("full.yaml")) == params
    assert "histogram_bins: 64" in Path("full.yaml").read_text()
