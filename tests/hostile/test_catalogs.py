"""Catalogs and STAC files that are endless, huge, or no files."""

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from quadrat.errors import CatalogError, ImageError
from quadrat.geo.sources.stac import read_items
from quadrat.scenes.catalog import read_catalog

DIGITS = "9" * 5000
LETTERS = "abcdefghi"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise(LETTERS)
)

CATALOGS: dict[str, bytes | str] = {
    "nothing": "",
    "a list": "[]",
    "a billion laughs": LAUGHS,
    "an anchor in itself": "images: &a {b: *a}",
    "an alias of nothing": "images: *a",
    "a tag of Python": "images: !!python/object/apply:os.system ['touch /tmp/a']",
    "a tag of its own": "images: !image {a: 1}",
    "a number of 5000 digits": f"images: {DIGITS}",
    "a hexadecimal number of 5000 digits": f"images: 0x{DIGITS}",
    "a float of 5000 digits": f"images: {DIGITS}.5",
    "100,000 lists in each other": "images: " + "[" * 100_000,
    "10,000 sections in each other": "{images: " * 10_000,
    "30,000 dashes": "images:\n " + "- " * 30_000,
    "a text of 65 MiB": b"images: " + b"x" * (65 << 20),
    "a key that stands twice": "images: {}\nimages: {}",
    "two documents": "images: {}\n---\nimages: {}",
    "UTF-16": "images: {}".encode("utf-16"),
    "bytes that are no text": b"images: \xff\xfe",
    "a zero byte": "images: \0",
    "2000 keys that are none": "\n".join(f"k{n}: 1" for n in range(2000)),
    "control characters": '"\\e[2J": 1',
}


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """Load no models: none are needed here."""


@pytest.mark.parametrize("content", CATALOGS.values(), ids=CATALOGS)
def test_a_catalog_that_is_none_is_one_error(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "scenes.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(CatalogError) as caught:
        read_catalog(path)
    assert "scenes.yaml" in str(caught.value)
    assert len(str(caught.value)) < 10_000
    assert "\x1b" not in str(caught.value)


ITEM = {"type": "Feature", "id": "a", "properties": {}, "assets": {}}
ITEMS: dict[str, bytes] = {
    "nothing": b"",
    "half a file": json.dumps(ITEM).encode()[:20],
    "100,000 lists in each other": b"[" * 100_000,
    "100,000 objects in each other": b'{"a":' * 100_000,
    "a number of 5000 digits": b'{"type": "Feature", "id": ' + DIGITS.encode() + b"}",
    "30 million values": b'{"type": "Feature", "x": [' + b"[]," * (15 << 20) + b"0]}",
    "a key that stands twice, of 300,000": (
        b"{" + b",".join(b'"%d": 1' % number for number in range(300_000)) + b', "299999": 1}'
    ),
    "65 MiB": b'{"type": "' + b"x" * (65 << 20) + b'"}',
    "UTF-16": json.dumps(ITEM).encode("utf-16"),
    "bytes that are no text": b'{"type": "\xff\xfe"}',
    "null": b"null",
    "no items": b'{"type": "FeatureCollection", "features": []}',
    "items that are texts": b'{"type": "FeatureCollection", "features": ["a"]}',
    "a type that is a list": b'{"type": ["Feature"]}',
    "a long type": b'{"type": "' + b"x" * 1_000_000 + b'"}',
    "control characters": b'{"type": "\\u001b[2J"}',
}


@pytest.mark.parametrize("content", ITEMS.values(), ids=ITEMS)
def test_a_stac_file_that_is_none_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_items(str(tmp_path / "a.json"))
    assert "a.json" in str(caught.value)
    assert len(str(caught.value)) < 10_000
    assert "\x1b" not in str(caught.value)


def test_numbers_that_are_none_are_still_read_as_python_writes_them(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text(json.dumps({**ITEM, "properties": {"nodata": float("nan")}}))
    (item,) = read_items(str(tmp_path / "a.geojson"))
    assert item.properties["nodata"] != item.properties["nodata"]


def test_catalogs_and_stac_files_are_plain_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros", "."):
        with pytest.raises(CatalogError):
            read_catalog(tmp_path / name)
        with pytest.raises(ImageError):
            read_items(str(tmp_path / name))


@pytest.mark.parametrize("name", ["file:///etc/passwd", "simplecache::http://127.0.0.1:1/a", "sftp://127.0.0.1:1/a"])
def test_stac_files_of_other_places_are_not_asked_for(name: str) -> None:
    with pytest.raises(ImageError, match="STAC file can't be read"):
        read_items(name)
