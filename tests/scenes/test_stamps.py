"""A stamp tells one object from another, as far as its server does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quadrat.errors import PinError
from quadrat.scenes.stamps import Stamp, stamp
from tests.http_server import Served, served
from tests.stores import Store, running


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a b.tif").write_bytes(b"one")
    with served(tmp_path / "web") as found:
        yield found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running(tmp_path_factory.mktemp("store") / "data") as found:
        yield found


def test_another_content_has_another_stamp(web: Served, tmp_path: Path) -> None:
    first = stamp(f"{web.url}/a%20b.tif")
    assert first == stamp(f"{web.url}/a%20b.tif") == Stamp(etag="f97c5d29941bfb1b2fdab0874906ab82", size=3)
    (tmp_path / "web/a b.tif").write_bytes(b"two")
    second = stamp(f"{web.url}/a%20b.tif")
    assert second is not None
    assert (second.size, second.etag) == (3, "b8a9f715dbb64fd5c56e7783c6820a61")
    assert str(second) == "etag b8a9f715dbb64fd5c56e7783c6820a61, 3 bytes"


def test_a_stamp_holds_only_what_the_server_says(web: Served) -> None:
    web.says = ("Last-Modified",)
    dated = stamp(f"{web.url}/a%20b.tif")
    assert dated is not None
    assert dated.etag is None
    assert str(dated).startswith("modified ")
    assert str(dated).endswith(" GMT, 3 bytes")
    web.says = ()
    assert str(stamp(f"{web.url}/a%20b.tif")) == "3 bytes"


def test_nothing_there_is_none_and_a_refusal_is_an_error(web: Served, capfd: pytest.CaptureFixture[str]) -> None:
    assert stamp(f"{web.url}/none.tif") is None
    with pytest.raises(PinError, match=rf"doesn't describe(.|\n)*file: {web.url}/secret.tif\n  got: .*403(.|\n)*AWS_"):
        stamp(f"{web.url}/secret.tif")
    assert capfd.readouterr().err == ""


def test_a_server_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with served(tmp_path) as web:
        pass
    with pytest.raises(PinError, match=r"doesn't describe(.|\n)*got: .*connect"):
        stamp(f"{web.url}/a.tif")


@pytest.mark.slow
def test_objects_in_a_bucket(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a.tif").write_bytes(b"one" * 100_000)
    address = store.put(tmp_path / "a.tif", "tiles/a b.tif")
    said = store.system().info("imagery/tiles/a b.tif")
    assert stamp(address) == Stamp(etag=said["ETag"].strip('"'), size=300_000)
    (tmp_path / "a.tif").write_bytes(b"two" * 100_000)
    assert stamp(store.put(tmp_path / "a.tif", "tiles/a b.tif")) != Stamp(etag=said["ETag"].strip('"'), size=300_000)
    assert stamp("s3://imagery/tiles/none.tif") is None
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(PinError, match=r"doesn't describe(.|\n)*file: s3://imagery/tiles/a b\.tif\n  got: .*signature"):
        stamp(address)
