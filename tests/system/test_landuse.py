"""The pipeline on the real scene of the sample, with parameters that make it quick: what comes of it is right."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio

from tests.project import call, change, clone, commit, digests, here, ran

QUICK = {
    "chip.windows.count": 24,
    "epochs": 1,
    "model.encoder": "test_resnet",
    "model.depth": 3,
    "model.decoder": {"decoder_channels": [16, 8, 8]},
    "baseline.trees": 2,
    "baseline.radius": 1,
    "baseline.samples": 3000,
    "predict.stride": 128,
    "eval.pictures.longest_side": 256,
}
STAGES = ["analyze", "chip", "train", "predict", "eval", "bundle"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, landuse: Path, trees: Path) -> Path:
    """Return a clone in which the pipeline has run."""
    folder = clone(tmp_path_factory.mktemp("project"), landuse, trees)
    change(folder, QUICK)
    assert ran(call("dvc repro", folder)) == STAGES
    return folder


def test_the_sample_is_clean_after_the_command_and_after_a_pull(tmp_path: Path, landuse: Path) -> None:
    fetched = clone(tmp_path / "fetched", landuse)
    assert call("dvc status data/raw/landuse.dvc", fetched).strip() == "Data and pipelines are up to date."
    call(f"dvc remote add --default --force storage {tmp_path / 'remote'}", fetched)
    call("dvc push data/raw/landuse.dvc", fetched)
    commit(fetched)
    call(f"git clone --quiet {fetched} {tmp_path / 'pulled'}", tmp_path)
    call("dvc pull data/raw/landuse.dvc", tmp_path / "pulled")
    assert call("dvc status data/raw/landuse.dvc", tmp_path / "pulled").strip() == "Data and pipelines are up to date."
    assert digests(tmp_path / "pulled/data/raw/landuse") == digests(landuse)


def test_what_was_written_opens_elsewhere(project: Path) -> None:
    with rasterio.open(project / "data/predictions/tile/labels.tif") as file:
        labels = file.read(1)
        assert (file.crs.to_epsg(), file.shape, file.nodata) == (32633, (768, 1536), 255)
        assert file.colormap(1)[0] == (0xE8, 0xC4, 0x68, 255)
    assert (labels == 255).sum() == 4  # of B8A, one pixel of 20 m is 0: nodata
    assert np.unique(labels)[-2] < 8
    with rasterio.open(project / "data/predictions/east/labels.tif") as file:
        east = file.read(1)
    assert (east[:, :1150] == 255).all()
    assert (east[:, 1150:] < 8).all()
    areas = geopandas.read_parquet(project / "data/predictions/tile/polygons.parquet")
    assert areas["pixels"].sum() == labels.size - 4
    np.testing.assert_allclose(areas.geometry.area, areas["pixels"] * 100)
    index = geopandas.read_parquet(project / "data/chips/index.parquet")
    assert set(index["split"]) == {"train", "validation"}
    metrics = json.loads((project / "metrics/eval.json").read_text())
    assert metrics["overall"]["support"] == 99_353
    assert set(metrics["baseline"]) == {"forest", "majority"}
    card = json.loads((project / "models/model/model.json").read_text())
    scores = pd.read_csv(project / "metrics/plots/class_scores.csv")
    assert scores["class"].tolist() == [c["name"] for c in card["task"]["classes"]]


def test_the_bundle_runs_outside_with_either_runtime_to_the_same_labels(project: Path, tmp_path: Path) -> None:
    bundle = project / "models/bundle.zip"
    here(f"verify {bundle}", tmp_path)
    image = project / "data/raw/landuse/T33UUU_20170216T102101_{band}.jp2"
    found = []
    for runtime in ("torch", "onnx"):
        here(f"apply {bundle} '{image}' --out {tmp_path / runtime} --runtime {runtime}", tmp_path)
        (raster,) = (tmp_path / runtime).rglob("labels.tif")
        with rasterio.open(raster) as file:
            found.append(file.read(1))
    with rasterio.open(project / "data/predictions/tile/labels.tif") as file:
        inside = file.read(1)
    assert (found[0] == inside).mean() > 0.9999
    assert (found[0] == found[1]).mean() > 0.9999
