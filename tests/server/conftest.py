"""A small bundle, and servers of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from quadrat.bundle.loading import read_bundle
from quadrat.server.app import application
from quadrat.server.limits import Access, Limits
from quadrat.server.service import Service, default_place
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan, Ready
from tests.bundling import FOREST, packed, prepared

OPEN = Access(("testserver",))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a catalog and a bundle, whose model is a forest."""
    root = tmp_path_factory.mktemp("served")
    prepared(root, FOREST)
    packed(root, FOREST)
    return root


@contextmanager
def serving(
    project: Path, cache: Path, images: Path | None, access: Access = OPEN, **limits: Any
) -> Iterator[TestClient]:
    ready = Ready.of(read_bundle(project / "bundle.zip"), Plan())
    bounds = replace(Limits(), **limits)
    path = None if images is None else str(images)
    service = Service.of(ready, path, Reading(), default_place(cache, 1 << 28), bounds)
    with TestClient(application(service, access), raise_server_exceptions=False) as client:
        client.service = service  # type: ignore[attr-defined] # for tests
        yield client


@pytest.fixture(scope="session")
def client(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a server of the catalog's scenes."""
    with serving(project, tmp_path_factory.mktemp("cache"), project / "scenes.yaml") as found:
        yield found
