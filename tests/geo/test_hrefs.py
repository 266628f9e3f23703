"""Hrefs lead to the files that a browser would find, and to those that are called as they stand."""

from pathlib import Path

import numpy as np
import pytest

from quadrat.errors import ImageError
from quadrat.geo.sources.hrefs import resolved
from tests.geo.test_stac import item, of, written
from tests.ground import write_raster
from tests.http_server import served

HERE = "data/raw/items/a.json"
WEB = "https://example.org/v1/items/a.json?token=1"
BUCKET = "s3://bucket/a b%20c/a.json"


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("./red.tif", HERE, "data/raw/items/red.tif"),
        ("../red.tif", HERE, "data/raw/red.tif"),
        ("../../../out/./red.tif", HERE, "out/red.tif"),
        ("my%20red.tif", HERE, "data/raw/items/my red.tif"),
        ("red.tif?version=2#page", HERE, "data/raw/items/red.tif"),
        ("/mnt/red%C3%A9.tif", HERE, "/mnt/redé.tif"),
        ("red.tif", "a.json", "red.tif"),
        ("red.tif", "file:///mnt/my%20items/a.json", "/mnt/my items/red.tif"),
        ("file:///mnt/my%20red.tif", HERE, "/mnt/my red.tif"),
        ("FILE://localhost/mnt/red.tif", WEB, "/mnt/red.tif"),
        ("file:/mnt/red.tif", HERE, "/mnt/red.tif"),
        ("/vsizip/vsicurl/https://example.org/a.zip/red.tif", WEB, "/vsizip/vsicurl/https://example.org/a.zip/red.tif"),
        ("https://x.org/my%20red.tif?sig=a%2Fb#page", HERE, "https://x.org/my%20red.tif?sig=a%2Fb"),
        ("s3://other/red #1.tif", HERE, "s3://other/red #1.tif"),
        ("my%20red.tif", WEB, "https://example.org/v1/items/my%20red.tif"),
        ("my redé.tif?sig=a%2Fb~+=", WEB, "https://example.org/v1/items/my%20red%C3%A9.tif?sig=a%2Fb~+="),
        ("../red.tif?sig=1#page", WEB, "https://example.org/v1/red.tif?sig=1"),
        ("/red.tif", WEB, "https://example.org/red.tif"),
        ("//x.org/red.tif", WEB, "https://x.org/red.tif"),
        ("my%20red.tif", BUCKET, "s3://bucket/a b%20c/my red.tif"),
        ("../red.tif", BUCKET, "s3://bucket/red.tif"),
        ("/red.tif", BUCKET, "s3://bucket/red.tif"),
        ("red.tif", "gs://bucket/a.json", "gs://bucket/red.tif"),
    ],
)
def test_hrefs_are_resolved_as_addresses_are(href: str, base: str, expected: str) -> None:
    assert resolved(href, base) == expected


def test_a_file_that_is_called_as_the_href_stands_counts_first(tmp_path: Path) -> None:
    base = str(tmp_path / "a.json")
    (tmp_path / "sub").mkdir()
    for name in ("a b.tif", "a%20b.tif", "c d.tif", "e#1?.tif", "50%.tif", "sub/f.tif"):
        (tmp_path / name).touch()
    for href, name in (
        ("a%20b.tif", "a%20b.tif"),
        ("a b.tif", "a b.tif"),
        ("./c%20d.tif", "c d.tif"),
        (f"file://{tmp_path}/c d.tif", "c d.tif"),
        (f"file://{tmp_path}/c%20d.tif", "c d.tif"),
        ("e#1?.tif", "e#1?.tif"),
        ("e%231%3F.tif", "e#1?.tif"),
        ("50%.tif", "50%.tif"),
        ("sub\\f.tif", "sub/f.tif"),
    ):
        assert resolved(href, base) == (tmp_path / name).as_posix(), href


def test_blanks_and_queries_lead_to_the_pixels(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    write_raster(tmp_path / "my red.tif", pixels)
    for href in ("my red.tif", "./my%20red.tif", "my%20red.tif?v=1"):
        content = item("one", {"red": {"href": href, "unit": "DN"}})
        path = written(tmp_path / "item.json", content)
        with served(tmp_path) as web:
            for place in (path, f"file://{path}", f"{web.url}/item.json"):
                with of(place, "red").open(["red"]) as raster:
                    np.testing.assert_array_equal(raster.read(raster.grid.area).values, pixels)


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    for href, told in (("C:\\data\\red.tif", "red.tif"), ("file://host/red.tif", "//host/red.tif"), ("x:y", "x:y")):
        path = written(tmp_path / "item.json", item("one", {"red": {"href": href, "unit": "DN"}}))
        with pytest.raises(ImageError, match=rf"can't be opened(.|\n)*file: .*{told}"):
            of(path, "red").open(["red"])


def test_an_item_that_the_server_does_not_give(tmp_path: Path) -> None:
    written(tmp_path / "item.json", item("one", {"red": {"href": "red.tif", "unit": "DN"}}))
    with served(tmp_path, forbidden="item") as web, pytest.raises(ImageError, match=r"can't be read(.|\n)*item\.json"):
        of(f"{web.url}/item.json", "red").open(["red"])
