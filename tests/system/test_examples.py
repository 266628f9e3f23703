"""The examples, each in a fresh clone: one file changes, and the pipeline runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pyogrio
import pytest
import torch
from affine import Affine
from rasterio.features import rasterize

from quadrat.errors import CatalogError
from quadrat.evaluation.score_tables import read_scores
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs, PluginModel
from quadrat.models.start.section import FileStart
from quadrat.models.training.neural import build
from quadrat.models.training.starting import start
from quadrat.params import read_params
from quadrat.runtime.formats.yaml import load
from quadrat.samples import fetch
from quadrat.scenes.catalog import Catalog
from tests.ground import pixel_box, write_areas, write_raster
from tests.http_server import Served, served
from tests.project import ROOT, call, change, clone, ran

pytestmark = pytest.mark.slow

VEGAS = "azavea-research-public-data/raster-vision/examples/spacenet"
"""The key of the quickstart's folder in its bucket."""

QUICK = {
    "trees": {
        "chip.chip_size": 128,
        "chip.windows.count": 20,
        "model.encoder": "test_resnet",
        "model.channels": 16,
        "model.depth": 1,
        "epochs": 1,
        "predict.window_size": 512,
        "predict.stride": 512,
    },
    "landuse-cells": {"chip.windows.count": 100},
}
"""What makes an example quick, and its model bad."""

SPACENET = {
    "chip.chip_size": 64,
    "chip.windows.count": 60,
    "model.encoder": "test_resnet",
    "model.depth": 3,
    "model.decoder": {"decoder_channels": [16, 8, 8]},
    "baseline.trees": 4,
    "epochs": 8,
    "train.patience": 8,
    "lr": 0.01,
    "predict.window_size": 64,
    "predict.stride": 48,
}


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Served]:
    """Serve stand-ins of two images of Las Vegas and their footprints, under the same keys."""
    folder = tmp_path / "bucket"
    for n, tile in enumerate(("img205", "img25")):
        generator = np.random.default_rng(n)
        place = Affine(2.7e-6, 0, -115.3 + 0.01 * n, 0, -2.7e-6, 36.1)
        corners = generator.integers(0, 140, (12, 2))
        roofs = [pixel_box(col, row, col + 20, row + 12, place) for col, row in corners]
        built = rasterize(roofs, (160, 160), transform=place)
        pixels = generator.normal(400, 60, (3, 160, 160)) + built * np.array([600, 450, 300])[:, None, None]
        key = folder / VEGAS / f"RGB-PanSharpen_AOI_2_Vegas_{tile}.tif"
        write_raster(key, pixels.astype(np.uint16), place, "EPSG:4326")
        write_areas(
            folder / VEGAS / f"buildings_AOI_2_Vegas_{tile}.geojson", roofs, {"HGT": [3] * len(roofs)}, "EPSG:4326"
        )
    with served(folder) as found:
        yield found


def rows(page: str, first: str) -> list[list[str]]:
    """Return the cells of a README's table whose heading begins so, and without its heading."""
    table = (ROOT / "examples" / page / "README.md").read_text(encoding="utf-8").partition(f"| {first} |")[2]
    lines = table.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_catalog_of_trees_has_the_boxes_that_its_readme_says(trees: Path) -> None:
    """A box counts where its centre does."""
    catalog = load(ROOT / "examples/trees/scenes.yaml", Catalog, CatalogError)
    found = {}
    for entry in catalog.scenes:
        labels = catalog.labels[entry.label_names[0]]
        centres = pyogrio.read_dataframe(trees.parents[2] / labels.path).centroid
        for area in entry.aoi_files:
            centres = centres[centres.within(pyogrio.read_dataframe(ROOT / area).geometry.item())]
        found[entry.id] = (entry.split, len(centres))
    serves = {"learn": "train", "choose weights": "validation", "be judged": "test"}
    assert found == {row[0]: (serves[row[1]], int(row[3])) for row in rows("trees", "scene")}


def test_the_example_of_trees_runs_and_finds_crowns_in_each_scene(tmp_path: Path, trees: Path) -> None:
    folder = run("trees", tmp_path, trees)
    found = {path.parent.name for path in folder.glob("data/predictions/*/detections.parquet")}
    assert found == {"road-west", "road-east", "sand", "shrubs"}


