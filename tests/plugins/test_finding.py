"""Plugins are found in the project's folder and among declared entry points, and nothing else is ever imported."""

import builtins
import importlib
import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from quadrat.errors import MissingPluginError, PluginError
from quadrat.models import Train
from quadrat.plugins import finding
from quadrat.plugins.calling import checked, make
from quadrat.plugins.finding import find, folder_version
from quadrat.plugins.section import plugins_in
from quadrat.tasks.common.section import PluginLoss
from tests.plugins.own import LOSSES, project


def loss(name: str, **arguments: Any) -> PluginLoss:
    return PluginLoss.model_validate({"kind": "plugin", "name": name, "arguments": arguments})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project(tmp_path, losses=LOSSES))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plugins.loses:Focal", r"train\.loss\.name: there is no loss plugins\.loses:Focal(.|\n)*'plugins\.losses'\?"),
        ("plugins.losses:Focl", r"expected: a class or function Focl in plugins/losses\.py(.|\n)*mean 'Focal'\?"),
        ("plugins.losses:_hidden", r"there is no loss plugins\.losses:_hidden"),
        ("plugins.losses:system", r"there is no loss(.|\n)*what it imports from elsewhere is no plugin"),
        ("plugins.losses:os", r"there is no loss"),
        ("plugins.losses.os:system", r"there is no loss(.|\n)*expected: plugins/losses/os\.py"),
        ("os:system", r"there is no loss os:system(.|\n)*entry point system of the group quadrat\.plugins"),
        ("fieldwork:Focal", r"expected: an installed package fieldwork(.|\n)*got: none is declared"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_name(name: str, message: str) -> None:
    with pytest.raises(MissingPluginError, match=message):
        find(loss(name))


@pytest.mark.parametrize(
    "name",
    [
        *("Focal", "plugins:Focal", "plugins.losses", "plugins..losses:Focal", "plugins./tmp/x:F", "../a:F", ":F"),
        *("a:b.c", "plugins.losses:Focal()", "a b:F", "plugins.lösses:F"),
    ],
)
def test_a_name_has_one_of_two_forms(name: str) -> None:
    with pytest.raises(ValidationError, match=r"a plugin is named plugins\.MODULE:NAME"):
        loss(name)


@pytest.mark.parametrize("arguments", [{"size": 1}, {"window": {"size": 1}}, {"steps": [{"nfiles": 1}]}])
def test_arguments_have_no_name_that_dvc_overlooks(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"DVC overlooks changes of keys called (size|nfiles)"):
        loss("plugins.losses:Focal", **arguments)


def test_a_name_outside_the_folder_imports_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit")
    (folder / "evil").mkdir()
    monkeypatch.syspath_prepend(folder)
    seen: list[str] = []
    plain = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name, *rest: seen.append(name) or plain(name, *rest))
    monkeypatch.setattr(builtins, "exec", lambda *_: seen.append("exec"))
    for name in ("evil:run", "os:system", "subprocess:run", "plugins.evil:run", "plugins.os:system"):
        with pytest.raises(MissingPluginError):
            find(loss(name))
    assert seen == []


def test_a_folder_of_plugins_is_code_only_in_a_project(folder: Path) -> None:
    (folder / "dvc.yaml").unlink()
    with pytest.raises(MissingPluginError, match=r"expected: a project with plugins/losses\.py(.|\n)*no dvc\.yaml"):
        find(loss("plugins.losses:Focal"))


def test_a_changed_module_is_imported_anew_and_has_another_version(folder: Path) -> None:
    file = folder / "plugins/one.py"
    versions = []
    for number in (1, 2):  # as long as before, within the same second
        file.write_text(f"from plugins.two import two\n\ndef made():\n    return {number}, two\n")
        (folder / "plugins/two.py").write_text(f"two = {number}\n")
        assert make(loss("plugins.one:made")) == (number, number)
        versions.append(find(loss("plugins.one:made")).version)
    assert versions[0] != versions[1]
    assert versions[1] == folder_version(folder / "plugins")
    (folder / "plugins/__pycache__").mkdir()
    (folder / "plugins/__pycache__/one.pyc").touch()
    assert versions[1] == folder_version(folder / "plugins")


