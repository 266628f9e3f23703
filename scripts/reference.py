"""Write docs/parameters.md and docs/catalog.md from the models that read params.yaml and the catalog.

Run it after a change of these models: `PYTHONPATH=src python scripts/reference.py`. A test holds the pages against it.
"""  # noqa: INP001 (a script)

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from ruamel.yaml import YAML

from quadrat.params import Params
from quadrat.runtime.formats.section import Section
from quadrat.scenes.catalog import Catalog

ROOT = Path(__file__).resolve().parents[1]

WORDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}

PARAMETERS = """\
# Parameters

<!-- Made by scripts/reference.py from the models in src/quadrat. Edit their docstrings, not this page. -->

The keys of `params.yaml`. All keys of the first table must be in the file, because DVC watches them by name; write `{}`
for a section without settings. Below them, optional keys have the value given here, which mostly means "not used".
`quadrat params --full` prints all keys. `kind` of `train.loss` and `predict.layers` is that of `task`. `dvc exp run -S`
takes dotted names; a key that the file leaves out takes a `+`: `-S +chip.negatives=1`.

A change of a key reruns the stages in the last column, and then those whose inputs have changed.
"""

CATALOG = """\
# Catalog keys

<!-- Made by scripts/reference.py from the models in src/quadrat. Edit their docstrings, not this page. -->

The keys of the catalog, the file that `scenes` in `params.yaml` names (`data/scenes.yaml`). [Bring your own
data](data.md) explains them with examples. Paths start at the project's root.
"""


def parameters() -> str:
    """Return the page of the parameters."""
    return PARAMETERS + "".join(_Page(Params, _readers()).sections())


def catalog() -> str:
    """Return the page of the catalog."""
    return CATALOG + "".join(_Page(Catalog, {}).sections())


