"""Training in Python is the stage train, into a folder of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

import quadrat
from quadrat.errors import ChipError, ModelError, OutputError, ParamsError
from quadrat.params import read_params
from tests.project import digests


def test_it_gives_the_weights_and_metrics_of_the_stage(tmp_path: Path) -> None:
    before = digests(Path("models"))
    trained = quadrat.train(tmp_path / "run")
    weights = "model.safetensors"
    assert digests(trained.model)[weights] == digests(Path("models/model"))[weights]
    assert trained.metrics == json.loads(Path("metrics/train.json").read_text())
    assert trained.curves.empty
    assert digests(Path("models")) == before


def test_changes_are_those_of_keys(tmp_path: Path) -> None:
    trained = quadrat.train(tmp_path, changes={"model.trees": 2, "seed": 9})
    assert (trained.params.model.kind, trained.params.model.trees, trained.params.seed) == ("forest", 2, 9)
    assert read_params(tmp_path / "params.yaml") == trained.params
    assert read_params(Path("params.yaml")).model.trees == 5
    assert json.loads((trained.model / "model.json").read_text())["model"]["trees"] == 2


@pytest.mark.parametrize("name", ["params.yaml", "train.json", "model/notes.txt", "baseline/model.onnx"])
def test_files_of_others_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=rf"{Path(name).name}\n  hint: "):
        quadrat.train(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_what_was_trained_predicts(tmp_path: Path) -> None:
    trained = quadrat.train(tmp_path / "run")
    predictor = quadrat.load(trained.model, tmp_path / "run/params.yaml", layers={"scores": False})
    bundle = quadrat.load("models/bundle.zip", layers={"scores": False})
    with quadrat.open_scene("tile") as scene:
        paths, expected = (
            one.predict(scene.to_xarray(), tmp_path / name) for one, name in ((predictor, "a"), (bundle, "b"))
        )
    with rasterio.open(paths["labels"]) as mine, rasterio.open(expected["labels"]) as theirs:
        np.testing.assert_array_equal(mine.read(), theirs.read())
    with pytest.raises(ModelError, match="no ONNX graph"):
        quadrat.load(trained.model, "params.yaml", runtime="onnx")


@pytest.mark.parametrize(
    "arguments", [["models/model"], ["models/bundle.zip", "params.yaml"], ["models/none", "params.yaml"]]
)
def test_a_model_folder_needs_parameters_and_a_bundle_has_its_own(arguments: list[str]) -> None:
    with pytest.raises(ParamsError, match="a model folder needs parameters, and a bundle has its own"):
        quadrat.load(*arguments)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="did you mean 'trees'"):
        quadrat.train(tmp_path, changes={"model.treees": 2})
    with pytest.raises(ParamsError, match=r"in no section(.|\n)*lr\.x"):
        quadrat.train(tmp_path, changes={"lr.x": 2})
    with pytest.raises(ChipError, match="cut for other bands"):
        quadrat.train(tmp_path, changes={"bands": ["B1"]})
    with pytest.raises(ChipError, match="no complete chip store"):
        quadrat.train(tmp_path, chips=tmp_path / "none")
    assert not (tmp_path / "model").exists()
