"""Bundles whose JSON or YAML is endless, huge or wrong, or asks for windows that no machine has memory for."""

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quadrat.errors import BundleError, ParamsError, QuadratError
from quadrat.runtime.formats.parsing import parsed
from quadrat.runtime.formats.yaml import dumped, load
from quadrat.serving.apply import apply, verify
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from quadrat.team.trace import trace
from tests.bundle.test_loading import members
from tests.ground import write_raster
from tests.hostile.kit import BANDS, Content, carded, good, put, sealed

DIGITS = "9" * 5000
LETTERS = "abcdefghi"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise(LETTERS)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in pairwise(LETTERS)
)

CARDS: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"{",
    "YAML": b"format: 1",
    "100,000 lists in each other": b"[" * 100_000,
    "100,000 sections in each other": b'{"a":' * 100_000,
    "900 lists in each other": b"[" * 900 + b"]" * 900,
    "a number of 5000 digits": b'{"format": ' + DIGITS.encode() + b"}",
    "NaN": b'{"format": NaN}',
    "infinity": b'{"format": -Infinity}',
    "a number that is infinite": b'{"format": 1e999}',
    "a key that stands twice": b'{"format": 1, "format": 1}',
    "UTF-16": json.dumps({"format": 1}).encode("utf-16"),
    "bytes that are no text": b'{"format": "\xff\xfe"}',
    "half a character": b'{"format": "\\ud800"}',
    "null": b"null",
    "a list": b"[]",
    "a text": b'"model"',
    "a long key that is none": b'{"' + b"forma" * 400_000 + b'": 1}',
    "100,000 keys that are none": json.dumps(dict.fromkeys(map(str, range(100_000)), 1)).encode(),
    "600,000 empty lists": b"[" + b"[]," * 600_000 + b"[]]",
    "control characters": b'{"\\u001b[2J": 1}',
}


def refused(path: Path, member: str, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        verify(path)
    told = str(caught.value)
    assert f"{path.name}/{member}" in told
    assert len(told) < 10_000
    assert "\x1b" not in told
    assert not [word for word in words if word not in told], told


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_that_is_none_is_one_error(tmp_path: Path, card: bytes) -> None:
    refused(sealed(tmp_path / "bundle.zip", good("forest") | {"model.json": card}), "model.json")


KEYS: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "of another format": (("format",), 2),
    "of a format that is a text": (("format",), "1"),
    "with a key too many": (("hook",), "os.system"),
    "of a kind that there isn't": (("model", "kind"), "pickle"),
    "of a task that there isn't": (("task", "kind"), "exec"),
    "of a model of another task": (("model",), {"kind": "peaks", "bands": {"red": 1}, "smoothing": 1, "distance": 1}),
    "without bands": (("bands",), []),
    "with 100,000 bands": (("bands",), [{}] * 100_000),
    "with bands and statistics that differ": (("statistics", 0, "band"), "blue"),
    "with statistics that are no number": (("statistics", 0, "mean"), None),
    "with pixels of objects": (("bands", 0, "dtype"), "object"),
    "with pixels of a gigabyte": (("bands", 0, "dtype"), "V1000000000"),
    "of pixels of no size": (("gsd",), 0),
    "of chips of a negative size": (("size",), -1),
    "with a size of 400 digits": (("size",), -int("9" * 400)),
    "with 250,000 classes of no name": (("task", "classes"), [{}] * 250_000),
    "with 300 classes": (("task", "classes"), [{"name": f"{n}", "color": "#000000", "from": []} for n in range(300)]),
    "with classes of one name": (("task", "classes"), [{"name": "a", "color": "#000000", "from": []}] * 2),
    "with a colour that is none": (("task", "classes", 0, "color"), "#00000g\n"),
    "with a forest without trees": (("model", "trees"), 0),
    "with a billion trees": (("model", "trees"), 10**9),
    "with means over a million px": (("model", "radius"), 10**6),
    "with an origin that is none": (("origin",), {"made_by": "x"}),
}


@pytest.mark.parametrize("change", KEYS.values(), ids=KEYS)
def test_a_card_is_one_error(tmp_path: Path, change: tuple[tuple[str | int, ...], Any]) -> None:
    refused(sealed(tmp_path / "bundle.zip", carded(good("forest"), *change[0], value=change[1])), "model.json")


