"""``dvc.yaml`` says what the stages take, read and write: no more, no less."""

import importlib
import inspect
import json
import re
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from quadrat.params import Params
from quadrat.runtime.cache.code_hash import FREE
from quadrat.runtime.run import Paths, Run

STAGES = ("analyze", "chip", "train", "predict", "eval", "bundle")
FIRST = "params"
"""The stage before them, which refuses faulty parameters."""
FUNCTIONS = {"eval": "evaluate"}
MODULES = {FIRST: "check_params"}
COMMITTED = {"data/pins.json"}
"""What stages read and no stage writes."""

PATHS = {name: path.as_posix() for name, path in asdict(Paths()).items()}

UNTRACKED = {"checkpoints", "hashes", "timing", "lock"}
"""Paths of this machine alone."""

NAMES = ("quadrat", "quadrat.models", "quadrat.tasks")
"""Modules that only name the kinds, and import them all."""

KINDS = {
    "tasks": ("chip_classification", "object_detection", "semantic_segmentation"),
    "models": ("classifier", "detector", "forest", "segmenter"),
}
"""The folders of the kinds, of which ``dvc.yaml`` lists the one that is chosen."""


@pytest.fixture(scope="module")
def pipeline(root: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(root / "dvc.yaml")["stages"]


def names(entries: list[Any]) -> list[str]:
    return [e if isinstance(e, str) else next(iter(e)) for e in entries]


def written(entry: dict[str, Any]) -> set[str]:
    return {n for part in ("outs", "metrics", "plots") for n in names(entry.get(part, []))}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("quadrat", exclude_type_checking_imports=True)


def listed(pipeline: dict[str, Any], stage: str) -> set[str]:
    """Return the files and folders of the package that a stage lists, each as a module."""
    paths = [Path(entry) for entry in names(pipeline[stage]["deps"]) if entry.startswith("src/quadrat/")]
    return {".".join(path.with_suffix("").parts[1:]) for path in paths}


def within(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def templates(module: str) -> str:
    """Return the module as ``dvc.yaml`` names it: that of a kind by the template of the chosen kind."""
    _, *parts = module.split(".")
    if len(parts) > 1 and parts[1] in KINDS.get(parts[0], ()):
        return ".".join(["quadrat", parts[0], f"${{{parts[0].removesuffix('s')}", "kind}", *parts[2:]])
    return module


def test_the_stages_are_the_six_and_one_before_them(pipeline: dict[str, Any]) -> None:
    assert tuple(pipeline) == (FIRST, *STAGES)
    assert {entry["cmd"] for entry in pipeline.values()} == {f"${{run}} {stage}" for stage in pipeline}


def test_whatever_changes_of_the_parameters_they_are_checked_before_all_others(pipeline: dict[str, Any]) -> None:
    assert pipeline[FIRST]["params"] == [{"params.yaml": None}]
    follow = {FIRST}
    for stage in STAGES:
        assert set(names(pipeline[stage]["deps"])) & {out for one in follow for out in written(pipeline[one])}
        follow.add(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_sections_that_the_stage_takes(pipeline: dict[str, Any], stage: str) -> None:
    module = importlib.import_module(f"quadrat.pipeline.{stage}")
    taken = [each.name for each in fields(getattr(module, f"{stage.title()}Params"))]
    assert pipeline[stage]["params"] == taken
    assert {*taken} <= {*Params.model_fields}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_function_of_its_params_the_paths_and_the_run(stage: str) -> None:
    module = importlib.import_module(f"quadrat.pipeline.{stage}")
    signature = inspect.signature(getattr(module, FUNCTIONS.get(stage, stage)))
    kinds = [getattr(module, f"{stage.title()}Params"), Paths, Run]
    assert [parameter.annotation for parameter in signature.parameters.values()] == kinds


@pytest.mark.parametrize("stage", [FIRST, *STAGES])
def test_artefacts_are_the_paths_that_the_stage_takes(root: Path, pipeline: dict[str, Any], stage: str) -> None:
    source = (root / "src/quadrat/pipeline" / f"{MODULES.get(stage, stage)}.py").read_text(encoding="utf-8")
    taken = {PATHS[name] for name in {*re.findall(r"\bpaths\.(\w+)", source)} - UNTRACKED}
    read = {d for d in names(pipeline[stage]["deps"]) if not d.startswith(("src/", "${"))} - written(pipeline[FIRST])
    assert read | written(pipeline[stage]) == taken
    if stage == FIRST:
        return
    earlier = set().union(*(written(pipeline[s]) for s in STAGES[: STAGES.index(stage)]))
    assert read <= earlier | COMMITTED


@pytest.mark.parametrize("stage", [FIRST, *STAGES])
def test_what_a_stage_imports_lies_in_a_folder_that_it_lists(pipeline: dict[str, Any], stage: str) -> None:
    module = f"quadrat.pipeline.{MODULES.get(stage, stage)}"
    folders = listed(pipeline, stage)
    imported = {module, *graph().find_upstream_modules(module)} - {*NAMES}
    deciding = {name for name in imported if not any(within(name, f"quadrat.{folder}") for folder in FREE)}
    bare = {name for name in deciding if not graph().find_children(name)}  # packages hold nothing but a docstring
    missing = {
        name for name in bare if not any(within(one, folder) for one in (name, templates(name)) for folder in folders)
    }
    assert not missing, f"dvc.yaml should list them, or their folders, for {stage}"


@pytest.mark.parametrize("stage", [FIRST, *STAGES])
def test_a_stage_lists_no_folder_that_it_does_not_need(root: Path, pipeline: dict[str, Any], stage: str) -> None:
    module = f"quadrat.pipeline.{MODULES.get(stage, stage)}"
    modules = {module, *graph().find_upstream_modules(module)}
    imported = {*modules, *map(templates, modules)}
    for folder in listed(pipeline, stage):
        assert any(within(name, folder) for name in imported), folder
        assert not any(within(folder, f"quadrat.{free}") for free in FREE), folder
        assert "$" in folder or any(root.glob(f"src/{folder.replace('.', '/')}*")), folder


def test_packages_hold_a_docstring_or_name_what_is_in_them(root: Path) -> None:
    for file in (root / "src/quadrat").rglob("__init__.py"):
        assert file.read_text(encoding="utf-8").startswith('"""'), file


@pytest.mark.parametrize("name", ["tasks", "models"])
def test_the_folders_of_kinds_are_those_that_parameters_may_name(root: Path, name: str) -> None:
    from pydantic import TypeAdapter

    kinds = TypeAdapter(getattr(importlib.import_module(f"quadrat.{name}"), name.removesuffix("s").title()))
    assert {*kinds.json_schema()["discriminator"]["mapping"]} == {*KINDS[name]}
    for kind in KINDS[name]:
        assert (root / "src/quadrat" / name / kind).is_dir()


def test_no_parameter_bears_a_name_that_dvc_overlooks() -> None:
    """DVC's run cache leaves keys called so out of its hash, and would give back what other parameters made."""
    schema = json.dumps(Params.model_json_schema())
    names = re.findall(r'"(\w+)": \{', schema)
    assert "window_size" in names
    assert not {"size", "nfiles"} & set(names)


@pytest.mark.parametrize("stage", ["analyze", "chip", "predict", "eval"])
def test_stages_that_read_scenes_depend_on_all_that_the_catalog_names(pipeline: dict[str, Any], stage: str) -> None:
    assert {"${scenes}", "${raw}", "${aoi}", "data/pins.json"} <= set(names(pipeline[stage]["deps"]))
