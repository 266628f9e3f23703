"""Whatever is made tells of what, and leads back to the commit that has it."""

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from quadrat.bundle.loading import read_bundle
from quadrat.errors import DiskError, OriginError
from quadrat.geo.grids.grid import Grid
from quadrat.models.common.bundle_zip import write_bundle
from quadrat.models.model_folder import read_model
from quadrat.prediction.writers import writer_for
from quadrat.runtime.parallel import Threads
from quadrat.runtime.provenance.git_history import differences, mentions
from quadrat.runtime.provenance.origin import TAG, Commit, Origin, Parent, digest, model_md5, tags, unknown
from quadrat.runtime.provenance.workspace import origin_of
from quadrat.serving.apply import apply
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from quadrat.tasks.common.outputs import Features, RasterLayer, Rows, VectorLayer
from quadrat.team.trace import Trace, lines, trace
from tests.bundling import FOREST, SECTIONS, TASK, packed, prepared
from tests.ground import BANDS, kept, write_raster
from tests.project import call, commit
from tests.stage_calls import predict

PARAMS = Path("params.yaml")
KEYS = {"scenes": "catalog/scenes.yaml", "raw": "data/raw", "aoi": "catalog", "lr": 1e-05, "model": {"kind": "forest"}}
PIPELINE = {
    "stages": {
        "prepare": {"cmd": "cp raw.txt prepared", "deps": ["raw.txt"], "outs": ["prepared"]},
        "train": {
            "cmd": "cp prepared model",
            "deps": ["prepared", "src/quadrat/train.py", "src/quadrat/model.py"],
            "params": ["lr", "model"],
            "outs": ["model"],
        },
    }
}