def test_names_of_a_class_are_compared_in_a_time_that_grows_with_their_number(tmp_path: Path) -> None:
    names = [f"{number}" for number in range(100_000)] * 2
    refused(
        sealed(tmp_path / "bundle.zip", carded(good("forest"), "task", "classes", 0, "from", value=names)),
        "model.json",
        "must differ",
    )


def test_a_card_with_a_byte_order_mark_is_still_the_card(tmp_path: Path) -> None:
    content = good("forest")
    verify(sealed(tmp_path / "bundle.zip", content | {"model.json": b"\xef\xbb\xbf" + content["model.json"]}))


PARAMS: dict[str, str | bytes] = {
    "a billion laughs": LAUGHS,
    "a million merges": MERGES,
    "a list in itself": "&a [*a]",
    "a section in itself": "a: &a {b: *a}",
    "a section merged into itself": "a: &a {<<: *a}",
    "an anchor given twice, the second in itself": "[&a 1, &a [*a]]",
    "an alias of nothing": "*nothing",
    "Python's os.system": "!!python/object/apply:os.system [touch outside]",
    "Python's objects": "!!python/object/new:object []",
    "a tag that is none": "!evil x",
    "a whole number of 5000 digits": f"lr: {DIGITS}",
    "a hexadecimal number of 5000 digits": f"lr: 0x{'f' * 5000}",
    "an octal number of 5000 digits": f"lr: 0o{'7' * 5000}",
    "a number in YAML 1.1's base 60": "%YAML 1.1\n---\nlr: " + "1:" * 3000 + "1",
    "a whole number that is none": "lr: !!int ''",
    "a truth that is none": "lr: !!bool x",
    "60,000 lists in each other": "[" * 60_000,
    "30,000 dashes": "- " * 30_000,
    "10,000 sections in each other": "{a: " * 10_000,
    "300 levels": "".join(f"{' ' * level}a:\n" for level in range(300)),
    "a key that stands twice": "lr: 1\nlr: 2",
    "a section as a key": "? {a: b}\n: 1",
    "two documents": "lr: 1\n---\nlr: 2",
    "another YAML": "%YAML 2.0\n---\nlr: 1",
    "a zero byte": "lr: \0",
    "UTF-16": "lr: 1".encode("utf-16"),
    "bytes that are no text": b"lr: \xff\xfe",
    "nothing": "",
    "a list": "[]",
    "a text": "lr",
    "a set": "!!set {lr}",
}


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_parameters_that_are_none_are_one_error(tmp_path: Path, params: str | bytes) -> None:
    content = params.encode() if isinstance(params, str) else params
    refused(sealed(tmp_path / "bundle.zip", good("forest") | {"params.yaml": content}), "params.yaml")


def test_anchors_that_are_used_as_they_are_meant_still_work(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: [x, y]}\none: {<<: *base, a: 2}\nagain: [*base, *base]\nday: 2020-01-01\n"
    base = {"a": 1, "b": ["x", "y"]}
    again = {"one": {**base, "a": 2}, "base": base, "again": [base, base], "day": "2020-01-01"}
    assert parsed(text.encode(), ParamsError, tmp_path / "params.yaml") == again


def image(folder: Path) -> Path:
    pixels = np.random.default_rng(1).integers(1, 999, (2, 40, 50)).astype(np.uint16)
    return write_raster(folder / "image.tif", pixels)


def applied(path: Path, **changed: Any) -> None:
    apply(path, [str(image(path.parent))], path.parent / "out", Reading(bands=BANDS, unchecked=True), Plan(**changed))


def predicting(kind: str, *keys: str, value: Any) -> Content:
    """Return a bundle with another value at ``keys`` of its section predict."""
    content = good(kind)
    params = parsed(content["params.yaml"], ParamsError, Path("params.yaml"))
    return content | {"params.yaml": dumped(put(params, ("predict", *keys), value))}


WINDOWS: dict[str, tuple[tuple[str, ...], Any]] = {
    "windows of 2^31 px": (("window_size",), 1 << 31),
    "windows of 400 digits": (("window_size",), int("9" * 300)),
    "windows of 8192 px": (("window_size",), 8192),
    "a stride of 1 on windows": (("stride",), 1),
    "no stride": (("stride",), 0),
    "a stride that leaves gaps": (("stride",), 65),
    "a negative window": (("window_size",), -64),
    "no layers": (("layers",), None),
    "layers of another task": (("layers",), {"kind": "chip_classification", "cells": "cells.gpkg"}),
    "a key that is none": (("layers", "hook"), "os.system"),
    "a file in another folder": (("layers", "polygons"), "../outside.gpkg"),
    "a file at the root": (("layers", "polygons"), "/tmp/outside.gpkg"),  # noqa: S108 (which is refused)
    "a file with a zero byte": (("layers", "polygons"), "a\0b.gpkg"),
    "a file with a name of 10,000 letters": (("layers", "polygons"), "a" * 10_000 + ".gpkg"),
    "a class that there isn't": (("layers", "polygon_classes"), ["c"]),
}


