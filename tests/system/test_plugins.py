"""DVC watches the folder of plugins: without one nothing is stale, and a change in it reruns what may depend on it."""

import json
from pathlib import Path

from tests.project import call


def stale(folder: Path) -> dict[str, list[str]]:
    """Return the dependencies that have changed, by stage."""
    told = json.loads(call("dvc status --json", folder))
    return {
        stage: [path for one in changes if isinstance(one, dict) for path in one.get("changed deps", {})]
        for stage, changes in told.items()
    }


def test_a_change_of_plugins_makes_the_stages_stale_that_may_use_them(project: Path) -> None:
    assert stale(project) == {}
    (project / "plugins/__pycache__").mkdir()
    (project / "plugins/__pycache__/losses.cpython-311.pyc").touch()
    assert stale(project) == {}
    (project / "plugins/losses.py").write_text("def nothing():\n    return None\n")
    assert stale(project) == {stage: ["plugins"] for stage in ("params", "train", "predict", "bundle")}
