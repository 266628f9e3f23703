"""A task is a folder of parts, and whoever needs one imports that alone."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import grimp
import pytest

from quadrat.tasks import Task
from quadrat.tasks.common import layers, loss, scoring, targets
from quadrat.tasks.common.parts import layers_of, logit_loss_of, loss_of, scoring_of, targets_of
from tests.ground import cells, detection, regression, segmentation

PARTS = ("layers", "loss", "scoring", "targets")
CONTRACTS = {
    "layers": layers.TaskLayers,
    "loss": loss.TaskLoss,
    "scoring": scoring.TaskScoring,
    "targets": targets.TaskTargets,
}
KINDS = [get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(get_args(Task)[0])]
TASKS = (cells("a", "b"), detection("a"), regression("a"), segmentation("a", "b"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_of_a_task_holds_its_section_and_its_parts(root: Path, kind: str) -> None:
    held = {path.name for path in (root / "src/quadrat/tasks" / kind).iterdir() if path.name != "__pycache__"}
    assert held == {"__init__.py", "section.py", *PARTS}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_part_is_that_of_the_tasks_kind(task: Task) -> None:
    for part, take in {"layers": layers_of, "loss": loss_of, "scoring": scoring_of, "targets": targets_of}.items():
        taken = take(task)
        assert isinstance(taken, CONTRACTS[part])
        assert type(taken).__module__ == f"quadrat.tasks.{task.kind}.{part}"
        assert taken.task is task


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_no_part_has_more_than_seventeen_public_members(task: Task) -> None:
    for take in (layers_of, loss_of, scoring_of, targets_of):
        members = [name for name in dir(take(task)) if not name.startswith("_")]
        assert len(members) <= 17, members


def test_boxes_come_without_logits() -> None:
    assert logit_loss_of(TASKS[0]).channels == 2
    with pytest.raises(TypeError, match="object_detection give no logits"):
        logit_loss_of(TASKS[1])


def test_parameters_and_stages_are_imported_without_a_part() -> None:
    stages = ("analyze", "bundle", "chip", "eval", "predict", "train")
    code = f"import sys, quadrat.params; from quadrat.pipeline import {', '.join(stages)}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "quadrat.tasks.semantic_segmentation.section" in found
    assert not [name for name in found if any(name.startswith(f"quadrat.tasks.{k}.{p}") for k in KINDS for p in PARTS)]


def test_a_part_is_imported_by_its_name_except_where_a_model_is_of_boxes_alone() -> None:
    graph = grimp.build_graph("quadrat", exclude_type_checking_imports=True)
    for kind in KINDS:
        for part in PARTS:
            folder = f"quadrat.tasks.{kind}.{part}"
            for module in {folder, *graph.find_descendants(folder)}:
                importers = graph.find_modules_that_directly_import(module)
                outside = {name for name in importers if not name.startswith(f"quadrat.tasks.{kind}.")}
                assert outside <= {"quadrat.models.peaks.peaks"}, module
