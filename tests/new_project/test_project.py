"""A new project is written, checked, and put under git and DVC."""

import json
from pathlib import Path

import pytest
import rasterio
import shapely
from rasterio.enums import ColorInterp
from rasterio.shutil import copy

from quadrat.cli import app
from quadrat.errors import ProjectError
from quadrat.new_project import project
from quadrat.new_project.plan import Request
from quadrat.params import read_params
from quadrat.scenes.catalog import read_catalog
from tests.new_project.town import planned, write_image, write_labels


def call(folder: Path, *options: str | Path) -> None:
    app(["init", str(folder), *map(str, options)], standalone_mode=False)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what loads slowly: `quadrat check`, git and DVC, which a test in tests/system runs."""
    monkeypatch.setattr(project, "check", lambda *_: 0)
    monkeypatch.setattr(project, "_run", lambda *_: None)


@pytest.fixture
def town(tmp_path: Path, alone: None) -> Path:  # noqa: ARG001 (a fixture)
    image, labels = write_image(tmp_path / "image.tif"), write_labels(tmp_path / "uses.gpkg")
    call(tmp_path / "town", "--images", image, "--labels", labels)
    return tmp_path / "town"


def test_a_new_project_has_the_pipeline_and_its_own_data_and_none_of_the_samples(town: Path, root: Path) -> None:
    assert (town / "dvc.yaml").read_bytes() == (root / "dvc.yaml").read_bytes()
    assert (town / ".dvc/config").read_text() == (root / ".dvc/config").read_text()
    assert not any((town / name).exists() for name in ("dvc.lock", "examples", "tests", "metrics"))
    assert [*town.rglob("*.dvc")] == [town / ".dvc"]
    catalog = read_catalog(town / "data/scenes.yaml")
    assert {scene.image.bands for scene in catalog} == {read_params(town / "params.yaml").bands}


def test_areas_are_written_in_longitude_and_latitude(town: Path) -> None:
    found = json.loads((town / "data/aoi/train.geojson").read_text())
    area = shapely.from_geojson(json.dumps(found["features"][0]["geometry"]))
    assert area.within(shapely.box(12, 52, 13, 53))


def test_a_folder_with_files_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ProjectError, match="there are files already"):
        project.init(tmp_path, Request(("none.tif",), ("none.gpkg",)), force=False)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("alone")
def test_force_keeps_files_of_other_names(tmp_path: Path) -> None:
    (tmp_path / "town").mkdir()
    for name in ("notes.txt", "params.yaml"):
        (tmp_path / "town" / name).write_text("mine")
    image, labels = write_image(tmp_path / "image.tif"), write_labels(tmp_path / "uses.gpkg")
    project.init(tmp_path / "town", Request((str(image),), (str(labels),)), force=True)
    assert (tmp_path / "town/notes.txt").read_text() == "mine"
    assert read_params(tmp_path / "town/params.yaml").raw == Path("data/raw/town")


def test_nothing_is_written_if_quadrat_check_finds_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "check", lambda *_: 1)
    image, labels = write_image(tmp_path / "in/image.tif"), write_labels(tmp_path / "in/uses.gpkg")
    with pytest.raises(ProjectError, match="quadrat check finds errors"):
        project.init(tmp_path / "town", Request((str(image),), (str(labels),)), force=False)
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


@pytest.mark.usefixtures("alone")
def test_names_of_a_file_cannot_add_keys_to_the_catalog(tmp_path: Path) -> None:
    image, labels = write_image(tmp_path / "image.tif"), write_labels(tmp_path / "uses.gpkg")
    with rasterio.open(image, "r+") as file:
        file.colorinterp = [ColorInterp.undefined] * 3
        file.set_band_description(1, "a\nscenes: []")
    call(tmp_path / "town", "--images", image, "--labels", labels)
    assert "\nscenes: []" not in (tmp_path / "town/data/scenes.yaml").read_text()
    assert len(read_catalog(tmp_path / "town/data/scenes.yaml")) == 3


def test_files_beside_an_image_are_copied_with_it(tmp_path: Path) -> None:
    copy(write_image(tmp_path / "first.tif"), tmp_path / "my image.png", driver="PNG", worldfile=True)
    found = planned(tmp_path / "my image.png", write_labels(tmp_path / "uses.gpkg"))
    telling = list(project._copy(tmp_path / "new", found.files[0]))
    assert sorted(file.name for file in (tmp_path / "new/data/raw/town/images").iterdir()) == [
        "my-image.png",
        "my-image.png.aux.xml",
        "my-image.wld",
    ]
    assert [place.name for place in telling] == ["my-image.png.aux.xml"]


def test_an_error_of_the_files_names_no_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, labels = write_image(tmp_path / "image.tif"), write_labels(tmp_path / "uses.gpkg")
    with pytest.raises(SystemExit, match="1"):
        call(tmp_path / "town", "--images", image, "--labels", labels, "--field", "none")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "LabelError: the labels have no such field"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["file", "expected", "got", "hint"]
    assert not (tmp_path / "town").exists()


def test_a_project_that_cannot_be_tracked_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, *words: str) -> None:
        assert (folder / "data/scenes.yaml").exists()
        if "add" in words:
            raise KeyboardInterrupt

    monkeypatch.setattr(project, "check", lambda *_: 0)
    monkeypatch.setattr(project, "_run", interrupted)
    image, labels = write_image(tmp_path / "in/image.tif"), write_labels(tmp_path / "in/uses.gpkg")
    with pytest.raises(KeyboardInterrupt):
        project.init(tmp_path / "town", Request((str(image),), (str(labels),)), force=False)
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