def laid(folder: Path) -> Path:
    """Lay parameters and code in a folder."""
    (folder / "src/quadrat").mkdir(parents=True)
    (folder / PARAMS).write_text(json.dumps(KEYS))
    for name in ("src/quadrat/train.py", "src/quadrat/model.py", "raw.txt", "README.md"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, which is the working folder, with parameters and code, and neither git nor DVC."""
    folder = laid(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return folder


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with git and a pipeline of DVC, run and committed."""
    folder = laid(tmp_path_factory.mktemp("once") / "project")
    call("git init --quiet", folder)
    call("dvc init --quiet", folder)
    (folder / "dvc.yaml").write_text(json.dumps(PIPELINE))
    commit(folder)
    call("dvc repro", folder)
    commit(folder)
    return folder


@pytest.fixture
def pipeline(once: Path, project: Path) -> Path:
    """Return the project with git and a pipeline of DVC, run and committed."""
    return Path(shutil.copytree(once, project, dirs_exist_ok=True))


def head() -> str:
    return call("git rev-parse HEAD", Path()).strip()


def here(stage: str = "train") -> Origin:
    return origin_of(stage, PARAMS, ["lr", "model"])


def git() -> Commit:
    found = here().git
    assert found is not None
    return found


# what is known of a run


@pytest.mark.usefixtures("project")
def test_outside_of_git_and_dvc_only_parameters_and_versions_are_known() -> None:
    found = here()
    assert (found.git, found.inputs, found.code, found.parent) == (None, None, None, None)
    assert found.parameters == {"lr": digest(1e-05), "model": digest({"kind": "forest"})}
    assert {"python", "quadrat", "torch", "rasterio"} <= set(found.versions)


@pytest.mark.usefixtures("pipeline")
def test_where_dvc_has_no_room_for_its_notes_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("dvc.repo.Repo.__init__", full)
    with pytest.raises(DiskError, match=r"disk is full(.|\n)*hint: make room"):
        here()


def test_git_is_unknown_before_the_first_commit_and_without_git(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("git init --quiet", project)
    assert here().git is None
    commit(project)
    assert git() == Commit(commit=head(), dirty=False, changed=())
    monkeypatch.setenv("PATH", str(project))
    assert here().git is None


def test_the_commit_is_the_last_of_code_parameters_and_data(project: Path) -> None:
    call("git init --quiet", project)
    commit(project)
    first = head()
    for name in ("README.md", "dvc.lock", "metrics/eval.json", "data/.gitignore"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("a result")
        assert git() == Commit(commit=first, dirty=False, changed=())
    commit(project)
    assert git() == Commit(commit=first, dirty=False, changed=())
    PARAMS.write_text(json.dumps({**KEYS, "lr": 1}))
    for name in ("src/ä b.py", "catalog/west.geojson", "data/raw.dvc"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert git() == Commit(
        commit=first, dirty=True, changed=("catalog/west.geojson", "data/raw.dvc", "params.yaml", "src/ä b.py")
    )
    commit(project)
    assert git() == Commit(commit=head(), dirty=False, changed=())


def test_a_project_may_be_a_part_of_a_repository(project: Path) -> None:
    call("git init --quiet", project.parent)
    commit(project.parent)
    first = head()
    (project.parent / "params.yaml").touch()  # another's
    commit(project.parent)
    assert git() == Commit(commit=first, dirty=False, changed=())
    PARAMS.write_text(json.dumps({**KEYS, "lr": 1}))
    assert git().changed == ("params.yaml",)


def test_of_many_changed_files_some_are_named(project: Path) -> None:
    call("git init --quiet", project)
    commit(project)
    for number in range(30):
        Path(f"src/{number:02}.py").touch()
    assert git().changed[-2:] == ("src/19.py", "and 10 more")


@pytest.mark.usefixtures("pipeline")
def test_inputs_and_code_are_those_of_the_lock() -> None:
    hashes = {dep["path"]: dep["md5"] for dep in locked("train")["deps"]}
    found = here()
    assert found.inputs == {"prepared": hashes["prepared"]}
    Path("src/quadrat/model.py").write_text("other")
    assert here().inputs == found.inputs
    assert here().code != found.code
    Path("prepared").unlink()
    assert here().inputs == {"prepared": None}


def locked(stage: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(Path("dvc.lock"))["stages"][stage]


@pytest.mark.usefixtures("pipeline")
def test_inputs_are_unknown_where_dvc_knows_none() -> None:
    assert here("other").inputs is None
    Path("dvc.yaml").write_text("stages: [")
    assert here().inputs is None


def test_a_folders_hash_is_that_of_dvc(pipeline: Path) -> None:
    for name in ("b.txt", "a/b.txt", "ä.txt"):
        (Path("folder") / name).parent.mkdir(parents=True, exist_ok=True)
        (Path("folder") / name).write_text(name)
    call("dvc add folder", pipeline)
    assert model_md5(Path("folder")) in Path("folder.dvc").read_text()


# where git has it


def test_a_run_leads_to_the_commits_that_have_it(pipeline: Path) -> None:
    first, old = here(), head()
    assert [one.commit for one in mentions(first, {})] == [old]
    PARAMS.write_text(json.dumps({**KEYS, "lr": 2}))
    second = here()
    assert differences(first) == ["lr"]
    assert mentions(second, {}) == []
    call("dvc repro", pipeline)
    commit(pipeline)
    call("git tag best", pipeline)
    assert [(one.commit, one.title) for one in mentions(second, {})] == [(head(), "all")]
    assert "tag: best" in mentions(second, {})[0].names
    assert [one.commit for one in mentions(first, {})] == [old]
    Path("raw.txt").write_text("other")
    call("dvc repro prepare", pipeline)
    assert differences(second) == ["prepared"]
    Path("src/quadrat/train.py").write_text("other")
    assert differences(second) == ["prepared", "modules of src/"]
    PARAMS.write_text(json.dumps({"lr": 2}))
    assert differences(second) == ["prepared", "modules of src/", "model"]


@pytest.mark.usefixtures("pipeline")
def test_an_output_leads_to_the_commits_that_have_it_whatever_was_told() -> None:
    output = {"this model": locked("train")["outs"][0]["md5"]}
    assert [one.commit for one in mentions(unknown("train"), output)] == [head()]
    assert mentions(unknown("train"), {"this model": "0" * 32}) == []
    assert differences(unknown("train")) is None


def test_an_experiment_is_named(pipeline: Path) -> None:
    call("dvc exp run --temp --name bold -S lr=3", pipeline)
    PARAMS.write_text(json.dumps({**KEYS, "lr": 3}))
    (found,) = mentions(here(), {})
    assert found.names == "experiment bold"


def test_in_a_subfolder_of_a_repository_and_outside_of_one(project: Path) -> None:
    assert mentions(here(), {"this model": "0" * 32}) == []
    assert differences(here()) is None
    call("git init --quiet", project.parent)
    call("dvc init --quiet --subdir", project)
    Path("dvc.yaml").write_text(json.dumps(PIPELINE))
    call("dvc repro", project)
    commit(project.parent)
    assert [one.commit for one in mentions(here(), {})] == [head()]
    assert differences(here()) == []


# what files tell

ORIGIN = Origin(
    made_by="predict",
    git=Commit(commit="c0ffee", dirty=True, changed=("src/ä \"b\" <c> & 'd'.py",)),
    inputs={"data/raw": "ab.dir", "data/aoi": None},
    code="cd",
    parameters={"lr": "ef"},
    versions={"python": "3"},
    parent=Parent(kind="model", md5="01.dir", origin=unknown("train")),
)
GRID = Grid(rasterio.CRS.from_epsg(32633), Affine(10, 0, 500_000, 0, -10, 5_400_000), (64, 64))


def layer(file: Path) -> Path:
    """Write a layer that tells ORIGIN."""
    if file.suffix == ".tif":
        with writer_for(RasterLayer("labels", "uint8", ("class",), 255), GRID, file.parent, tags(ORIGIN)) as raster:
            raster.write(Rows("labels", 0, 0, np.zeros((1, 64, 64), np.uint8)))
        return file
    features = Features("areas", np.array([shapely.box(1, 1, 9, 9)], object), {"score": np.array([0.5])})
    with writer_for(VectorLayer("areas", file.name), GRID, file.parent, tags(ORIGIN)) as vector:
        vector.write(features)
    return file


@pytest.mark.parametrize("name", ["labels.tif", *(f"areas.{end}" for end in ("parquet", "gpkg", "geojson", "fgb"))])
def test_layers_tell_it_in_their_metadata(tmp_path: Path, name: str) -> None:
    found = trace(layer(tmp_path / name))
    assert (found.origin, found.outputs) == (ORIGIN, {})
    before = (tmp_path / name).read_bytes()
    assert layer(tmp_path / name).read_bytes() == before


def test_a_raster_tells_it_to_any_program(tmp_path: Path) -> None:
    with rasterio.open(layer(tmp_path / "labels.tif")) as file:
        assert json.loads(file.tags()[TAG])["git"]["commit"] == "c0ffee"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a model folder, its bundle, predictions, and those of the bundle; outside of git."""
    root = prepared(tmp_path_factory.mktemp("made"), FOREST)
    archived = json.loads((root / "model/model.json").read_text())
    (root / "model/model.json").write_text(json.dumps({**archived, "origin": unknown("train").model_dump(mode="json")}))
    packed(root, FOREST, origin=ORIGIN.model_copy(update={"made_by": "bundle"}))
    about = {"task": TASK, "bands": BANDS, "baseline": None, "predict": SECTIONS["predict"]}
    how = {"batch": 4, "executor": Threads(1), "pins": root / "pins.json", **kept(root, "prediction")}
    paths = {"model_folder": root / "model", "baseline_folder": root / "none", "predictions": root / "predictions"}
    predict(scenes=root / "scenes.yaml", **about, **paths, **how, origin=ORIGIN)
    with rasterio.open(root / "image.tif") as file:
        write_raster(root / "new.tif", file.read(), nodata=0)
    apply(root / "bundle.zip", [str(root / "new.tif")], root / "out", Reading(bands=BANDS), Plan("onnx"))
    return root


def test_a_model_folder_tells_of_its_run(made: Path) -> None:
    found = trace(made / "model")
    assert found.origin == unknown("train") == read_model(made / "model").card.origin
    assert found.outputs == {"this model": model_md5(made / "model")}


@pytest.mark.parametrize("name", ["labels.tif", "scores.tif", "polygons.parquet"])
def test_predictions_tell_of_their_run_and_of_the_model(made: Path, name: str) -> None:
    parent = Parent(kind="model", md5=model_md5(made / "model"), origin=unknown("train"))
    assert trace(made / "predictions/all" / name).origin == ORIGIN.model_copy(update={"parent": parent})


@pytest.mark.parametrize("name", ["labels.tif", "scores.tif", "polygons.parquet"])
def test_what_a_bundle_predicts_tells_of_the_bundle_and_of_its_model(made: Path, name: str) -> None:
    bundle, found = trace(made / "bundle.zip"), trace(made / "out/new" / name)
    assert bundle.origin.made_by == "bundle"
    assert bundle.origin.parent == Parent(kind="model", md5=model_md5(made / "model"), origin=unknown("train"))
    (md5,) = bundle.outputs.values()
    assert found.origin.parent == Parent(kind="bundle", md5=md5, origin=bundle.origin)
    assert (found.origin.made_by, found.origin.git, found.origin.inputs) == ("apply", None, None)
    assert found.run == bundle.origin


def test_nothing_tells_of_the_machine_or_of_when(made: Path) -> None:
    for file in (made / "out/new/labels.tif", made / "predictions/all/labels.tif", made / "model", made / "bundle.zip"):
        told = trace(file).origin.model_dump_json()
        for secret in (str(made), made.name, os.uname().nodename, str(Path.home())):
            assert secret not in told


def test_files_of_earlier_versions_are_read_and_have_no_origin(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "model", tmp_path / "model")
    card = json.loads((made / "model/model.json").read_text())
    del card["origin"]
    (tmp_path / "model/model.json").write_text(json.dumps(card))
    assert read_model(tmp_path / "model").card.origin is None
    bundle = read_bundle(made / "bundle.zip")
    members = {
        name: bundle.files.read(name) for name in ("model.json", "params.yaml", "model.onnx", "model.safetensors")
    }
    members |= {name: bundle.files.read(name) for name in ("README.md", "metrics.json")}
    members |= {name: bundle.files.read(name) for name in ("sample/pixels.npy", "sample/scores.npy")}
    members |= {"provenance.json": b'{"git": null}', "model.json": json.dumps(card).encode()}
    write_bundle(tmp_path / "bundle.zip", members)
    assert read_bundle(tmp_path / "bundle.zip").parent().origin is None
    for name in ("model", "bundle.zip"):
        with pytest.raises(OriginError, match="has no origin"):
            trace(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.tif", None, "missing"),
        ("a.tif", b"no image", "has no origin"),
        ("a.zip", b"no zip", "has no origin"),
        ("a.parquet", b"no table", "has no origin"),
        ("a.gpkg", b"no database", "has no origin"),
        ("a.geojson", b'{"type": "FeatureCollection", "features": []}', "has no origin"),
        ("a.geojson", b'{"type": "FeatureCollection", "description": "fields", "features": []}', "has no origin"),
        ("a.txt", b"text", "has no origin"),
        ("folder", b"", "has no origin"),
    ],
)
def test_files_without_an_origin_are_refused_in_words(tmp_path: Path, name: str, content: Any, words: str) -> None:
    if name == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OriginError, match=words) as caught:
        trace(tmp_path / name)
    assert name in str(caught.value)
    assert "hint:" in str(caught.value)


def test_rasters_and_tables_of_others_have_none(made: Path) -> None:
    for name in ("image.tif", "labels.gpkg", "chips/index.parquet"):
        with pytest.raises(OriginError, match="has no origin"):
            trace(made / name)


def test_an_origin_is_told_in_words(made: Path) -> None:
    told = "\n".join(lines(trace(made / "predictions/all/labels.tif")))
    assert re.search(r"^  made by +predict$", told, re.MULTILINE)
    assert re.search(r"^  commit +c0ffee$", told, re.MULTILINE)
    assert re.search(r"^    but for +src/ä", told, re.MULTILINE)
    assert re.search(rf"^  model +{model_md5(made / 'model')}$", told, re.MULTILINE)
    assert re.search(r"^    commit +unknown: it was made outside of git$", told, re.MULTILINE)
    assert told.count("numpy") == 1


@pytest.mark.usefixtures("pipeline")
def test_a_layer_of_a_run_that_no_commit_has_leads_to_its_model() -> None:
    model = Parent(kind="model", md5=locked("train")["outs"][0]["md5"], origin=None)
    told = list(lines(Trace(Path("labels.tif"), ORIGIN.model_copy(update={"parent": model}), {})))
    assert "in dvc.lock of no commit here" in told
    assert f"its model in dvc.lock of {head()[:10]} (master) all" in told
