"""quadrat qgis: the run in the workspace as a project that QGIS opens."""

from pathlib import Path
from typing import TYPE_CHECKING

from quadrat.chips.store import INDEX
from quadrat.qgis.document import Group, write_project
from quadrat.qgis.scene import CHIPS, Workspace, scene_group
from quadrat.qgis.tables import Tables
from quadrat.runtime.files import replaced
from quadrat.runtime.progress import track
from quadrat.runtime.run import Paths
from quadrat.scenes.catalog import read_catalog

if TYPE_CHECKING:
    from quadrat.params import Params

PROJECT, TABLES = "project.qgz", "project.gpkg"

OWN = ("*.qgz", "*.qgz~", "*.gpkg", "*.vrt", "*.tif", "*.qml")
"""Files of a project's folder: ours, and what QGIS keeps beside a project that it saved."""


def write_workspace(params: "Params", paths: Paths, out: Path) -> Path:
    """Write a folder ``out`` with the project and what its layers need that is nowhere yet; return the project.

    A scene's layers are those that the run has made so far. Raises OutputError if ``out`` holds other files.
    """
    scenes = read_catalog(params.scenes)
    splits = {scene.split for scene in scenes}
    first = next(split for split in ("test", "validation", "predict", "train") if split in splits)
    with replaced(out, OWN) as folder:
        folder.mkdir(parents=True)
        tables = Tables(folder / TABLES)
        work = Workspace(params, paths.predictions, folder, out, tables, _chips(paths.chips / INDEX, tables))
        if paths.table.exists():
            tables.copy("scenes", paths.table)
        groups: list[Group] = [
            scene_group(scene, work, shown=scene.split == first)
            for scene in track(sorted(scenes, key=lambda one: one.split != first), "qgis", len(scenes), "scenes")
        ]
        write_project(folder / PROJECT, params.bundle.title, groups)
    return out / PROJECT


def _chips(index: Path, tables: Tables) -> frozenset[str]:
    """Copy the chips' index, if there is one; return the scenes that it has chips of."""
    if not index.exists():
        return frozenset()
    import pandas as pd

    tables.copy(CHIPS, index)
    return frozenset(pd.read_parquet(index, columns=["scene"])["scene"].unique())
