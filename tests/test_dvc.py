"""``dvc.yaml`` says what the stages take, read and write: no more, no less."""

import importlib
import inspect
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from quadrat.params import Params
from quadrat.pipeline.paths import PATHS

STAGES = ("analyze", "chip", "train", "predict", "eval", "bundle")
FIRST = "params"
"""The stage before them, which refuses faulty parameters."""
FUNCTIONS = {"eval": "evaluate"}
COMMITTED = {"data/pins.json"}
"""What stages read and no stage writes."""

RUNS = {"executor", "batch", "checkpoints", "force", "hashes", "origin"}
"""What a stage takes that changes no result."""

AROUND = (
    "__main__",
    "apply",
    "checks",
    "cli",
    "commands",
    "commands.around",
    "commands.frame",
    "commands.stages",
    "configure",
    "doctor",
    "endpoints",
    "history",
    "images",
    "index",
    "lockfile",
    "models.detection",
    "params",
    "paths",
    "probes",
    "remotes",
    "report",
    "running",
    "samples",
    "scenes",
    "scenes.units",
    "sections",
    "timing",
    "traces",
)
"""Modules that no stage imports, and packages that hold nothing of their own."""

KINDS = {
    "quadrat.tasks.chip_classification.task": "src/quadrat/tasks/${task.kind}.py",
    "quadrat.tasks.object_detection.task": "src/quadrat/tasks/${task.kind}.py",
    "quadrat.tasks.semantic_segmentation.task": "src/quadrat/tasks/${task.kind}.py",
    "quadrat.models.classifier.classifier": "src/quadrat/models/${model.kind}.py",
    "quadrat.models.segmenter.segmenter": "src/quadrat/models/${model.kind}.py",
    "quadrat.models.detector.detector": "src/quadrat/models/${model.kind}.py",
    "quadrat.models.forest.forest": "src/quadrat/models/forest/forest.py",  # the baseline's kind, whatever the model's
}


@pytest.fixture(scope="module")
def pipeline(root: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(root / "dvc.yaml")["stages"]


def function(stage: str) -> Callable[..., None]:
    return getattr(importlib.import_module(f"quadrat.pipeline.{stage}"), FUNCTIONS.get(stage, stage))


def names(entries: list[Any]) -> list[str]:
    return [e if isinstance(e, str) else next(iter(e)) for e in entries]


def written(entry: dict[str, Any]) -> set[str]:
    return {n for part in ("outs", "metrics", "plots") for n in names(entry.get(part, []))}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("quadrat")


def modules(root: Path, stage: str) -> set[str]:
    module = f"quadrat.pipeline.{stage}"
    found = {module, *graph().find_upstream_modules(module)}
    files = set()
    for name in found:
        file = root / "src" / Path(*name.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        if file.name == "__init__.py" and "import" not in file.read_text(encoding="utf-8"):
            continue  # a docstring
        files.add(KINDS.get(name, file.relative_to(root).as_posix()))
    return files


def test_the_stages_are_the_six_and_one_before_them(pipeline: dict[str, Any]) -> None:
    assert tuple(pipeline) == (FIRST, *STAGES)
    assert {entry["cmd"] for entry in pipeline.values()} == {f"${{run}} {stage}" for stage in pipeline}


def test_whatever_changes_of_the_parameters_they_are_checked_before_all_others(pipeline: dict[str, Any]) -> None:
    assert pipeline[FIRST]["params"] == [{"params.yaml": None}]
    assert set(PATHS) >= set(inspect.signature(function(FIRST)).parameters)
    follow = {FIRST}
    for stage in STAGES:
        assert set(names(pipeline[stage]["deps"])) & {out for one in follow for out in written(pipeline[one])}
        follow.add(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_sections_that_the_function_takes(pipeline: dict[str, Any], stage: str) -> None:
    taken = set(inspect.signature(function(stage)).parameters)
    assert taken <= {*Params.model_fields, *PATHS, *RUNS}
    assert set(pipeline[stage]["params"]) == taken & set(Params.model_fields)


@pytest.mark.parametrize("stage", [FIRST, *STAGES])
def test_artefacts_are_the_paths_that_the_function_takes(pipeline: dict[str, Any], stage: str) -> None:
    taken = {str(PATHS[n]) for n in inspect.signature(function(stage)).parameters if n in PATHS}
    read = {d for d in names(pipeline[stage]["deps"]) if not d.startswith(("src/", "${"))} - written(pipeline[FIRST])
    assert read | written(pipeline[stage]) == taken
    if stage == FIRST:
        return
    earlier = set().union(*(written(pipeline[s]) for s in STAGES[: STAGES.index(stage)]))
    assert read <= earlier | COMMITTED


@pytest.mark.parametrize("stage", [FIRST, *STAGES])
def test_deps_are_the_modules_that_the_stage_imports(root: Path, pipeline: dict[str, Any], stage: str) -> None:
    listed = {d for d in names(pipeline[stage]["deps"]) if d.startswith("src/")}
    wanted = modules(root, stage)
    lines = "\n".join(f"      - {file}" for file in sorted(wanted))
    assert listed == wanted, f"dvc.yaml should list for {stage}:\n{lines}"


def test_no_parameter_bears_a_name_that_dvc_overlooks() -> None:
    """DVC's run cache leaves keys called so out of its hash, and would give back what other parameters made."""
    schema = json.dumps(Params.model_json_schema())
    names = re.findall(r'"(\w+)": \{', schema)
    assert "window_size" in names
    assert not {"size", "nfiles"} & set(names)


@pytest.mark.parametrize("stage", ["analyze", "chip", "predict", "eval"])
def test_stages_that_read_scenes_depend_on_all_that_the_catalog_names(pipeline: dict[str, Any], stage: str) -> None:
    assert {"${scenes}", "${raw}", "${aoi}", "data/pins.json"} <= set(names(pipeline[stage]["deps"]))


def test_every_module_is_a_dependency_of_some_stage_or_named_here() -> None:
    used = {m for stage in (FIRST, *STAGES) for m in graph().find_upstream_modules(f"quadrat.pipeline.{stage}")}
    rest = {m for m in graph().modules if m not in used and not m.startswith("quadrat.pipeline")}
    around = {"quadrat", *(f"quadrat.{name}" for name in AROUND)}
    assert rest - {module for module in rest if module.startswith("quadrat.samples.")} == around
