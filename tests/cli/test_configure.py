"""What a Python file composes is what its YAML files say, and what is wrong with it is told in words."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

import quadrat.params
from quadrat.cli import app
from quadrat.cli.configure import configure
from quadrat.errors import CatalogError, OutputError, ParamsError
from quadrat.params import Params, read_params
from quadrat.params import written as written_params
from quadrat.runtime.formats.yaml import load
from quadrat.scenes.catalog import Catalog, written

EXAMPLE = "examples/tiny_spacenet/tiny_spacenet.py"
CONFIGURE, RETURN = "def configure()", "return parameters(), catalog()"


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with the example's Python file and nothing else."""
    (tmp_path / EXAMPLE).parent.mkdir(parents=True)
    (tmp_path / EXAMPLE).write_bytes((root / EXAMPLE).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_is_what_its_python_file_writes(project: Path, root: Path) -> None:
    assert configure(Path(EXAMPLE)) == (Path(EXAMPLE).with_name("params.yaml"), Path(EXAMPLE).with_name("scenes.yaml"))
    made = {file.name: file.read_bytes() for file in (project / EXAMPLE).parent.glob("*.yaml")}
    assert made == {name: (root / EXAMPLE).with_name(name).read_bytes() for name in ("params.yaml", "scenes.yaml")}


@pytest.mark.usefixtures("project")
def test_the_parameters_go_where_they_are_wanted() -> None:
    done = CliRunner().invoke(app, ["configure", EXAMPLE, "--params", "params.yaml"])
    assert (done.exit_code, done.output.split()) == (0, ["params.yaml", "examples/tiny_spacenet/scenes.yaml"])
    assert read_params(Path("params.yaml")).scenes == Path("examples/tiny_spacenet/scenes.yaml")
    assert not Path(EXAMPLE).with_name("params.yaml").exists()


@pytest.mark.parametrize("name", ["params.yaml", "scenes.yaml"])
def test_files_that_were_written_by_hand_are_kept(project: Path, name: str) -> None:
    configure(Path(EXAMPLE))
    configure(Path(EXAMPLE))
    others = {file: file.read_bytes() for file in (project / EXAMPLE).parent.glob("*.yaml") if file.name != name}
    mine = Path(EXAMPLE).with_name(name)
    mine.write_text("lr: 0.1\n")
    with pytest.raises(OutputError, match=rf"did not write\n  file: {mine}\n  hint: move it away"):
        configure(Path(EXAMPLE))
    assert mine.read_text() == "lr: 0.1\n"
    assert {file: file.read_bytes() for file in others} == others


def test_parameters_and_catalogs_are_the_same_when_they_are_read_again(root: Path, tmp_path: Path) -> None:
    files = sorted([root / "params.yaml", *root.glob("examples/*/params.yaml")])
    assert len(files) > 1
    for file in files:
        params = read_params(file)
        catalog = load(root / params.scenes, Catalog, CatalogError)
        (tmp_path / "params.yaml").write_bytes(written_params(params))
        (tmp_path / "scenes.yaml").write_bytes(written(catalog))
        assert read_params(tmp_path / "params.yaml") == params
        assert load(tmp_path / "scenes.yaml", Catalog, CatalogError) == catalog


def test_all_sections_can_be_composed() -> None:
    named = {getattr(quadrat.params, name) for name in quadrat.params.__all__}
    assert set(_sections(Params)) | set(_sections(Catalog)) == named


def _sections(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _sections(field.annotation)
    for argument in get_args(annotation):
        yield from _sections(argument)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((CONFIGURE, "def compose()"), r"no such function\n.*\n  expected: def configure(.|\n)*got: .*compose"),
        ((CONFIGURE, "def configure("), r"is not Python\n  file: .*\.py:\d+"),
        ((RETURN, "return parameters()"), r"something else(.|\n)*got: Params$"),
        ((RETURN, "return catalog(), parameters()"), r"something else(.|\n)*got: Catalog, Params"),
        (
            ("lr=0.001", 'lr="fast"'),
            r"^Params\.lr: Input should be a valid number\n  file: .*\.py:\d+\n  got: \"fast\"",
        ),
        (("lr=0.001", "lr=0.001, momentum=0.9"), r"^Params\.momentum: there is no such key"),
        (("chip_size=256", "chip_size=250"), r"^Params: chip\.chip_size must be a multiple of 32"),
        (('labels="img25"', 'labels="img26"'), r"^Catalog: scene img25 names labels 'img26'"),
    ],
)
def test_what_is_wrong_is_told(project: Path, change: tuple[str, str], message: str) -> None:
    text = (project / EXAMPLE).read_text(encoding="utf-8")
    assert change[0] in text
    (project / EXAMPLE).write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ParamsError, match=message) as raised:
        configure(Path(EXAMPLE))
    assert EXAMPLE in str(raised.value)
    assert not list(project.rglob("*.yaml"))


def test_an_error_names_its_line(project: Path) -> None:
    text = (project / EXAMPLE).read_text(encoding="utf-8").replace("depth=4", "depth=9")
    (project / EXAMPLE).write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError) as raised:
        configure(Path(EXAMPLE))
    found = re.search(r"\.py:(\d+)", str(raised.value.file))
    assert found is not None
    assert text.splitlines()[int(found[1]) - 1].strip() == "model=Segmenter("


@pytest.mark.usefixtures("project")
def test_a_missing_file_is_told_on_the_command_line() -> None:
    done = CliRunner().invoke(app, ["configure", "nothing.py"])
    assert done.exit_code == 1
    assert "ParamsError: the file is missing\n  file: nothing.py" in done.output


def test_errors_of_the_users_own_code_are_left_to_python(project: Path) -> None:
    (project / EXAMPLE).write_text("def configure():\n    return 1 / 0\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError):
        configure(Path(EXAMPLE))
    assert [file.name for file in project.iterdir()] == ["examples"]
