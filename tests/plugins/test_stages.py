"""Stages take plugins as they take parameters: checked first, in the model's versions, in the bundle by name alone."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from quadrat import load
from quadrat.bundle.loading import read_bundle
from quadrat.cli import app
from quadrat.errors import BundleError, MissingPluginError, ModelError, ParamsError, PluginError
from quadrat.models.model_folder import read_model
from quadrat.params import check_params, read_params, written
from quadrat.pipeline.bundle import BundleParams, bundle
from quadrat.pipeline.check_params import check_params as first_stage
from quadrat.pipeline.eval import EvalParams, evaluate
from quadrat.pipeline.predict import PredictParams, predict
from quadrat.pipeline.train import TrainParams, train
from quadrat.plugins.section import plugins_in
from quadrat.runtime.run import Paths, Run, subset
from quadrat.serving.apply import verify
from tests.plugins.own import LOSSES, project
from tests.plugins.test_losses import AUGMENT
from tests.plugins.test_networks import NETWORKS
from tests.project import ROOT
from tests.python_project import write_project

OWN: dict[str, Any] = {
    "model": {"kind": "plugin", "name": "plugins.networks:Plain", "arguments": {"width": 5}},
    "epochs": 1,
    "batch_size": 8,
    "train": {
        "loss": {"kind": "plugin", "name": "plugins.losses:Focal", "arguments": {"gamma": 1}},
        "augment": {"plugin": {"name": "plugins.augment:Shifted"}},
    },
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that has trained, predicted, scored and bundled with plugins; tests change what is in it."""
    folder = project(tmp_path_factory.mktemp("built"), losses=LOSSES, augment=AUGMENT, networks=NETWORKS)
    write_project(folder)
    content = json.loads((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(json.dumps({**content, **OWN}))
    return folder


@pytest.fixture(autouse=True)
def folder(built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project(built, losses=LOSSES, augment=AUGMENT, networks=NETWORKS))
    return built


@pytest.fixture(scope="module")
def ran(built: Path) -> Path:
    here = Path.cwd()
    os.chdir(built)
    try:
        for stage, kind in (
            (train, TrainParams),
            (predict, PredictParams),
            (evaluate, EvalParams),
            (bundle, BundleParams),
        ):
            run(stage, kind)
    finally:
        os.chdir(here)
    return built


def run(stage: Any, kind: Any) -> None:
    stage(subset(kind, read_params(Path("params.yaml"))), Paths(), Run())


def test_sections_of_plugins_are_written_as_they_are_read() -> None:
    params = read_params(Path("params.yaml"))
    Path("again.yaml").write_bytes(written(params))
    assert read_params(Path("again.yaml")) == params
    assert [one.key for one in plugins_in(params)] == ["model", "train.loss", "train.augment.plugin"]


def test_the_first_stage_checks_plugins(folder: Path) -> None:
    named = [*plugins_in(read_params(Path("params.yaml")))]
    first_stage(named, Paths())
    project(folder, losses=LOSSES.replace("Focal", "Focus"))
    with pytest.raises(MissingPluginError, match=r"train\.loss\.name(.|\n)*did you mean 'Focus'"):
        first_stage(named, Paths())
    project(folder, losses=LOSSES.replace("gamma", "focus"))
    with pytest.raises(PluginError, match=r"train\.loss\.arguments\.gamma: there is no such key"):
        first_stage(named, Paths())


def test_the_command_tells_file_key_and_nearest_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["params"], standalone_mode=False)
    assert Paths().checked.is_file()
    project(folder, losses=LOSSES.replace("Focal", "Focus"))
    with pytest.raises(SystemExit, match="1"):
        app(["params"])
    shown = capsys.readouterr().err
    assert shown.startswith(
        "MissingPluginError: train.loss.name: there is no loss plugins.losses:Focal here\n  file: params.yaml"
    )
    assert "hint: did you mean 'Focus'?" in shown


def test_reading_parameters_imports_no_plugin(folder: Path) -> None:
    project(folder, losses="raise SystemExit")
    read_params(Path("params.yaml"))


def test_detectors_take_no_loss_of_ones_own() -> None:
    content = YAML(typ="safe").load(ROOT / "examples/trees/params.yaml")
    content["train"]["loss"] = OWN["train"]["loss"]
    with pytest.raises(ParamsError, match=r"train\.loss can't be a plugin: networks for object_detection"):
        check_params(content, Path("params.yaml"))


@pytest.mark.usefixtures("ran")
def test_the_bundle_names_plugins_with_their_versions_and_holds_no_code() -> None:
    with zipfile.ZipFile("models/bundle.zip") as file:
        names, card = file.namelist(), json.loads(file.read("model.json"))
        readme = file.read("README.md").decode()
    assert not [name for name in names if "plugins" in name or name.endswith(".py")]
    own = {name: version for name, version in card["versions"].items() if ":" in name}
    assert [*own] == ["plugins.networks:Plain", "plugins.losses:Focal", "plugins.augment:Shifted"]
    assert len({*own.values()}) == 1
    assert f"`plugins.networks:Plain`, version `{own['plugins.networks:Plain']}`" in " ".join(readme.split())


@pytest.mark.usefixtures("ran")
def test_elsewhere_its_graph_runs_and_torch_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("models/bundle.zip").resolve()
    opened = read_bundle(path)
    scores = opened.predictor("torch")(opened.sample)["scores"]
    version = opened.card.versions["plugins.networks:Plain"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BundleError, match=rf"expected: the plugin plugins\.networks:Plain, version {version}(.|\n)*onnx"
    ):
        opened.predictor("torch")
    np.testing.assert_allclose(opened.predictor("onnx")(opened.sample)["scores"], scores, atol=1e-4)
    load(path)
    verify(path)
    shown = re.sub(r"[\s│]+", "", capsys.readouterr().err)
    assert "skipped:thepluginplugins.networks:Plain" in shown


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "plugins.tools:clean", "plugins.networks:clean"])
@pytest.mark.usefixtures("ran")
def test_a_hostile_bundle_names_code_in_vain(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an architecture of the user's own is called, and only the module that is to have it is imported."""
    with zipfile.ZipFile("models/bundle.zip") as file:
        card = json.loads(file.read("model.json"))
    card["model"] |= {"name": name, "arguments": {"folders": ["touch run"]}}
    (tmp_path / "model.json").write_text(json.dumps(card))
    shutil.copy("models/model/model.safetensors", tmp_path)
    saved, called = read_model(tmp_path), list[str]()
    for module, function in ((os, "system"), (subprocess, "run")):
        monkeypatch.setattr(module, function, lambda *_, **__: called.append("called"))
    for module_name in [one for one in sys.modules if one.partition(".")[0] == "plugins"]:
        monkeypatch.delitem(sys.modules, module_name)
    before = {*sys.modules}
    with pytest.raises(PluginError, match="is no architecture" if "networks" in name else "there is no architecture"):
        saved.card.model.restore(saved.weights, saved.card.task, saved.card.inputs)
    assert {*sys.modules} - before == ({"plugins", "plugins.networks"} if "networks" in name else set())
    assert called == []


@pytest.mark.usefixtures("ran")
def test_a_changed_plugin_is_another_training_another_prediction_and_no_bundle(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(predict, PredictParams)
    assert ", 0 made again" in capsys.readouterr().err
    project(folder, networks=NETWORKS + "\n# changed")
    run(predict, PredictParams)
    assert ", 0 made again" not in capsys.readouterr().err
    with pytest.raises(ModelError, match=r"trained with another version of the plugin plugins\.networks:Plain"):
        run(bundle, BundleParams)


def test_the_checkpoint_of_another_version_is_not_gone_on_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Path] = []

    def fit(*given: Any) -> Any:
        places.append(given[-1])
        raise KeyboardInterrupt

    monkeypatch.setattr("quadrat.models.plugin.plugin.PluginModel.fit", fit)
    for losses in (LOSSES, LOSSES, LOSSES + "\n    # changed"):
        project(folder, losses=losses)
        with pytest.raises(KeyboardInterrupt):
            run(train, TrainParams)
    assert places[0] == places[1] != places[2]