def test_the_example_of_cells_has_the_counts_of_its_readme(tmp_path: Path, landuse: Path) -> None:
    folder = run("landuse-cells", tmp_path, landuse, "chip")  # tests/tasks has the stages after it
    counts = pd.read_csv(folder / "metrics/plots/classes.csv").pivot_table("labels", "scene", "class", sort=False)
    for name, *shown in rows("landuse-cells", "labelled cells"):
        assert [int(cell) for cell in shown] == counts.loc[name.partition(",")[0]].tolist()


def test_the_published_network_of_clouds_says_here_what_its_own_graph_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its weights are found by name. The graph computes in half precision, and so rounds."""
    fetch("csmask", tmp_path)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "dvc.yaml").touch()  # plugins are a project's
    shutil.copy(ROOT / "examples/clouds/csmask.py", tmp_path / "plugins")
    monkeypatch.chdir(tmp_path)
    params = read_params(ROOT / "examples/clouds/params.yaml")
    assert isinstance(params.model, PluginModel)
    assert isinstance(params.model.start, FileStart)
    plain = BandStatistics(band="", count=1, mean=0, std=1, min=0, max=9000, percentiles={}, histogram=(1,))
    bands = [Band(name=n, dtype="int16", unit="", scale=1e-4, offset=0, nodata=-9999) for n in params.bands]
    inputs = Inputs(tuple(bands), tuple(plain.model_copy(update={"band": name}) for name in params.bands))
    inputs = params.model.own_inputs(inputs)
    network = build(params.model, params.task, inputs, seed=0)
    begun = start(params.model, network, params.task, inputs)
    assert begun.counts["encoder"]["adapted"] == begun.counts["decoder and heads"]["new"] == 0
    assert begun.counts["encoder"]["new"] == 5  # of the layer behind the features, which segmentation doesn't use
    pixels = np.random.default_rng(0).integers(0, 7000, (1, 6, 256, 256)).astype(np.float32)
    with torch.inference_mode():
        ours = network.eval().body(network.prepared(torch.from_numpy(pixels))).numpy()
    own = onnxruntime.InferenceSession(params.model.start.path, providers=["CPUExecutionProvider"])
    about = np.array([params.model.start.mean, params.model.start.std], np.float32)[:, None, :, None, None]
    (theirs,) = own.run(None, {own.get_inputs()[0].name: (pixels - about[0]) / about[1]})
    assert np.abs(ours - theirs).mean() < 0.02 * theirs.std()
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.99


def run(example: str, tmp_path: Path, sample: Path, stage: str = "bundle") -> Path:
    """Run an example as its README says, but quick, up to ``stage``, and return its project."""
    folder = clone(tmp_path / "project", sample)
    call(f"cp examples/{example}/params.yaml .", folder)
    change(folder, QUICK[example])
    assert ran(call(f"dvc repro {stage}", folder))[-1] == stage
    return folder


def test_the_quickstart_of_raster_vision(tmp_path: Path, bucket: Served) -> None:
    folder = clone(tmp_path / "project")
    file = folder / "examples/tiny_spacenet/tiny_spacenet.py"
    text = file.read_text(encoding="utf-8")
    assert f'"https://s3.amazonaws.com/{VEGAS}"' in text
    file.write_text(text.replace("https://s3.amazonaws.com", bucket.url), encoding="utf-8")
    call("quadrat configure examples/tiny_spacenet/tiny_spacenet.py --params params.yaml --force", folder)
    change(folder, SPACENET)
    call("quadrat index", folder)
    call("dvc repro", folder)
    assert {path.rpartition("/")[2] for path, _ in bucket.asked} == {
        f"{kind}_AOI_2_Vegas_{tile}.{ending}"
        for tile in ("img205", "img25")
        for kind, ending in (("RGB-PanSharpen", "tif"), ("buildings", "geojson"))
    }
    assert "bucket" not in (folder / "data/analysis/warnings.txt").read_text(encoding="utf-8")
    found = read_scores((folder / "metrics/plots/class_scores.csv").read_text(encoding="utf-8"))
    assert found["building"]["f1"] > 0.8
    assert (folder / "data/predictions/img25/buildings.parquet").is_file()
    assert "Running stage" not in call("dvc repro", folder)
