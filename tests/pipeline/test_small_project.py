"""One image and one file of labels need few lines: what is not said is neutral, or comes from the files."""

import json
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.usefixtures("project")
def test_a_small_project_takes_few_lines_and_runs() -> None:
    from quadrat.pipeline.analyze import AnalyzeParams, analyze
    from quadrat.pipeline.chip import ChipParams, chip
    from quadrat.pipeline.eval import EvalParams, evaluate
    from quadrat.pipeline.predict import PredictParams, predict
    from quadrat.pipeline.train import TrainParams, train

    assert CATALOG.count("\n") <= 10
    assert PARAMS.count("\n") <= 25
    params, paths, run = read_params(Path("params.yaml")), Paths(), Run(Threads(1))
    for stage, kind in (
        (analyze, AnalyzeParams),
        (chip, ChipParams),
        (train, TrainParams),
        (predict, PredictParams),
        (evaluate, EvalParams),
    ):
        stage(subset(kind, params), paths, run)
    (statistics, *_) = json.loads(paths.stats.read_text())["bands"]
    assert statistics["band"] == "red"
    assert json.loads(paths.eval_metrics.read_text())["overall"]["accuracy"] > 0.9


@pytest.mark.usefixtures("project")
def test_the_full_parameters_say_the_same() -> None:
    params = read_params(Path("params.yaml"))
    Path("full.yaml").write_bytes(written(params))
    assert read_params(Path("full.yaml")) == params
    assert "histogram_bins: 64" in Path("full.yaml").read_text()
