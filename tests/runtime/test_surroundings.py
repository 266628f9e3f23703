"""What decides results beside files, parameters and code."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quadrat.cluster import identity as cluster
from quadrat.errors import ClusterError
from quadrat.runtime.cache.scene_cache import identity
from quadrat.runtime.cache.surroundings import SETTINGS, surroundings


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*SETTINGS, "PROJ_DATA", "PROJ_LIB"):
        monkeypatch.delenv(name, raising=False)
    surroundings.cache_clear()
    yield
    surroundings.cache_clear()
    cluster.identity.cache_clear()


def made_of() -> str:
    surroundings.cache_clear()
    return identity("quadrat.pipeline.chip", scene="a")


@pytest.mark.parametrize(("name", "value"), [("PROJ_NETWORK", "ON"), ("GTIFF_POINT_GEO_IGNORE", "YES")])
def test_settings_that_move_pixels_or_labels_make_another_unit(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    before = made_of()
    monkeypatch.setenv("GDAL_NUM_THREADS", "2")
    assert made_of() == before
    monkeypatch.setenv(name, value)
    assert made_of() != before


def test_a_worker_with_other_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.identity.cache_clear()
    head = cluster.identity()
    head.check("here")
    monkeypatch.setenv("PROJ_NETWORK", "ON")
    surroundings.cache_clear()
    cluster.identity.cache_clear()
    with pytest.raises(ClusterError, match="other settings") as error:
        head.check("there")
    assert "PROJ_NETWORK ON" in str(error.value.got)


def test_grid_files_that_are_fetched_make_another_unit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROJ_DATA", str(tmp_path))
    (tmp_path / "proj.db").write_bytes(b"")
    before = made_of()
    (tmp_path / "us_noaa_conus.tif").write_bytes(b"grid")
    assert made_of() != before
