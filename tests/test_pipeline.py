"""The real pipeline on the real scene, with parameters that make it quick: DVC reruns what changed, nothing else."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio

from tests.project import call, change, clone, commit, digests, environment, ran

pytestmark = pytest.mark.slow

QUICK = {
    "chip.windows.count": 40,
    "epochs": 2,
    "model.encoder": "resnet10t",
    "model.depth": 3,
    "model.decoder": {"decoder_channels": [16, 8, 8]},
    "baseline.trees": 4,
    "baseline.samples": 3000,
    "predict.stride": 96,
    "eval.pictures.longest_side": 256,
}
STAGES = ["analyze", "chip", "train", "predict", "eval", "bundle"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, landuse: Path, trees: Path) -> Path:
    """Return a clone in which the pipeline has run."""
    folder = clone(tmp_path_factory.mktemp("project"), landuse, trees)
    change(folder, QUICK)
    commit(folder)  # so that outputs made here and later tell of one commit
    assert ran(call("dvc repro", folder)) == STAGES
    commit(folder)
    return folder


@pytest.fixture
def restored(project: Path) -> Iterator[Path]:
    """Return the clone, and set back afterwards what a test changes."""
    yield project
    call("git reset --quiet --hard", project)  # DVC stages dvc.lock
    call("dvc checkout --quiet --force", project)


def stale(folder: Path) -> set[str]:
    return set(json.loads(call("dvc status --json", folder))) - {"params"}  # which looks at all of them, and is quick


def test_the_sample_is_clean_after_the_command_and_after_a_pull(tmp_path: Path, landuse: Path, project: Path) -> None:
    fetched = clone(tmp_path / "fetched", landuse)
    assert call("dvc status data/raw/landuse.dvc", fetched).strip() == "Data and pipelines are up to date."
    call(f"dvc remote add --default --force storage {tmp_path / 'remote'}", fetched)
    call("dvc push data/raw/landuse.dvc", fetched)
    commit(fetched)
    call(f"git clone --quiet {fetched} {tmp_path / 'pulled'}", tmp_path)
    call("dvc pull data/raw/landuse.dvc", tmp_path / "pulled")
    assert call("dvc status data/raw/landuse.dvc", tmp_path / "pulled").strip() == "Data and pipelines are up to date."
    assert digests(tmp_path / "pulled/data/raw/landuse") == digests(project / "data/raw/landuse")


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert ran(call("dvc repro", project)) == []
    assert call("git status --porcelain", project) == ""


@pytest.mark.parametrize(
    ("key", "value", "first"),
    [
        ("lr", 0.0001, {"train", "bundle"}),
        ("epochs", 3, {"train", "bundle"}),
        ("model.encoder", "resnet18", {"train", "bundle"}),
        ("train.loss.dice", 0.1, {"train", "bundle"}),
        ("predict.stride", 64, {"predict", "bundle"}),
        ("eval.pictures.longest_side", 128, {"eval", "bundle"}),
        ("bundle.title", "other", {"bundle"}),
        ("chip.negatives", 0.5, {"chip", "bundle"}),
        ("analyze.histogram_bins", 8, {"analyze", "bundle"}),
        ("seed", 7, {"chip", "train", "bundle"}),
    ],
)
def test_a_parameter_makes_stale_what_takes_it(restored: Path, key: str, value: object, first: set[str]) -> None:
    change(restored, {key: value})
    assert stale(restored) == first


def test_eval_parameters_rerun_eval_and_bundle_alone(restored: Path) -> None:
    change(restored, {"eval.pictures.longest_side": 128})
    assert ran(call("dvc repro", restored)) == ["eval", "bundle"]


def test_code_that_no_stage_imports_makes_nothing_stale(restored: Path) -> None:
    for module in ("apply.py", "cli.py"):
        with (restored / "src/quadrat" / module).open("a") as file:
            file.write("\n# changed\n")
    assert stale(restored) == set()
    with (restored / "src/quadrat/models/training/augment.py").open("a") as file:
        file.write("\n# changed\n")
    assert stale(restored) >= {"train"}
    assert not stale(restored) & {"analyze", "chip"}


def test_an_experiment_elsewhere_runs_its_own_code_with_its_own_parameters(restored: Path) -> None:
    stage = restored / "src/quadrat/pipeline/train.py"
    stage.write_text(stage.read_text() + "\nprint('CODE', __file__, flush=True)\n")
    output = call("dvc exp run --temp -n elsewhere -S lr=1e-05 -S epochs=1", restored)
    assert ran(output) == ["train", "predict", "eval", "bundle"]
    (code,) = re.findall(r"^CODE (.*)$", output, re.MULTILINE)
    assert Path(code).is_relative_to(restored / ".dvc/tmp/exps")
    shown = json.loads(call("dvc exp show --json", restored))
    experiment = next(e for row in shown for e in row["experiments"] or [] if e["name"] == "elsewhere")
    data = experiment["revs"][0]["data"]
    assert data["params"]["params.yaml"]["data"]["lr"] == 1e-5
    assert data["params"]["params.yaml"]["data"]["epochs"] == 1
    assert data["metrics"]["metrics/train.json"]["data"]["model"]["epochs"] == 1
    assert json.loads((restored / "metrics/train.json").read_text())["model"]["epochs"] == 2  # untouched here


def test_a_wrong_parameter_stops_before_anything_runs(restored: Path) -> None:
    change(restored, {"lr": "fast"})
    done = subprocess.run(
        ["dvc", "repro"], cwd=restored, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "lr: Input should be a valid number" in done.stderr
    assert "Traceback" not in done.stderr


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
    call(f"quadrat verify {bundle}", tmp_path)
    image = project / "data/raw/landuse/T33UUU_20170216T102101_{band}.jp2"
    found = []
    for runtime in ("torch", "onnx"):
        call(f"quadrat apply {bundle} '{image}' --out {tmp_path / runtime} --runtime {runtime}", tmp_path)
        (raster,) = (tmp_path / runtime).rglob("labels.tif")
        with rasterio.open(raster) as file:
            found.append(file.read(1))
    with rasterio.open(project / "data/predictions/tile/labels.tif") as file:
        inside = file.read(1)
    assert (found[0] == inside).mean() > 0.9999
    assert (found[0] == found[1]).mean() > 0.9999


@pytest.mark.parametrize(
    ("stage", "folder", "sign"),
    [("chip", "data/chips", "*/*.npy"), ("predict", "data/predictions", "*/labels.tif")],
)
def test_a_killed_stage_is_simply_run_again(restored: Path, stage: str, folder: str, sign: str) -> None:
    whole = digests(restored / folder)
    for file in (restored / folder).rglob("*"):
        if file.is_file():
            file.unlink()
    command = ["python", "-m", "quadrat", stage]
    paths = {**environment(), "PYTHONPATH": "src"}
    with subprocess.Popen(command, cwd=restored, env=paths, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list((restored / folder).glob(sign)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert digests(restored / folder) != whole
    assert stale(restored)
    assert ran(call(f"dvc repro --force --single-item {stage}", restored)) == [stage]
    assert digests(restored / folder) == whole
