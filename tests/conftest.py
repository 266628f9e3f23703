"""What tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from quadrat.__main__ import settle
from quadrat.samples import fetch

settle()  # as the command does; threads of two workers that spin would starve each other

# no deadline: machines are busy; in CI the same examples each time, so that a change alone can turn it red
settings.register_profile("quadrat", deadline=None, max_examples=25, derandomize="CI" in os.environ)
settings.register_profile("thorough", deadline=None, max_examples=400)  # pytest --hypothesis-profile thorough
settings.load_profile("quadrat")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the project's own folder. Tests read there, and write elsewhere."""
    return ROOT


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all workers of this run share."""
    mine = tmp_path_factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


@pytest.fixture(scope="session")
def landuse() -> Path:
    """Return the folder of the sample ``landuse``, fetched where it isn't there yet."""
    return fetch("landuse", ROOT)


@pytest.fixture(scope="session")
def trees() -> Path:
    """Return the folder of the sample ``trees``, fetched where it isn't there yet."""
    return fetch("trees", ROOT)


@pytest.fixture(scope="session")
def landsat() -> Path:
    """Return the folder of the sample ``landsat``, fetched where it isn't there yet."""
    return fetch("landsat", ROOT)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a warning end no test of the GPU: there, libraries warn of what no processor shows."""
    if item.get_closest_marker("gpu"):
        item.add_marker(pytest.mark.filterwarnings("default"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of the GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
