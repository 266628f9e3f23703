"""What one machine has made of a scene, others take from the shared cache: the same bytes, or none."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quadrat.errors import SharedCacheError
from quadrat.runtime.cache import shared_cache
from quadrat.runtime.cache.shared_cache import INDEX, SharedCache
from quadrat.runtime.cache.stored_units import prune, stored
from quadrat.runtime.run import Part
from tests.pipeline.test_increments import Ground, chipped, learn, predicted
from tests.pipeline.test_increments import models as models  # noqa: PLC0414 a fixture
from tests.project import digests

STAGES = pytest.mark.parametrize("run", [chipped, predicted])
Stage = Callable[..., list[str]]


@pytest.fixture
def ground(tmp_path: Path, models: list[Path]) -> Ground:
    made = Ground(tmp_path / "ground", ("a", "b", "c"))
    learn(made, models, 1)
    return made


def units(cache: Path) -> list[Path]:
    return sorted(cache.rglob(INDEX))


@STAGES
def test_another_workspace_makes_nothing_again(run: Stage, ground: Ground, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    assert run(ground, tmp_path / "one/out", cache=cache) == ["a", "b", "c"]
    assert run(ground, tmp_path / "two/out", cache=cache) == []
    assert digests(tmp_path / "two/out") == digests(tmp_path / "one/out")
    assert run(ground, tmp_path / "two/out") == []  # what was fetched is recorded
    ground.picture("b", 9)
    assert run(ground, tmp_path / "two/out", cache=cache) == ["b"]
    ground.picture("b", 1)
    assert run(ground, tmp_path / "two/out", cache=cache) == []  # what was made before the change comes back
    assert digests(tmp_path / "two/out") == digests(tmp_path / "one/out")


@STAGES
def test_parts_fill_the_cache_and_nothing_else(run: Stage, ground: Ground, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    alone = run(ground, tmp_path / "plain/out")
    for number, names in ((1, ["a", "c"]), (2, ["b"])):
        how: dict[str, Any] = {"cache": str(cache), "part": Part(number, 2)}
        assert run(ground, tmp_path / "part/out", **how) == names
        assert run(ground, tmp_path / "part/out", **how) == []  # another attempt at the same part
    assert not (tmp_path / "part").exists()
    assert run(ground, tmp_path / "all/out", cache=str(cache)) == []
    assert digests(tmp_path / "all/out") == digests(tmp_path / "plain/out")
    assert alone == ["a", "b", "c"]


@STAGES
def test_a_part_reads_no_files_of_other_parts(run: Stage, ground: Ground, tmp_path: Path) -> None:
    (ground.root / "b.tif").unlink()
    how: dict[str, Any] = {"cache": str(tmp_path / "cache"), "part": Part(1, 2)}
    assert run(ground, tmp_path / "part/out", **how) == ["a", "c"]


def test_a_part_without_a_cache_is_an_error(ground: Ground, tmp_path: Path) -> None:
    with pytest.raises(SharedCacheError, match="there is none"):
        chipped(ground, tmp_path / "out", part=Part(1, 2))


@STAGES
@pytest.mark.parametrize("harm", ["altered", "cut", "gone", "index", "escapes", "hash"])
def test_what_is_damaged_is_named_and_made_anew(
    run: Stage, harm: str, ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    run(ground, tmp_path / "one/out", cache=str(cache))
    index = units(cache)[0]
    content = max((file for file in index.parent.iterdir() if file != index), key=lambda file: file.stat().st_size)
    if harm == "altered":
        content.write_bytes(content.read_bytes()[:-1] + b"!")
    elif harm == "cut":
        content.write_bytes(b"")
    elif harm == "gone":
        content.unlink()
    elif harm == "index":
        index.write_text("{")
    elif harm == "escapes":
        index.write_text(json.dumps({f"../../{name}": of for name, of in json.loads(index.read_text()).items()}))
    else:
        index.write_text(json.dumps(dict.fromkeys(json.loads(index.read_text()), "../../secret")))
    capsys.readouterr()
    assert len(run(ground, tmp_path / "two/out", cache=str(cache))) == 1
    assert "is damaged" in "".join(capsys.readouterr())
    assert digests(tmp_path / "two/out") == digests(tmp_path / "one/out")
    assert run(ground, tmp_path / "three/out", cache=str(cache)) == []  # it is mended


@STAGES
def test_what_a_killed_writer_left_counts_as_nothing(run: Stage, ground: Ground, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(ground, tmp_path / "one/out", cache=str(cache))
    units(cache)[0].unlink()
    (units(cache)[0].parent / f"{'0' * 32}.part-1").write_bytes(b"half")
    assert len(run(ground, tmp_path / "two/out", cache=str(cache))) == 1
    assert digests(tmp_path / "two/out") == digests(tmp_path / "one/out")


@STAGES
def test_without_the_place_all_is_made_here(
    run: Stage, ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert run(ground, tmp_path / "out", cache=str(tmp_path / "cache")) == ["a", "b", "c"]
    assert "".join(capsys.readouterr()).count("can't be used") == 1
    with pytest.raises(SharedCacheError, match="can't be used"):  # but a part has no other place for what it makes
        run(ground, tmp_path / "out", cache=str(tmp_path / "cache"), part=Part(1, 1))
    with pytest.raises(SharedCacheError, match="isn't a place for files"):
        run(ground, tmp_path / "new/out", cache="nothing://there", part=Part(1, 1))


def test_a_cache_in_a_folder_that_a_stage_empties_is_refused(ground: Ground, tmp_path: Path) -> None:
    for place in (tmp_path / "out/chips", tmp_path / "out/chips/shared", tmp_path / "out/../out/chips/shared"):
        with pytest.raises(SharedCacheError, match="a stage empties"):
            chipped(ground, tmp_path / "out", cache=str(place))
    assert chipped(ground, tmp_path / "out", cache=str(tmp_path / "out/shared")) == ["a", "b", "c"]


def test_force_makes_all_anew_and_stores_it(ground: Ground, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    chipped(ground, tmp_path / "one/out", cache=str(cache))
    before = [index.stat().st_mtime_ns for index in units(cache)]
    assert chipped(ground, tmp_path / "two/out", cache=str(cache), force=True) == ["a", "b", "c"]
    assert all(a < b for a, b in zip(before, (index.stat().st_mtime_ns for index in units(cache)), strict=True))


def test_old_units_are_pruned_whole_and_other_files_stay(ground: Ground, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    chipped(ground, tmp_path / "one/out", cache=str(cache))
    (cache / "notes.txt").write_text("of the user's own")
    (cache / "chip/notes.txt").write_text("of the user's own")
    old = units(cache)[0].parent
    registry = cache / "v2/sha256" / old.parent.name / old.name / "data"  # as Docker's registries lie in buckets
    registry.parent.mkdir(parents=True)
    registry.write_text("of another program")
    for file in (registry, *old.iterdir()):
        os.utime(file, (time.time() - 7200,) * 2)
    found = stored(str(cache))
    assert {tuple(sorted(one.paths)) for one in found} == {
        tuple(sorted(map(str, index.parent.iterdir()))) for index in units(cache)
    }
    assert found[0].seconds > 7000 > found[1].seconds
    assert [one.paths for one in prune(str(cache), 3600)] == [found[0].paths]
    assert len(units(cache)) == 2
    assert (cache / "notes.txt").exists()
    assert (cache / "chip/notes.txt").exists()
    assert registry.exists()
    assert prune(str(cache), 3600) == []
    assert stored(str(tmp_path / "nowhere")) == []


def test_two_writers_of_one_unit_mix_nothing(tmp_path: Path) -> None:
    """Layers name the commit that made them, so two machines may store one unit with other bytes."""
    cache, of = SharedCache(str(tmp_path / "cache"), "predict"), "ab" + "0" * 62
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("x", "y"):
            (tmp_path / name / file).write_text(f"{name} {file}")
    hashes = {
        name: {file: shared_cache.read(tmp_path / name / file)[1] for file in ("x", "y")} for name in ("one", "two")
    }
    cache.store(of, tmp_path / "one", hashes["one"])
    cache._put(tmp_path / "two/x", cache._path(of, hashes["two"]["x"].removeprefix(shared_cache.KIND)))  # and is killed
    assert cache.fetch(of, tmp_path / "read") == hashes["one"]
    assert (tmp_path / "read/x").read_text() == "one x"
    shutil.rmtree(tmp_path / "read")
    cache.store(of, tmp_path / "two", hashes["two"])
    assert cache.fetch(of, tmp_path / "read") == hashes["two"]
    assert (tmp_path / "read/y").read_text() == "two y"
