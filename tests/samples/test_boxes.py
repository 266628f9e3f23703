"""Boxes of a Pascal VOC file against the pixels that they are of, and what tells that a made file is whole."""

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import rasterize

from quadrat.errors import SampleError
from quadrat.geo.vectors.features import read_features
from quadrat.samples.boxes import Boxes
from quadrat.samples.sample import Sample

PLACES: dict[str, tuple[str | None, Affine]] = {
    "a photo": (None, Affine.identity()),
    "a map": ("EPSG:32617", Affine(0.1, 0, 404211.9, 0, -0.1, 3285142.9)),
    "a rotated map": (
        "EPSG:32617",
        Affine.translation(404211.9, 3285142.9) @ Affine.rotation(30) @ Affine.scale(2, -2),
    ),
}


def voc(boxes: list[tuple[str, int, int, int, int]]) -> str:
    edges = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(edges, values, strict=True))
        + "</bndbox></object>"
        for name, *values in boxes
    ]
    return f"<annotation><filename>image.tif</filename>{''.join(objects)}</annotation>"


def write(folder: Path, annotation: str, place: str = "a photo", shape: tuple[int, int] = (40, 60)) -> Path:
    """Write an image, and the vector file of the boxes that ``annotation`` tells; return the latter."""
    folder.mkdir(exist_ok=True)
    crs, transform = PLACES[place]
    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(folder / "image.tif", "w", **profile, crs=crs, transform=transform) as image:
        image.write(np.zeros((1, *shape), np.uint8))
    with ZipFile(folder / "wheel.zip", "w") as wheel:
        wheel.writestr("image.xml", annotation)
    with ZipFile(folder / "wheel.zip") as wheel:
        MEMBER.write(wheel, folder)
    return folder / MEMBER.name


MEMBER = Boxes("boxes.gpkg", "image.xml", "image.tif")

ANNOTATION = voc([("Tree", 1, 1, 60, 40), ("Dead", 3, 5, 3, 6)])


@given(data=st.data(), place=st.sampled_from(sorted(PLACES)))
def test_a_box_covers_the_pixels_that_voc_means(
    data: st.DataObject, place: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first pixel is 1, and the last one belongs to the box."""
    height, width = 40, 60
    col, row = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(col, width - 1)), data.draw(st.integers(row, height - 1))
    painted = np.zeros((height, width), np.uint8)
    painted[row : bottom + 1, col : right + 1] = 1
    file = write(tmp_path_factory.mktemp("box"), voc([("Tree", col + 1, row + 1, right + 1, bottom + 1)]), place)
    crs, transform = PLACES[place]
    frame = read_features(str(file), None, SampleError, "test")
    assert (frame.crs and frame.crs.to_string(), frame["label"].tolist()) == (crs, ["Tree"])
    np.testing.assert_array_equal(rasterize(frame.geometry, painted.shape, transform=transform), painted)
    pixel = abs(transform.determinant)
    assert frame.area.item() == pytest.approx(painted.sum() * pixel, rel=1e-6)


def test_a_made_file_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name, ANNOTATION).read_bytes() for name in ("one", "other"))
    assert one == other


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Sample, Path]:
    """Return a sample of one made file, and the folder that holds it."""
    file = write(tmp_path / "sample", ANNOTATION)
    digest = sha256(f"{sha256(MEMBER.content(file.parent)).hexdigest()}\n".encode()).hexdigest()
    sample = Sample("tiny==1.0", "0" * 64, (MEMBER,), digest, "# Tiny\n")
    (file.parent / "README.md").write_bytes(sample.readme(file.parent))
    assert sample.whole(file.parent)
    return sample, file


def _say(statement: str) -> Callable[[Path], None]:
    def harm(file: Path) -> None:
        with sqlite3.connect(file) as database:
            database.execute(statement)
        database.close()

    return harm


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [_cut, _flip, Path.unlink, _say("DELETE FROM boxes WHERE fid = 2"), _say("VACUUM")],
    ids=["cut short", "a bit", "gone", "a box less", "packed"],
)
def test_a_changed_file_is_not_whole(sample: tuple[Sample, Path], harm: Callable[[Path], None]) -> None:
    whole, file = sample
    harm(file)
    assert not whole.whole(file.parent)


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: write(file.parent, voc([("Tree", 1, 1, 60, 40), ("Dead", 3, 5, 3, 7)])),
        lambda file: write(file.parent, voc([("Tree", 1, 1, 60, 40), ("Alive", 3, 5, 3, 6)])),
        lambda file: write(file.parent, voc([("Dead", 3, 5, 3, 6), ("Tree", 1, 1, 60, 40)])),
        lambda file: write(file.parent, ANNOTATION, "a map"),
        lambda file: file.write_bytes(b"no database"),
    ],
    ids=["another box", "another label", "another order", "another CRS", "no GeoPackage"],
)
def test_other_content_is_not_whole_whatever_the_readme_says(
    sample: tuple[Sample, Path], harm: Callable[[Path], None]
) -> None:
    whole, file = sample
    harm(file)
    (file.parent / "README.md").write_bytes(whole.readme(file.parent))
    assert not whole.whole(file.parent)


def test_the_same_content_in_other_bytes_is_whole(sample: tuple[Sample, Path]) -> None:
    """So it is when another version of GDAL makes the file."""
    whole, file = sample
    before = file.read_bytes()
    _say("UPDATE gpkg_contents SET last_change = '2026-01-01T00:00:00.000Z'")(file)
    assert file.read_bytes() != before
    (file.parent / "README.md").write_bytes(whole.readme(file.parent))
    assert whole.whole(file.parent)
