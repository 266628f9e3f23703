"""`quadrat init` makes a project that runs to its pictures without an edit."""

from pathlib import Path

from tests.new_project.town import write_image, write_labels
from tests.project import call, change, commit, here


def test_a_new_project_runs_from_its_data_to_its_pictures(tmp_path: Path) -> None:
    write_image(tmp_path / "image.tif")
    write_labels(tmp_path / "uses.gpkg")
    call("quadrat init town --images image.tif --labels uses.gpkg", tmp_path)
    town = tmp_path / "town"
    listed = call("git ls-files --cached --others --exclude-standard", town).split()
    assert {"data/scenes.yaml", "data/aoi/train.geojson", "data/raw/town.dvc", "data/weights/.gitignore"} <= {*listed}
    assert not [name for name in listed if name.endswith((".tif", ".gpkg", "landuse.dvc", "trees.dvc"))]
    forest = {"kind": "forest", "trees": 10, "radius": 2, "samples": 5000}
    change(town, {"model": forest, "baseline": None})  # to save time alone
    here("check", town)
    call("dvc repro --quiet", town)
    commit(town)
    assert call("dvc status", town) == "Data and pipelines are up to date.\n"
    assert {file.name for file in (town / "metrics/pictures").iterdir()} == {"validation.png", "test.png"}
    assert (town / "models/bundle.zip").is_file()
