"""index pins what is there, lists what differs, and writes nothing where something can't be pinned."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quadrat.errors import ImageError, PinError
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.pins import check_pins, read_pins
from quadrat.team.pin import index
from tests.ground import write_world
from tests.http_server import Served, served


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as found:
        write_world(tmp_path)
        file = tmp_path / "scenes.yaml"
        file.write_text(file.read_text().replace(f"{tmp_path}/image.tif", f"{found.url}/image.tif"))
        yield found


def indexed(folder: Path, capsys: pytest.CaptureFixture[str], *, write: bool = True) -> tuple[bool, list[str]]:
    same = index(folder / "scenes.yaml", folder / "pins.json", write=write)
    return same, capsys.readouterr().out.splitlines()


def test_new_changed_and_dropped(web: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same, lines = indexed(tmp_path, capsys)
    pin = read_pins(tmp_path / "pins.json")[f"{web.url}/image.tif"]
    assert not same
    assert lines[0] == f"new     {web.url}/image.tif  {pin}"
    assert lines[1] == (
        f"{tmp_path}/pins.json: 1 new, 0 changed, 0 dropped, 0 as pinned; commit the file, and run dvc repro"
    )
    before = (tmp_path / "pins.json").stat()
    assert indexed(tmp_path, capsys) == (True, [f"{tmp_path}/pins.json: 0 new, 0 changed, 0 dropped, 1 as pinned"])
    assert (tmp_path / "pins.json").stat() == before  # not written again

    with (tmp_path / "image.tif").open("ab") as file:
        file.write(b"more")
    same, lines = indexed(tmp_path, capsys, write=False)
    assert not same
    assert lines[0].startswith(f"changed {web.url}/image.tif  {pin} → etag ")
    assert (tmp_path / "pins.json").stat() == before
    assert indexed(tmp_path, capsys)[1][0] == lines[0]
    check_pins(read_catalog(tmp_path / "scenes.yaml"), tmp_path / "pins.json")

    write_world(tmp_path)  # all on this machine again
    assert indexed(tmp_path, capsys)[1][0] == f"dropped {web.url}/image.tif  no longer in the catalog"
    assert (tmp_path / "pins.json").read_text() == "{}\n"


def test_a_server_that_tells_nothing_but_the_size(
    web: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.says = ()
    lines = indexed(tmp_path, capsys)[1]
    assert lines[1].startswith(f"warning: {web.url}/image.tif: the server gives only the size")


def test_an_object_that_is_missing(web: Served, tmp_path: Path) -> None:
    (tmp_path / "image.tif").unlink()
    with pytest.raises(PinError, match=rf"no such object\n  scene: w\n  file: {web.url}/image.tif\n  hint: check"):
        index(tmp_path / "scenes.yaml", tmp_path / "pins.json", write=True)
    assert not (tmp_path / "pins.json").exists()


def test_a_scene_whose_files_cannot_be_found_out(web: Served, tmp_path: Path) -> None:
    file = tmp_path / "scenes.yaml"
    file.write_text(file.read_text().replace(f"{web.url}/image.tif", f"{tmp_path}/no*.tif"))
    with pytest.raises(ImageError, match=r"no file matches the pattern\n  scene: w"):
        index(file, tmp_path / "pins.json", write=True)
