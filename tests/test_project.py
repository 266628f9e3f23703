"""A small project under DVC, once through: one of each kind of what tests/system tries in all ways."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio

from tests.project import call, digests, ran, small_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """Return a copy of the small project in which the pipeline has run, and is committed."""
    return small_run(tmp_path_factory.mktemp("small"), shared)


@pytest.fixture
def project(built: Path) -> Iterator[Path]:
    """Return the project, and set back afterwards what a test changes."""
    yield built
    call("git checkout --quiet --force master", built)
    call("dvc checkout --quiet --force", built)


def test_an_experiment_runs_what_has_changed_and_nothing_else(project: Path) -> None:
    output = call("dvc exp run --name other -S eval.pictures.longest_side=96 eval", project)
    assert ran(output) == ["eval"]
    (_, row) = json.loads(call("dvc exp show --json", project))
    (experiment,) = row["experiments"]
    parameters = experiment["revs"][0]["data"]["params"]["params.yaml"]["data"]
    assert (experiment["name"], parameters["eval"]["pictures"]["longest_side"]) == ("other", 96)


def test_what_one_pushes_another_pulls_and_nothing_runs_again(project: Path, tmp_path: Path) -> None:
    call(f"dvc remote modify --local storage url {tmp_path / 'remote'}", project)
    call("dvc push", project)
    clone = tmp_path / "clone"
    call(f"git clone --quiet {project} {clone}", tmp_path)
    call(f"dvc remote modify --local storage url {tmp_path / 'remote'}", clone)
    call("dvc pull", clone)
    assert ran(call("dvc repro", clone)) == []
    assert digests(clone / "data/predictions") == digests(project / "data/predictions")


def test_the_bundle_says_the_same_outside_of_the_project(project: Path, tmp_path: Path) -> None:
    image = project / "data/raw/world/image.tif"
    options = f"--bands B1,B2,B3 --out {tmp_path / 'out'} --runtime onnx"
    call(f"quadrat apply {project / 'models/bundle.zip'} {image} {options}", tmp_path)
    (raster,) = (tmp_path / "out").rglob("labels.tif")
    with rasterio.open(raster) as outside, rasterio.open(project / "data/predictions/all/labels.tif") as inside:
        assert (outside.read(1) == inside.read(1)).mean() > 0.999
