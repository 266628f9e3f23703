"""A small project for Python, laid out as a user's, in which the pipeline has run."""

import contextlib
import json
import shutil
from pathlib import Path

from ruamel.yaml import YAML

from quadrat.params import Params, check_params
from quadrat.pipeline import analyze, bundle, chip, predict, train
from quadrat.pipeline import eval as scoring
from quadrat.runtime.run import Paths, Run, subset
from tests.ground import write_world
from tests.project import ROOT, WORLD

IDS = {"w": "west", "m": "middle", "e": "east", "all": "tile"}
"""Scenes of the small ground, as the sample calls them."""

FOREST = {"kind": "forest", "trees": 5, "radius": 1, "max_depth": 6, "min_samples_leaf": 4, "samples": 2000}

CHANGES = {
    **WORLD,
    "scenes": "data/scenes.yaml",
    "raw": "data",
    "aoi": "data",
    "model": FOREST,
    "baseline": None,
    "eval.pictures": None,
}


def write_project(root: Path) -> Params:
    """Write a project at ``root``, a folder that is there, and run its stages; return its parameters."""
    content = YAML(typ="safe").load(ROOT / "params.yaml")
    for key, value in CHANGES.items():
        *parents, last = key.split(".")
        node = content
        for part in parents:
            node = node[part]
        node[last] = value
    (root / "params.yaml").write_text(json.dumps(content))  # JSON is YAML
    shutil.copy(ROOT / "dvc.yaml", root)
    params = check_params(content, root / "params.yaml")
    with contextlib.chdir(root):
        catalog = json.loads(write_world(Path("data")).read_text())
        for scene in catalog["scenes"]:
            scene["id"] = IDS[scene["id"]]
        (root / "data/scenes.yaml").write_text(json.dumps(catalog))
        for stage, kind in (
            (analyze.analyze, analyze.AnalyzeParams),
            (chip.chip, chip.ChipParams),
            (train.train, train.TrainParams),
            (predict.predict, predict.PredictParams),
            (scoring.evaluate, scoring.EvalParams),
            (bundle.bundle, bundle.BundleParams),
        ):
            stage(subset(kind, params), Paths(), Run())
    return params
