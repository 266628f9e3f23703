"""What tests of DVC, git, S3 and the kernel together share: one project that is built once, and an object store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import small_run
from tests.stores import Store, running

COLLECTED = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
"""Of connections that s3fs keeps until Python collects it, which may be in any later test of the worker."""


LONG = ("slurm", "data", "examples", "mishaps", "experiments", "landuse", "team", "request", "batch")
"""Files that take minutes: they come first, so that no worker is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of them as slow, and give them the time that the pipeline takes on busy machines; long files first."""
    order = {f"test_{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)) if _is_ours(item) else -1)
    for item in items:
        if _is_ours(item):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(1800))
            item.add_marker(pytest.mark.filterwarnings(COLLECTED))


def _is_ours(item: pytest.Item) -> bool:
    return Path(__file__).parent in item.path.parents


@pytest.fixture
def project(tmp_path: Path, shared: Path) -> Path:
    """Return a copy of the small project in which the pipeline has run, and is committed: a test's own."""
    return small_run(tmp_path / "project", shared)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an object store; tests keep apart by prefixes of their own."""
    with running(tmp_path_factory.mktemp("store") / "data") as found:
        yield found