def test_another_package_called_plugins_is_never_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder / "elsewhere"
    (other / "plugins").mkdir(parents=True)
    (other / "plugins/__init__.py").touch()
    (other / "plugins/losses.py").write_text("def Focal():\n    return 'of elsewhere'\n")
    monkeypatch.syspath_prepend(other)
    monkeypatch.delitem(sys.modules, "plugins", raising=False)
    monkeypatch.delitem(sys.modules, "plugins.losses", raising=False)
    assert importlib.import_module("plugins.losses").Focal() == "of elsewhere"
    assert make(loss("plugins.losses:Focal")).gamma == 2.0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_at_all", r"ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("\n\n1 / 0", r"file: .*plugins/bad\.py:3(.|\n)*ZeroDivisionError"),
        ("def (", r"file: .*plugins/bad\.py:1(.|\n)*SyntaxError"),
    ],
)
def test_a_module_that_can_not_be_imported_is_told_with_its_line(folder: Path, source: str, message: str) -> None:
    project(folder, bad=source)
    with pytest.raises(PluginError, match=rf"can't be imported from plugins/bad\.py(.|\n)*{message}") as raised:
        find(loss("plugins.bad:Focal"))
    assert not isinstance(raised.value, MissingPluginError)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Focal", {"gama": 1}, r"train\.loss\.arguments\.gama: there is no such key(.|\n)*did you mean 'gamma'\?"),
        (
            "Focal",
            {"gamma": "high"},
            r'train\.loss\.arguments\.gamma: Input should be a valid number(.|\n)*got: "high"',
        ),
        ("Focal", {"reduce": "all"}, r"arguments\.reduce: Input should be 'labels' or 'mean'"),
        ("Weighted", {"weights": [1, 2]}, r"train\.loss\.arguments\.scale: Field required"),
    ],
)
def test_arguments_are_those_of_the_signature(name: str, arguments: dict[str, Any], message: str) -> None:
    plugin = loss(f"plugins.losses:{name}", **arguments)
    with pytest.raises(PluginError, match=message):
        checked(plugin, find(plugin))


def test_arguments_get_the_types_of_the_signature_and_others_keep_their_defaults() -> None:
    made = make(loss("plugins.losses:Weighted", weights=[1, 2.5], scale=3))
    assert (made.weights, made.scale) == ((1.0, 2.5), 3.0)
    assert make(loss("plugins.losses:Focal", gamma=0.5)).reduce == "labels"


def test_a_model_of_pydantic_checks_its_own_fields(folder: Path) -> None:
    source = """
        from pydantic import BaseModel, Field

        class Settings(BaseModel):
            steps: list[int]

        class Own(BaseModel):
            width: int = Field(ge=1)
            settings: Settings = Settings(steps=[])
        """
    project(folder, models=source)
    made = make(loss("plugins.models:Own", width=3, settings={"steps": [1, 2]}))
    assert (made.width, made.settings.steps) == (3, [1, 2])
    with pytest.raises(PluginError, match=r"arguments\.width: Input should be greater than or equal to 1"):
        make(loss("plugins.models:Own", width=0))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(x: 'Nowhere'): ...", r"has no signature(.|\n)*Nowhere"),
        ("class Odd: ...\ndef f(x: Odd): ...", r"an argument of a type that parameters can't give"),
    ],
)
def test_a_signature_that_parameters_can_not_meet_is_told(folder: Path, source: str, message: str) -> None:
    project(folder, odd=source)
    plugin = loss("plugins.odd:f")
    with pytest.raises(PluginError, match=message):
        checked(plugin, find(plugin))


def test_what_a_plugin_raises_is_told_with_its_line() -> None:
    with pytest.raises(PluginError, match=r"plugins\.losses:broken fails(.|\n)*losses\.py:\d+(.|\n)*KeyError"):
        make(loss("plugins.losses:broken"))


class Declared(Distribution):
    """A package that is installed, as far as Python knows."""

    def read_text(self, filename: str) -> str | None:
        return "Name: Field.Work\nVersion: 1.2.3\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        return path


def test_a_package_declares_plugins_as_entry_points(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "fieldwork_in_tests.py").write_text("def Focal(gamma: float = 2.0):\n    return gamma\n\nnumber = 3\n")
    monkeypatch.syspath_prepend(folder)
    entries = [
        EntryPoint(name, f"fieldwork_in_tests:{name}", finding.GROUP)._for(Declared())  # type: ignore[attr-defined]
        for name in ("Focal", "number", "missing")
    ]
    monkeypatch.setattr(finding, "entry_points", lambda group: entries if group == finding.GROUP else [])
    assert find(loss("field-work:Focal")).version == "1.2.3"
    assert make(loss("Field_Work:Focal", gamma=4)) == 4.0
    with pytest.raises(MissingPluginError, match=r"did you mean 'field-work:Focal'\?"):
        find(loss("field-work:Focl"))
    with pytest.raises(PluginError, match=r"field-work:number is no loss"):
        find(loss("field-work:number"))
    with pytest.raises(PluginError, match=r"can't be imported from fieldwork_in_tests:missing"):
        find(loss("field-work:missing"))


def test_plugins_are_found_in_sections_below_others() -> None:
    inner = loss("plugins.losses:Focal")
    train = Train.model_validate({"loss": inner, "augment": {"plugin": {"name": "plugins.augment:Blurred"}}})
    assert [one.name for one in plugins_in(None, train, 3)] == ["plugins.losses:Focal", "plugins.augment:Blurred"]
