"""What every hostile input is watched for: connections, commands, files outside, and memory."""

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60
"""An input takes less than 10 s on a machine of its own; those that run tests are shared."""

MEMORY = 2 << 30

_seen: list[str] = []
_watching: list[Path] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event in {"socket.connect", "socket.getaddrinfo", "os.system", "os.exec", "os.posix_spawn"}:
        _seen.append(f"{event} {arguments}")
    if event == "open" and isinstance(arguments[0], str) and set(str(arguments[1])) & set("wax+"):
        path = Path(arguments[0])
        inside = path.resolve().is_relative_to(_watching[0])
        if not inside and path != Path("/dev/null") and "__pycache__" not in path.parts:
            _seen.append(f"writes {path}")


sys.addaudithook(_watch)


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """Load what takes long to load before an input is timed."""
    import onnxruntime  # noqa: F401
    import segmentation_models_pytorch  # noqa: F401
    import torchvision  # noqa: F401

    from tests.hostile.kit import KINDS, good

    for kind in KINDS:
        good(kind)


@pytest.fixture(autouse=True)
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that connects, starts a shell, writes outside its folder, or takes more than it may."""
    monkeypatch.chdir(tmp_path)
    _seen.clear()
    _watching.append(tmp_path.resolve())
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    yield
    _watching.clear()
    assert not _seen
    assert time.perf_counter() - started < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY
