"""quadrat serve as a command: what it needs, and what it says when it can't start."""

import importlib.util
import shutil
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from quadrat.cli import app
from quadrat.cli.serving import _own_catalog
from quadrat.server.running import Asked, _bound


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name in {"fastapi", "uvicorn"} else plain(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(SystemExit, match="1"):
        app(["serve", "bundle.zip"])
    said = capsys.readouterr().err
    assert "needs packages that aren't installed: fastapi, uvicorn" in said
    assert "hint: pip install 'quadrat[serve]'" in said


def test_a_taken_port_is_an_error(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match="1"):
            app(["serve", str(project / "bundle.zip"), "--port", port, "--cache", str(tmp_path)])
    assert "the address can't be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "says"),
    [("none.tif", "can't be opened"), ("empty", "the folder holds no images"), ("other.yaml", "missing")],
)
def test_images_that_are_not_good_are_an_error_before_it_starts(
    images: str, says: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    place = ["--port", "0", "--cache", str(tmp_path / "cache")]
    with pytest.raises(SystemExit, match="1"):
        app(["serve", str(project / "bundle.zip"), "--images", str(tmp_path / images), *place])
    assert says in capsys.readouterr().err


def test_the_projects_own_bundle_is_served_with_its_catalog(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(root / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _own_catalog(Path("models/bundle.zip")) == "data/scenes.yaml"
    assert _own_catalog(Path("other/bundle.zip")) is None


def test_the_socket_says_that_it_is_tcps() -> None:
    """Else asyncio doesn't send at once, and each answer waits 40 ms for the client's word (Nagle)."""
    with closing(_bound(Asked(port=0))) as found:
        assert found.proto == socket.IPPROTO_TCP