def _readers() -> dict[str, list[str]]:
    """Return the stages that depend on each key, in pipeline order: on its value, or on the files that it names."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    return {
        key: [
            name
            for name, stage in stages.items()
            if key in stage["params"] or any(f"${{{key}}}" in dependency for dependency in stage["deps"])
        ]
        for key in Params.model_fields
    }


class _Page:
    """Tables of a model's keys: one for the model, then one for each section in it, depth first."""

    def __init__(self, model: type[Section], readers: Mapping[str, list[str]]) -> None:
        self._schema = model.model_json_schema(schema_generator=_Described)
        self._readers = readers
        self._shown: dict[str, str] = {}

    def sections(self) -> Iterator[str]:
        yield "\n" + self._table(self._schema, self._readers)
        yield from self._below("", self._schema)

    def _below(self, path: str, node: Mapping[str, Any]) -> Iterator[str]:
        for key, child in node["properties"].items():
            name = f"{path}.{key}" if path else key
            for title, section in self._parts(name, child):
                known = self._shown.get(section["title"])
                if known == title:
                    continue
                yield f"\n{'#' * min(4, 2 + name.count('.'))} {title}\n\n"
                if known:
                    yield f"The keys of [{known}](#{slug(known)}).\n"
                    continue
                self._shown[section["title"]] = title
                yield f"{_prose(section)}\n{self._table(section, {})}"
                yield from self._below(name, section)

    def _parts(self, name: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Give the sections that a key may hold, with their titles."""
        node = self._resolved(node)
        options = [self._resolved(option) for option in (*node.get("oneOf", ()), *node.get("anyOf", ()))]
        if "oneOf" in node:
            yield from ((f"{name}: {option['properties']['kind']['const']}", option) for option in options)
            return
        for option in options:
            yield from self._parts(name, option)
        if "properties" in node:
            kind = node["properties"].get("kind", {}).get("const")
            yield (f"{name}: {kind}" if kind else name), node
        for inner in (node.get("items"), node.get("additionalProperties")):
            if isinstance(inner, dict):
                yield from ((f"{title}, each", part) for title, part in self._parts(name, inner))

    def _table(self, node: Mapping[str, Any], readers: Mapping[str, list[str]]) -> str:
        head = ["key", "type", "meaning", *(["stages"] if readers else [])]
        rows = [head, ["---"] * len(head)]
        for key, child in node["properties"].items():
            if "const" in child:  # the kind, which is in the heading
                continue
            required = key in node.get("required", ())
            kind = self._type(child) + ("" if required else f"; optional{_default(child)}")
            rows.append([f"`{key}`", kind, self._meaning(child), *([", ".join(readers[key])] if readers else [])])
        if len(rows) == 2:
            return ""
        return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)

    def _meaning(self, node: Mapping[str, Any]) -> str:
        """Return what the key's docstring says, else the first line of its section's, where that is one section."""
        section = self._resolved(node)
        own = str(section.get("description", "")).partition("\n")[0] if "properties" in section else ""
        return _markdown(str(node.get("description") or own))

    def _type(self, node: Mapping[str, Any]) -> str:
        node = self._resolved(node)
        if "oneOf" in node:
            return "section by `kind`: " + ", ".join(f"`{kind}`" for kind in node["discriminator"]["mapping"])
        if "anyOf" in node:
            return re.sub(r"(, at least \d+) or", r"\1, or", " or ".join(self._type(o) for o in node["anyOf"]))
        if "const" in node or "enum" in node:
            values = ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
            return values if "const" in node else f"one of {values}"
        return "section" if "properties" in node else self._plain(node)

    def _plain(self, node: Mapping[str, Any]) -> str:
        match node.get("type"):
            case "array":
                return self._list(node)
            case "object":
                what, by, kinds = self._plural(node["additionalProperties"]).partition(" by `kind`")
                return f"{what} by name" + (f", each{by}{kinds}" if by else "")
            case None:
                return "any value"
            case kind:
                return ("path" if node.get("format") == "path" else WORDS[kind]) + _limits(node)

    def _list(self, node: Mapping[str, Any]) -> str:
        if "prefixItems" in node:
            return "[" + ", ".join(self._type(item) for item in node["prefixItems"]) + "]"
        low, high = node.get("minItems"), node.get("maxItems")
        count = f", {low} to {high}" if low and high else f", at least {low}" if low else ""
        return f"list of {self._plural(node['items'])}{count}"

    def _plural(self, node: Mapping[str, Any]) -> str:
        kind = self._type(node)
        for one, many in (("section", "sections"), ("text", "texts"), ("whole number", "whole numbers")):
            if kind == one or kind.startswith(f"{one} "):
                return many + kind.removeprefix(one)
        return re.sub("^number", "numbers", kind).replace("any value", "any values")

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in node:
            node = self._schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return node


class _Described(GenerateJsonSchema):
    """A schema whose keys are described by their docstrings: pydantic's own way reads them whenever models are made."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        content = super().model_schema(schema)
        model: type[Section] = schema["cls"]
        for one in reversed(model.__mro__):
            for name, text in _docstrings(one).items() if issubclass(one, Section) else ():
                content["properties"][model.model_fields[name].alias or name]["description"] = text
        return content


def _docstrings(model: type[Section]) -> dict[str, str]:
    """Return what stands below each of a model's own fields."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and field.target.id in model.model_fields
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


def slug(title: str) -> str:
    """Return the anchor that a heading gets on GitHub and in MkDocs."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower())


def _limits(node: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {node[name]:g}" for name, sign in signs.items() if name in node]
    if "pattern" in node:
        limits.append(f"like `{node['pattern']}`")
    if node.get("minLength") == 1:
        limits.append("not empty")
    return f" {', '.join(limits)}" if limits else ""


def _default(node: Mapping[str, Any]) -> str:
    default = node.get("default")
    return "" if default in (None, "", [], {}) else f", else `{json.dumps(default)}`"


def _prose(section: Mapping[str, Any]) -> str:
    """Return the docstring of a section up to what it says of arrays in files, which is for programmers."""
    paragraphs = str(section.get("description", "")).split("\n\n")
    shown = [paragraph for paragraph in paragraphs if not paragraph.startswith("Weights:")]
    return "".join(f"{_markdown(paragraph)}\n" for paragraph in shown)


def _markdown(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


if __name__ == "__main__":
    (ROOT / "docs" / "parameters.md").write_text(parameters(), encoding="utf-8")
    (ROOT / "docs" / "catalog.md").write_text(catalog(), encoding="utf-8")
