"""``dvc.yaml`` says what the stages take, read and write: no more, no less."""

import ast
import importlib
import importlib.util
import inspect
import json
import re
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from quadrat.models import Model
from quadrat.params import Params
from quadrat.runtime.cache.code_hash import FREE
from quadrat.runtime.run import Paths, Run
from quadrat.tasks import Task

STAGES = ("analyze", "chip", "train", "predict", "eval", "bundle")
FIRST = "params"
"""The stage before them, which refuses faulty parameters."""
FUNCTIONS = {"eval": "evaluate"}
MODULES = {FIRST: "check_params"}
COMMITTED = {"data/pins.json", "data/weights", "plugins"}
"""What stages read and no stage writes."""

PATHS = {name: path.as_posix() for name, path in asdict(Paths()).items()}

UNTRACKED = {"checkpoints", "kept_baseline", "hashes", "timing", "lock"}
"""Paths of this machine alone."""

NAMES = ("quadrat", "quadrat.models", "quadrat.tasks")
"""Modules that only name the kinds, and import them all."""

KINDS = {
    name: tuple(TypeAdapter(union).json_schema()["discriminator"]["mapping"])
    for name, union in (("tasks", Task), ("models", Model))
}
"""The folders of the kinds, of which ``dvc.yaml`` lists the one that is chosen."""