@pytest.mark.parametrize("change", WINDOWS.values(), ids=WINDOWS)
def test_windows_and_layers_that_can_not_be_are_one_error(tmp_path: Path, change: tuple[tuple[str, ...], Any]) -> None:
    path = sealed(tmp_path / "bundle.zip", predicting("forest", *change[0], value=change[1]))
    with pytest.raises(ParamsError) as caught:
        applied(path)
    assert "bundle.zip" in str(caught.value) or "the window doesn't fit" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_large_windows_and_small_strides_are_run_where_they_are_asked_for(tmp_path: Path) -> None:
    applied(sealed(tmp_path / "bundle.zip", predicting("forest", "window_size", value=1 << 31)), size=64)
    applied(sealed(tmp_path / "bundle.zip", predicting("forest", "stride", value=1)), stride=32)
    assert (tmp_path / "out/image/labels.tif").exists()


def test_numbers_of_any_size_in_layers_are_no_crash(tmp_path: Path) -> None:
    content = predicting("forest", "layers", "min_pixels", value=10**30)
    params = parsed(content["params.yaml"], ParamsError, Path("params.yaml"))
    params["predict"]["layers"] |= {"polygons": "polygons.gpkg", "max_hole_pixels": 10**30}
    applied(sealed(tmp_path / "bundle.zip", content | {"params.yaml": dumped(params)}))


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a/b", "a\\b", "a\0b", "", "x" * 300])
def test_a_bands_name_leads_to_no_other_folder(tmp_path: Path, name: str) -> None:
    content = good("forest")
    for place in ((("bands", 0, "name")), ("statistics", 0, "band")):
        content = carded(content, *place, value=name)
    path = sealed(tmp_path / "bundle.zip", content)
    with pytest.raises(QuadratError, match="a band's name can't be part of a file's"):
        apply(path, [str(tmp_path / "{band}.tif")], tmp_path / "out", Reading(), Plan())


PROVENANCE: dict[str, bytes] = {
    "100,000 lists in each other": b"[" * 100_000,
    "not JSON": b"no",
    "a list": b"[]",
    "a number of 5000 digits": DIGITS.encode(),
    "a chain of 300 parents": b'{"parent": ' * 300 + b"null" + b"}" * 300,
}


@pytest.mark.parametrize("text", PROVENANCE.values(), ids=PROVENANCE)
def test_a_provenance_that_is_none_is_no_traceback(tmp_path: Path, text: bytes) -> None:
    path = sealed(tmp_path / "bundle.zip", good("forest") | {"provenance.json": text})
    verify(path)
    with pytest.raises(QuadratError, match=r"bundle\.zip"):
        trace(path)
    with suppress(BundleError):  # a list of parents is JSON, and an origin of nobody's
        applied(path)


FOLDERS: dict[str, Callable[[Path], object]] = {
    "100,000 lists in each other": lambda path: path.write_bytes(b"[" * 100_000),
    "nothing": lambda path: path.write_bytes(b""),
    "a device that never ends": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("change", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_model_folder_is_read_with_the_same_care(tmp_path: Path, name: str, change: Callable[[Path], object]) -> None:
    from quadrat.errors import ModelError
    from quadrat.models.model_folder import read_model

    content = members(sealed(tmp_path / "bundle.zip", good("forest")))
    (tmp_path / "model").mkdir()
    for each in ("model.json", "model.safetensors"):
        (tmp_path / "model" / each).write_bytes(content[each])
    change(tmp_path / "model" / name)
    with pytest.raises(ModelError, match=name):
        read_model(tmp_path / "model")


def test_a_catalog_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    from quadrat.errors import CatalogError
    from quadrat.scenes.catalog import Catalog

    with (tmp_path / "scenes.yaml").open("wb") as file:
        file.truncate(1 << 40)  # no byte of it is on the disk
    with pytest.raises(CatalogError, match="too large"):
        load(tmp_path / "scenes.yaml", Catalog, CatalogError)
