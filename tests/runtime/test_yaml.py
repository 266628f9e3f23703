"""YAML as it is written: it is read again as it was, and people can read it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from quadrat.errors import ParamsError
from quadrat.runtime.formats.yaml import dumped, read, settings

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(content=st.dictionaries(st.text(min_size=1), values, min_size=1, max_size=4))
def test_what_is_written_is_read_again(content: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("yaml") / "a.yaml"
    file.write_bytes(dumped(content))
    assert repr(read(file, ParamsError)) == repr(content)  # repr: 1 is not 1.0, and 0.0 is not -0.0


def test_the_projects_own_parameters_are_written_as_they_stand(root: Path) -> None:
    """But for comments and empty lines, and the last section, which stands on one line by choice."""
    own = (root / "params.yaml").read_text(encoding="utf-8")
    *expected, last = [line for line in own.splitlines() if line and not line.startswith("#")]
    title = last.removeprefix("bundle: {").removesuffix("}")
    written = dumped(YAML(typ="safe", pure=True).load(own)).decode().splitlines()
    assert written == [*expected, "bundle:", f"  {title}"]


def test_sections_stand_on_lines_of_their_own_and_small_ones_below_on_one() -> None:
    content = {
        "empty": {},
        "nothing": None,
        "bands": ["red", "nir"],
        "task": {
            "kind": "x",
            "classes": [{"name": "a", "color": "#000000", "from": ["1", "null"]}],
            "long": ["b" * 40] * 4,
        },
        "small": 1e-05,
    }
    assert dumped(content).decode() == (
        "empty: {}\n"
        "nothing: null\n"
        "bands: [red, nir]\n"
        "task:\n"
        "  kind: x\n"
        "  classes:\n"
        "    - {name: a, color: \"#000000\", from: ['1', 'null']}\n"
        "  long:\n" + f"    - {'b' * 40}\n" * 4 + "small: 1e-05\n"
    )


def test_dates_are_text_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("dates: [2014-01-15, 2014-01-15T10:00:00Z]\nnamed: {2014-01-15: 'x'}\n")
    content = {"dates": ["2014-01-15", "2014-01-15T10:00:00Z"], "named": {"2014-01-15": "x"}}
    assert read(tmp_path / "a.yaml", ParamsError) == content
    (tmp_path / "b.yaml").write_bytes(dumped(content))
    assert read(tmp_path / "b.yaml", ParamsError) == content


def test_settings_are_yaml() -> None:
    options = ["scores=true", "polygons=a=b.gpkg", "none=null", "empty=", "count=3", "list=[1, a]"]
    expected = {"scores": True, "polygons": "a=b.gpkg", "none": None, "empty": None, "count": 3, "list": [1, "a"]}
    assert settings(options) == expected


@pytest.mark.parametrize("option", ["scores", "scores=[1"])
def test_settings_that_say_nothing_are_told(option: str) -> None:
    with pytest.raises(ParamsError, match=r"the option (.|\n)*expected: KEY=VALUE"):
        settings([option])
