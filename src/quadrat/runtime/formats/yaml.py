"""Reads YAML files as sections, with errors that name file, key and nearest valid key; and writes them."""

import difflib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from quadrat.errors import ParamsError, QuadratError
from quadrat.runtime.formats.parsing import parsed, parser, read_bytes
from quadrat.runtime.formats.renamed import renamed
from quadrat.runtime.formats.section import Section

S = TypeVar("S", bound=Section)

LINE = 120
"""Characters (of JSON) up to which lists and small sections stand on one line."""

SHOWN_ERRORS = 20
"""Number of further errors of a file that a message lists."""

MOST_ERRORS = 1000
"""Limit for the errors of one file, which take time to list."""

LONGEST = 500
"""Most characters of a message, and of a key for which similar keys are searched."""

CHOICES = {"union_tag_invalid": "expected_tags", "literal_error": "expected"}
"""Fields with the valid kinds or values in pydantic's errors, by the type of error."""

PLAIN = re.compile(r"[\w./-](?:[\w./ :@{}-]*[\w./}-])?", re.ASCII)
"""Texts that need no quotes, unless YAML reads them as another type."""


def load(path: Path, section: type[S], error: type[QuadratError]) -> S:
    """Read the file at ``path`` (YAML 1.2, as DVC reads it, or JSON) as a ``section``; else raise ``error``."""
    return check(read(path, error), section, error, path)


def read(path: Path, error: type[QuadratError]) -> Any:
    """Return the content of the file at ``path``, YAML or JSON by its ending; see ``formats.parsing``."""
    return parsed(read_bytes(path, error), error, path)


def settings(options: Sequence[str]) -> dict[str, Any]:
    """Return options ``KEY=VALUE``, with values in YAML, as a dict; raise ParamsError for others."""
    yaml = parser()
    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        try:
            found[key] = yaml.load(value)
        except (YAMLError, ValueError) as cause:
            raise ParamsError("the option can't be read", expected="KEY=VALUE, in YAML", got=option) from cause
        if not equals:
            raise ParamsError("the option says no value", expected="KEY=VALUE", got=option)
    return found


def check(content: Any, section: type[S], error: type[QuadratError], path: Path | None, root: str = "") -> S:
    """Return ``content`` as a ``section``; else raise ``error`` for its first error, naming all further ones.

    ``root`` is the key of the section in the file, if it is not the file's whole content.
    """
    try:
        # through JSON, where lists stand for tuples, so that types can be strict
        return section.model_validate_json(json.dumps(content, default=str), by_alias=True, by_name=False)
    except (RecursionError, TypeError) as cause:  # a key is not text, or too many levels
        raise error("the file holds values that no section can have", file=path, got=cause) from cause
    except ValidationError as cause:
        if cause.error_count() > MOST_ERRORS:  # millions would take minutes
            raise error(f"the file has {cause.error_count()} errors", file=path, got=str(cause)[:LONGEST]) from None
        first = cause.errors()[0]
        hint = renamed(cause.errors()) or _nearest(cause.errors(), section)
        raise error(
            describe(cause, root, content),
            file=path,
            got=shown(first.get("input")),
            hint=hint,
        ) from cause


def describe(error: ValidationError, root: str = "", content: Any = None) -> str:
    """Return the errors of the section ``root`` as text: the first, and the others below it.

    With ``content``, keys are named as in the file.
    """
    first, *others = error.errors()
    further = [f"\n  also {_key(root, other['loc'], content)}: {_message(other)}" for other in others[:SHOWN_ERRORS]]
    if len(others) > SHOWN_ERRORS:
        further.append(f"\n  and {len(others) - SHOWN_ERRORS} more")
    return f"{_key(root, first['loc'], content) or 'the file'}: {_message(first)}" + "".join(further)


