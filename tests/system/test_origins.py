"""All that the pipeline makes tells of its commit, its inputs and its model."""

import re
from pathlib import Path

from quadrat.runtime.provenance.origin import Commit, Origin, Parent, model_md5
from tests.project import call, change, here, ran


def told(folder: Path, file: str) -> Origin:
    return Origin.model_validate_json(here(f"origin --json {file}", folder))


def shown(folder: Path, file: str) -> str:
    return here(f"origin {file}", folder)


OUTPUTS = (
    "models/model",
    "models/bundle.zip",
    *(f"data/predictions/e/{file}" for file in ("labels.tif", "polygons.parquet", "baseline/labels.tif")),
)


def test_all_that_the_pipeline_makes_leads_to_its_commit(project: Path) -> None:
    made_at = call("git rev-parse HEAD~1", project).strip()
    now = call("git rev-parse --short=10 HEAD", project).strip()
    for file in OUTPUTS:
        origin = told(project, file)
        assert origin.git == Commit(commit=made_at, dirty=False, changed=())
        assert origin.inputs
        assert None not in origin.inputs.values()
        text = shown(project, file)
        assert f"in dvc.lock of {now} (master) all\n" in text
        assert "the working folder has the same inputs" in text
    assert told(project, "data/predictions/e/labels.tif").parent == Parent(
        kind="model", md5=model_md5(project / "models/model"), origin=told(project, "models/model")
    )


def test_the_same_commit_gives_the_same_bytes_also_after_commits_of_results(project: Path) -> None:
    kept = {file: (project / file).read_bytes() for file in OUTPUTS if (project / file).is_file()}
    assert ran(call("dvc repro --force --single-item train predict", project)) == ["train", "predict"]
    assert call("git status --porcelain dvc.lock", project) == ""
    assert {file: (project / file).read_bytes() for file in kept} == kept


def test_an_experiment_tells_what_it_changed_and_is_found(project: Path) -> None:
    made_at = call("git rev-parse HEAD~1", project).strip()
    call("dvc exp run --temp --name bold -S model.max_depth=1", project)
    call("dvc exp apply bold", project)
    for file in OUTPUTS[1:]:
        model = told(project, file).parent
        assert model is not None
        assert model.origin is not None
        kept = (
            "baseline" in file
        )  # it learns the same beside another forest, so its layers stay, and tell of who made them
        changed = () if kept else ("params.yaml",)
        assert model.origin.git == Commit(commit=made_at, dirty=not kept, changed=changed)
    text = shown(project, "models/model")
    assert re.search(r"^in dvc.lock of \w+ \(experiment bold\)", text, re.MULTILINE)
    assert "the working folder has the same inputs" in text
    change(project, {"model.max_depth": 2})
    assert "the working folder differs in inputs of train: model\n" in shown(project, "models/model")
