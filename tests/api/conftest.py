from pathlib import Path

import pytest

from tests.python_project import write_project


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small project in which the pipeline has run. Tests write elsewhere."""
    folder = tmp_path_factory.mktemp("project")
    write_project(folder)
    return folder


@pytest.fixture(autouse=True)
def project(built: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the same, as the working folder of every test."""
    monkeypatch.chdir(built)
    return built