def shown(value: object) -> str | None:
    """Return a wrong value as an error shows it."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 200 else text[:200] + " …"


def dumped(content: Any) -> bytes:
    """Return ``content``, of JSON's types, as a YAML file that gives it back when it is read.

    Sections stand one key a line; below them, lists of values and small sections stand on one line where they fit.
    """
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 2**20  # no line is broken within a value
    yaml.indent(mapping=2, sequence=4, offset=2)
    written = io.BytesIO()
    yaml.dump(_styled(content, 0), written)
    return written.getvalue()


class _Representer(RoundTripRepresenter):
    """Writes null as a word, and text in double quotes but for the plainest."""

    def null(self, _: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")

    def text(self, value: str) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=None if PLAIN.fullmatch(value) else '"')


_Representer.add_representer(type(None), _Representer.null)
_Representer.add_representer(str, _Representer.text)


def _styled(value: Any, depth: int) -> Any:
    """Return a value with marks for what stands on one line; the file's own keys are at depth 0."""
    styled: CommentedMap | CommentedSeq
    if isinstance(value, dict):
        styled = CommentedMap({key: _styled(each, depth + 1) for key, each in value.items()})
    elif isinstance(value, list):
        styled = CommentedSeq([_styled(each, depth + 1) for each in value])
    else:
        return value
    section = isinstance(value, dict) and depth < 2
    if section or not _flat(value) or len(json.dumps(value, ensure_ascii=False)) > LINE:
        styled.fa.set_block_style()
    else:
        styled.fa.set_flow_style()
    return styled


def _flat(value: Any) -> bool:
    """Return whether a value has no list of sections in it."""
    if isinstance(value, dict):
        return all(map(_flat, value.values()))
    return not isinstance(value, list) or not any(isinstance(each, dict) or not _flat(each) for each in value)


def _key(root: str, location: Sequence[int | str], content: Any) -> str:
    """Return the key of an error: pydantic's location, without the kinds of sections among its parts."""
    parts = [root] if root else []
    for part in location:
        if isinstance(content, dict) and part not in content and content.get("kind") == part:
            continue
        parts.append(_printable(str(part)))
        held = part in content if isinstance(content, dict) else isinstance(content, list) and isinstance(part, int)
        content = content[part] if held else None
    return ".".join(parts)


def _printable(key: str) -> str:
    """Return a key as an error shows it: short, and nothing that a terminal takes for a command."""
    text = key if key.isprintable() else key.encode("unicode_escape").decode()
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such key"
    text = str(error["msg"]).removeprefix("Value error, ")
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _nearest(errors: Sequence[Any], section: type[BaseModel]) -> str | None:
    """Return the nearest valid key, kind or value of the first misspelt one, as text; else the valid keys.

    After other errors, only keys that are missing beside the misspelt one are considered.
    """
    missing = {error["loc"] for error in errors if error["type"] == "missing"}
    for number, error in enumerate(errors[:SHOWN_ERRORS]):
        if error["type"] == "extra_forbidden":
            *parents, wrong = error["loc"]
            valid = [key for key in _keys(section, parents) if not number or (*parents, key) in missing]
        elif error["type"] in CHOICES:
            wrong = error["ctx"].get("tag", error["input"])
            valid = re.findall("'([^']+)'", error["ctx"][CHOICES[error["type"]]])
        else:
            continue
        close = difflib.get_close_matches(str(wrong)[:LONGEST], valid, n=1, cutoff=0.5)
        if close:
            return (f"'{_printable(str(wrong))}': " if number else "") + f"did you mean '{close[0]}'?"
        if not number and error["type"] == "extra_forbidden" and valid:
            return f"valid keys here: {', '.join(sorted(valid))}"
    return None


def _keys(section: type[BaseModel], parents: Sequence[int | str]) -> list[str]:
    """Return the keys that are valid at ``parents``, by the JSON schema of ``section``."""
    schema = section.model_json_schema()
    nodes = [schema]
    for part in parents:
        nodes = [child for node in nodes for child in _children(_resolved(node, schema), part, schema)]
    sections = [option for node in nodes for option in _options(_resolved(node, schema), schema)]
    return sorted({key for section in sections for key in section.get("properties", {})})


def _resolved(node: Any, schema: Any) -> Any:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def _options(node: Any, schema: Any) -> list[Any]:
    """Return the node, and what it may be in its place: a section that is optional is one, or null."""
    return [node, *(_resolved(option, schema) for option in (*node.get("anyOf", ()), *node.get("oneOf", ())))]


def _children(node: Any, part: int | str, schema: Any) -> list[Any]:
    options = _options(node, schema)[1:]
    tagged = [o for o in options if o.get("properties", {}).get("kind", {}).get("const") == part]
    if tagged:
        return tagged
    found = [child for option in options for child in _children(option, part, schema)]
    if isinstance(part, int):
        return found + [node["items"]] * ("items" in node)
    if part in node.get("properties", {}):
        return [*found, node["properties"][part]]
    extra = node.get("additionalProperties")
    return [*found, extra] if isinstance(extra, dict) else found
