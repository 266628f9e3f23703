"""Sections of parameters that name code of the user's own."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, JsonValue

from quadrat.runtime.formats.section import Section

FOLDER = "plugins"
"""The folder of a project whose modules parameters may name; names of others begin with that of a package."""

FORM = f"{FOLDER}.MODULE:NAME for {FOLDER}/MODULE.py, or PACKAGE:NAME for an installed package"


OVERLOOKED = {"size", "nfiles"}
"""Keys that DVC leaves out where it compares parameters with those of earlier runs."""


def _check_keys(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        if found := OVERLOOKED & value.keys():
            raise ValueError(f"DVC overlooks changes of keys called {min(found)}: give the argument another name")
        _check_keys([*value.values()])
    elif isinstance(value, list):
        for each in value:
            _check_keys(each)
    return value


def _check_name(name: str) -> str:
    place, colon, called = name.partition(":")
    parts = place.split(".")
    words = parts if parts[0] == FOLDER else [place.replace("-", "_").replace(".", "_")]
    if not (colon and name.isascii() and all(word.isidentifier() for word in (*words, called))):
        raise ValueError(f"a plugin is named {FORM}")
    if parts == [FOLDER]:
        raise ValueError(f"{name} names no module in {FOLDER}: a plugin is named {FORM}")
    return name


class Plugin(Section):
    """A class or function of the user's own, and what it is called with."""

    key: ClassVar[str]
    """The key of the section in params.yaml, for errors."""
    role: ClassVar[str]
    """What it is, for errors."""
    given: ClassVar[tuple[str, ...]] = ()
    """Arguments that it gets beside those of the parameters."""

    name: Annotated[str, AfterValidator(_check_name)]
    """``plugins.MODULE:NAME`` is NAME in ``plugins/MODULE.py`` of the project; ``PACKAGE:NAME`` is what an installed
    package declares as NAME among its entry points ``quadrat.plugins``."""
    arguments: Annotated[Mapping[str, JsonValue], AfterValidator(_check_keys)] = {}
    """Arguments by name, as its signature has them."""


def plugins_in(*sections: object) -> Iterator[Plugin]:
    """Yield all plugins that sections name, themselves or in sections below them."""
    for section in sections:
        if isinstance(section, Plugin):
            yield section
        if isinstance(section, Section):
            yield from plugins_in(*(getattr(section, name) for name in type(section).model_fields))
