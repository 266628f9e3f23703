"""Reads untrusted JSON and YAML in bounded time and memory: too large, too deep or endless files are errors."""

import json
import math
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

from quadrat.errors import QuadratError

MOST_BYTES = 64 << 20
"""Largest size of a file; a catalog of 100,000 scenes is smaller."""

MOST_NODES = 1_000_000
"""Most values of a YAML file, counting each alias."""

MOST_MARKS = 1 << 22
"""Most commas and opening brackets of a JSON file: STAC of 64 MiB has some 3 million."""

DEPTH = 100
"""Most levels of nested lists and sections."""

DIGITS = 400
"""Most characters of a number."""


def read_bytes(path: Path, error: type[QuadratError], most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file; raise ``error`` if it is missing, not a plain file, or larger than ``most`` bytes."""
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe or a device may never end
            raise error("this is no file", file=path, expected="a plain file", hint="check the path")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError as cause:
        raise error("the file is missing", file=path) from cause
    except OSError as cause:
        raise error("the file can't be read", file=path, got=cause) from cause
    if len(content) > most:
        raise error("the file is too large", file=path, expected=f"{most} bytes at most", hint="check the path")
    return content


def parsed(content: bytes, error: type[QuadratError], path: Path) -> Any:
    """Return ``content`` as JSON values: it is JSON if ``path`` ends in .json, else YAML 1.2, as DVC reads it.

    Raises ``error``, naming ``path``, for invalid files, duplicate keys, numbers out of range, endless aliases, and
    too many levels or values.
    """
    form, parse = ("JSON", _json) if path.suffix == ".json" else ("YAML", _yaml)
    try:
        return parse(content.decode("utf-8-sig"))
    except RecursionError as cause:
        raise error(f"the file isn't {form}", file=path, got="too many levels of lists and sections") from cause
    except (YAMLError, ValueError, OverflowError, TypeError, LookupError) as cause:
        text = str(cause)
        raise error(
            f"the file isn't {form}", file=path, got=text if len(text) <= 1000 else text[:1000] + " …"
        ) from cause


def as_json(text: str, *, constant: Callable[[str], float]) -> Any:
    """Return what ``text`` says, by the same rules; ``constant`` gives NaN and infinities, which JSON has not.

    Raises ValueError, or RecursionError.
    """
    if sum(map(text.count, ",[{")) > MOST_MARKS:
        raise ValueError(f"more than {MOST_MARKS} values")
    return json.loads(text, object_pairs_hook=_section, parse_int=_whole, parse_float=_float, parse_constant=constant)


def parser() -> YAML:
    """Return a YAML parser with these limits."""
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = DEPTH
    yaml.Composer = _Composer
    yaml.Constructor = _Constructor
    return yaml


def _yaml(text: str) -> Any:
    return parser().load(text)


def _json(text: str) -> Any:
    return as_json(text, constant=_float)


def _section(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    section = dict(pairs)
    if len(section) < len(pairs):
        seen = set[str]()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice")
    return section


def _whole(text: str) -> int:
    return int(_short(text))


def _float(text: str) -> float:
    value = float(_short(text))
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number that a file may hold")
    return value


def _short(text: str) -> str:
    if len(text) > DIGITS:
        raise ValueError(f"a number of {len(text)} characters")
    return text


class _Composer(Composer):
    """Counts values with aliases, which can grow without bound, and refuses aliases that contain themselves."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False
        self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_document(self) -> Any:
        self._count, self._sizes = 0, {}
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        alias, before = self.parser.check_event(AliasEvent), self._count
        mark = self.parser.peek_event().start_mark
        node = super().compose_node(parent, index)
        if not alias:
            self._count += 1
            self._sizes[id(node)] = self._count - before
        elif id(node) not in self._sizes:
            raise ComposerError(None, None, f"the alias '{node.anchor}' is part of what it names", mark)
        else:
            self._count += self._sizes[id(node)]
        if self._count > MOST_NODES:
            raise ComposerError(None, None, f"more than {MOST_NODES} values, with those of aliases", mark)
        return node


class _Constructor(SafeConstructor):
    """Reads dates as text, and refuses numbers with too many digits."""

    def construct_yaml_int(self, node: Any) -> int:
        return int(super().construct_yaml_int(self._short(node)))

    def construct_yaml_float(self, node: Any) -> float:
        return float(super().construct_yaml_float(self._short(node)))

    def _short(self, node: Any) -> Any:
        if len(self.construct_scalar(node)) > DIGITS:
            raise ConstructorError(None, None, f"a number of {len(node.value)} characters", node.start_mark)
        return node


for _tag, _construct in (
    ("timestamp", _Constructor.construct_yaml_str),
    ("int", _Constructor.construct_yaml_int),
    ("float", _Constructor.construct_yaml_float),
):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
