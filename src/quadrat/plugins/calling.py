"""Calls plugins with the arguments of the parameters, which are checked against their signatures."""

import inspect
from typing import Any

from pydantic import PydanticUserError, create_model
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import to_jsonable_python

from quadrat.errors import PluginError, QuadratError
from quadrat.plugins.finding import Found, failed, find
from quadrat.plugins.section import Plugin
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import check

UNKNOWABLE = (NameError, TypeError, ValueError)
"""What Python raises of objects without a signature, and of annotations that name what there isn't."""

UNFIT = (NameError, PydanticSchemaGenerationError, PydanticUserError)
"""What pydantic raises of types and names that no file can give."""


def make(plugin: Plugin, **given: Any) -> Any:
    """Return what the class or function of ``plugin`` returns for its arguments and those ``given`` here.

    Raises PluginError where it is missing, takes other arguments, or raises.
    """
    found = find(plugin)
    arguments = checked(plugin, found)
    try:
        return found.target(**given, **arguments)
    except QuadratError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise failed(plugin, "fails", error) from error


def checked(plugin: Plugin, found: Found) -> dict[str, Any]:
    """Return the arguments of ``plugin``, in the types of the signature of what was ``found``.

    What parameters don't give is left to the defaults. Types are strict, as in all parameters. Raises PluginError for
    wrong arguments, and for a signature without those that all plugins of the role are called with.
    """
    try:
        known = inspect.signature(found.target, eval_str=True).parameters
    except UNKNOWABLE as error:
        raise failed(plugin, "has no signature", error) from error
    if any(name not in known for name in plugin.given):
        raise PluginError(
            f"{plugin.key}: {plugin.name} is no {plugin.role}",
            expected=f"a class or function that takes {', '.join(plugin.given)}",
            got=f"{plugin.name.partition(':')[2]}({', '.join(known)})",
            hint="docs/plugins.md shows one",
        )
    fields: dict[str, Any] = {  # only the keys that are given are taken of them, so any default serves
        name: (Any if one.annotation is one.empty else one.annotation, ... if one.default is one.empty else None)
        for name, one in known.items()
        if name not in plugin.given and one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}
    }
    try:
        model = create_model("Arguments", __base__=Section, **fields)
        model.model_json_schema()
    except UNFIT as error:
        raise failed(plugin, "has an argument of a type that parameters can't give", error) from error
    content = to_jsonable_python(plugin.arguments)
    section = check(content, model, PluginError, None, f"{plugin.key}.arguments")
    return {name: getattr(section, name) for name in section.model_fields_set}
