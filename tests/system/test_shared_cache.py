"""The shared cache in a real object store: with kills, a dead server, without permission, and two writers at once."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from quadrat.errors import SharedCacheError
from quadrat.runtime.cache.hashes import read
from quadrat.runtime.cache.shared_cache import SharedCache
from quadrat.runtime.cache.stored_units import prune, stored
from quadrat.runtime.run import Part
from tests.pipeline.test_increments import Ground, chipped
from tests.project import digests, environment
from tests.stores import Store

OF = "ab" * 32
"""Stands for the identity of a unit."""

STORING = """
import sys
from pathlib import Path
from quadrat.runtime.cache.hashes import read
from quadrat.runtime.cache.shared_cache import SharedCache
url, folder = sys.argv[1], Path(sys.argv[2])
cache, files = SharedCache(url, "chip"), {file.name: read(file)[1] for file in sorted(folder.iterdir())}
print("begun", flush=True)
cache.store("ab" * 32, folder, files)
"""


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path / "ground", ("a", "b", "c"))


def as_user(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process use the store."""
    import fsspec

    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_machines_share_a_bucket(store: Store, ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(store, monkeypatch)
    url = "s3://dvc/shared"
    chipped(ground, tmp_path / "plain/out")
    with ThreadPoolExecutor() as machines:  # two attempts at the first part at once, as a requeued job makes
        parts = (Part(1, 2), Part(1, 2), Part(2, 2))
        cut = [machines.submit(chipped, ground, tmp_path / "part/out", cache=url, part=part) for part in parts]
    assert {name for one in cut for name in one.result()} == {"a", "b", "c"}
    assert chipped(ground, tmp_path / "all/out", cache=url) == []
    assert digests(tmp_path / "all/out") == digests(tmp_path / "plain/out")
    found = stored(url)
    assert len(found) == 3
    assert all(one.size > 0 and 0 <= one.seconds < 600 for one in found)
    assert len(prune(url, -60)) == 3
    assert stored(url) == []


def test_what_a_killed_writer_left_is_no_unit(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(store, monkeypatch)
    folder = tmp_path / "unit"
    folder.mkdir()
    for name in ("x", "y", "z"):
        (folder / name).write_bytes(name.encode() * 30_000_000)
    files = {file.name: read(file)[1] for file in sorted(folder.iterdir())}
    url = "s3://dvc/killed"
    cache = SharedCache(url, "chip")
    command = [sys.executable, "-c", STORING, url, str(folder)]
    for seconds in (0.1, 0.4):
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            writer.stdout.readline()
            time.sleep(seconds)
            writer.kill()
        found = cache.fetch(OF, tmp_path / f"read-{seconds}")
        assert found in (None, files)
    subprocess.run(command, env=environment(), check=True)
    assert cache.fetch(OF, tmp_path / "read") == files
    assert digests(tmp_path / "read") == digests(folder)


def test_a_dead_server_and_a_lack_of_permission(
    store: Store,
    ground: Ground,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = "s3://dvc/dead"
    as_user(replace(store, host="127.0.0.1:9"), monkeypatch)
    assert chipped(ground, tmp_path / "out", cache=url) == ["a", "b", "c"]
    assert "".join(capsys.readouterr()).count("can't be used") == 1
    with pytest.raises(SharedCacheError, match="can't be used"):
        chipped(ground, tmp_path / "out", cache=url, part=Part(1, 1))
    as_user(store.reader, monkeypatch)
    assert chipped(ground, tmp_path / "other/out", cache=url) == ["a", "b", "c"]
    assert "".join(capsys.readouterr()).count("can't be used") == 1
    with pytest.raises(SharedCacheError, match="can't be used"):
        chipped(ground, tmp_path / "other/out", cache=url, part=Part(1, 1))