@pytest.fixture(scope="module")
def pipeline(root: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(root / "dvc.yaml")["stages"]


def names(entries: list[Any]) -> list[str]:
    return [e if isinstance(e, str) else next(iter(e)) for e in entries]


def written(entry: dict[str, Any]) -> set[str]:
    return {n for part in ("outs", "metrics", "plots") for n in names(entry.get(part, []))}


PARTS = ("layers", "loss", "scoring", "targets")
"""What a stage takes of a task, by functions of ``quadrat.tasks.common.parts`` that import it by name."""

LEARNS = {"quadrat.models.training.fitting", "quadrat.models.training.learner"}
FITS = ("fit", "fit_here")
"""What train alone runs of the models: these modules, and methods of these names."""


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("quadrat", exclude_type_checking_imports=True)


def listed(pipeline: dict[str, Any], stage: str) -> set[str]:
    """Return the files and folders of the package that a stage lists, each as a module."""
    paths = [Path(entry) for entry in names(pipeline[stage]["deps"]) if entry.startswith("src/quadrat/")]
    return {".".join(path.with_suffix("").parts[1:]) for path in paths}


def within(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


@cache
def imported(stage: str) -> set[str]:
    """Return the modules that a stage imports: those that its code names, and the parts of tasks that it takes."""
    module = f"quadrat.pipeline.{MODULES.get(stage, stage)}"
    found = {module, *graph().find_upstream_modules(module)}
    parts = {f"quadrat.tasks.{kind}.{part}" for kind in KINDS["tasks"] for part in taken(stage, found)}
    return found.union(parts, *map(graph().find_upstream_modules, parts))


def taken(stage: str, modules: set[str]) -> set[str]:
    """Return the parts that functions in ``modules`` take; what only learns does so for train alone."""
    calls: set[str] = set()
    for module in modules - {"quadrat.tasks.common.parts"} - (set() if stage == "train" else LEARNS):
        calls |= called(module, learns=stage == "train")
    return {part for part in PARTS if {f"{part}_of", f"logit_{part}_of"} & calls}


@cache
def called(module: str, *, learns: bool) -> set[str]:
    """Return the names of the functions that a module calls, in functions called ``fit`` only if it ``learns``."""
    spec = importlib.util.find_spec(module)
    assert spec
    assert spec.origin
    waiting: list[ast.AST] = [ast.parse(Path(spec.origin).read_bytes())]
    names: set[str] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.add(node.func.id)
        if learns or not (isinstance(node, ast.FunctionDef) and node.name == "fit"):
            waiting += ast.iter_child_nodes(node)
    return names


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
    folders = listed(pipeline, stage)
    modules = imported(stage) - {*NAMES}
    deciding = {name for name in modules if not any(within(name, f"quadrat.{folder}") for folder in FREE)}
    bare = {name for name in deciding if not graph().find_children(name)}  # packages hold nothing but a docstring
    missing = {
        name for name in bare if not any(within(one, folder) for one in (name, templates(name)) for folder in folders)
    }
    assert not missing, f"dvc.yaml should list them, or their folders, for {stage}"


@pytest.mark.parametrize("stage", [FIRST, *STAGES])
def test_a_stage_lists_no_folder_that_it_does_not_need(root: Path, pipeline: dict[str, Any], stage: str) -> None:
    modules = {*imported(stage), *map(templates, imported(stage))}
    for folder in listed(pipeline, stage):
        assert any(within(name, folder) for name in modules), folder
        assert not any(within(folder, f"quadrat.{free}") for free in FREE), folder
        assert "$" in folder or any(root.glob(f"src/{folder.replace('.', '/')}*")), folder


@pytest.mark.parametrize(
    ("stage", "parts"),
    {
        "analyze": {"targets"},
        "chip": {"targets"},
        "train": {"targets", "loss", "scoring"},
        "predict": {"targets", "loss", "layers"},
        "eval": {"targets", "scoring"},
        "bundle": {"targets", "loss"},
    }.items(),
)
def test_a_stage_depends_on_the_parts_of_a_task_that_it_takes(
    pipeline: dict[str, Any], stage: str, parts: set[str]
) -> None:
    folder = "src/quadrat/tasks/${task.kind}"
    assert {entry for entry in names(pipeline[stage]["deps"]) if entry.startswith(folder)} == {
        f"{folder}/{one}" for one in ("section.py", *parts)
    }
    assert {m.split(".")[3] for m in imported(stage) if m.split(".")[3:] and m.split(".")[2] in KINDS["tasks"]} == {
        "section",
        *parts,
    }


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("tasks/semantic_segmentation/layers/polygoniser.py", {"predict"}),
        ("tasks/semantic_segmentation/scoring/__init__.py", {"train", "eval"}),
        ("tasks/semantic_segmentation/loss/__init__.py", {"train", "predict", "bundle"}),
        ("tasks/semantic_segmentation/targets/__init__.py", {*STAGES}),
        ("tasks/object_detection/section.py", set()),
        ("tasks/object_detection/targets/overlaps.py", set()),
        ("models/segmenter/segmenter.py", {"train", "predict", "bundle"}),
        ("models/detector/detector.py", set()),
        ("geo/reading/open_image.py", {"analyze", "chip", "predict", "eval"}),
        ("runtime/progress.py", set()),
        ("serving/apply.py", set()),
        ("team/check.py", set()),
    ],
)
def test_a_change_of_a_file_makes_the_stages_stale_that_it_decides(
    root: Path, pipeline: dict[str, Any], file: str, stages: set[str]
) -> None:
    path = Path("src/quadrat") / file
    assert (root / path).is_file()

    def filled(entry: str) -> str:
        return entry.replace("${task.kind}", "semantic_segmentation").replace("${model.kind}", "segmenter")

    def depends(stage: str) -> bool:
        return any(path.is_relative_to(filled(entry)) for entry in names(pipeline[stage]["deps"]))

    assert {stage for stage in pipeline if depends(stage)} == stages


def test_what_learns_is_imported_to_fit_alone() -> None:
    for importer in set().union(*map(graph().find_modules_that_directly_import, LEARNS)) - LEARNS:
        spec = importlib.util.find_spec(importer)
        assert spec
        assert spec.origin
        tree = ast.parse(Path(spec.origin).read_bytes())
        fits = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in FITS]
        inside = {id(node) for fit in fits for node in ast.walk(fit)}
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module in LEARNS]
        assert imports
        assert all(id(node) in inside for node in imports), importer


def test_packages_hold_a_docstring_or_name_what_is_in_them(root: Path) -> None:
    for file in (root / "src/quadrat").rglob("__init__.py"):
        assert file.read_text(encoding="utf-8").startswith('"""'), file


@pytest.mark.parametrize("name", ["tasks", "models"])
def test_a_kind_that_parameters_may_name_has_a_folder(root: Path, name: str) -> None:
    assert len(KINDS[name]) > 2
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
