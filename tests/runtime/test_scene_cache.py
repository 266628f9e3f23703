"""What a stage has recorded when it is killed."""

import json
from pathlib import Path

import pytest

from quadrat.runtime.cache import scene_cache
from quadrat.runtime.cache.scene_cache import EVERY, SHARE, SceneCache


class Clock:
    """A clock that only the test, and each write of a manifest, moves on."""

    def __init__(self) -> None:
        self.now, self.write = 100.0, 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_manifest_is_written_on_the_way_and_less_often_where_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, plain = Clock(), scene_cache.write_json

    def written(*given: object, **named: object) -> None:
        clock.now += clock.write
        plain(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(scene_cache, "time", clock)
    monkeypatch.setattr(scene_cache, "write_json", written)
    manifest = tmp_path / "manifest.json"
    with SceneCache(tmp_path / "out", manifest, tmp_path / "hashes.json") as cache:
        cache.stale(dict.fromkeys("abcdef", "of"))

        def recorded(name: str, seconds: float) -> str:
            clock.now += seconds
            cache.done(name, {})
            return "".join(json.loads(manifest.read_text()))

        assert recorded("a", 0) == "a"
        assert recorded("b", EVERY / 2) == "a"
        clock.write = 3.0
        assert recorded("c", EVERY) == "abc"
        clock.write = 0.0
        assert recorded("d", 3 / SHARE - 1) == "abc"
        assert recorded("e", 2) == "abcde"
        assert recorded("f", EVERY / 2) == "abcde"
    assert "".join(json.loads(manifest.read_text())) == "abcdef"
