"""What is read with a catalog's files, and no clone would have, is an error; what changes nothing is none."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from quadrat.errors import AOIError, ImageError, LabelError, QuadratError
from quadrat.labels.labels import LabelSource
from quadrat.labels.raster import RasterLabels
from quadrat.labels.vector import VectorLabels
from quadrat.preflight.problems import unwatched
from quadrat.preflight.unversioned_files import left_out
from quadrat.scenes.companion_files import Belongings, meaning_beside
from quadrat.scenes.image import Image
from quadrat.scenes.scene import Scene
from tests.ground import NORTH_UP, UTM, image, pixel_box, write_areas, write_raster
from tests.project import ROOT

RAW = Path("data/raw/town")
PIXELS = np.full((1, 20, 20), 7, np.uint8)
LABELS = RasterLabels(kind="raster", path=str(RAW / "a.tif"), values="ids")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a project with quadrat's own rules of what git and DVC ignore, whose folder of data DVC has."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    for name in (".gitignore", ".dvcignore"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / ".dvc").mkdir()
    RAW.mkdir(parents=True)
    RAW.with_name("town.dvc").write_text("outs: []")
    write_raster(RAW / "a.tif", PIXELS)
    return tmp_path


def found(picture: Image, labels: LabelSource | None = None, *aoi: Path) -> list[QuadratError]:
    scene = Scene("s", "train", picture, (labels,) if labels else (), tuple(map(str, aoi)))
    return list(left_out([scene], Belongings()))


def beside(path: Path, **told: Any) -> Path:
    """Let GDAL write beside an image, or change, what it can't hold."""
    with rasterio.open(path, "r+") as file:
        for name, value in told.items():
            setattr(file, name, value)
    return path.with_name(f"{path.name}.aux.xml")


def jpeg2000(path: Path, **profile: Any) -> Path:
    about = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "dtype": "uint8", "count": 1}
    with rasterio.open(
        path, "w", height=20, width=20, **{"crs": UTM, "transform": NORTH_UP, **about, **profile}
    ) as file:
        file.write(PIXELS)
    return path


def test_nodata_that_stands_beside_an_image_is_an_error_until_dvc_has_it(project: Path) -> None:
    picture = jpeg2000(RAW / "a.jp2")
    sidecar = beside(picture, nodata=7)
    (error,) = found(image(picture))
    assert isinstance(error, ImageError)
    assert (error.scene, error.file) == ("s", sidecar)
    assert "holds nodata" in str(error.got)
    line = "!/data/raw/town/*.aux.xml"
    assert f"append the line {line} to .dvcignore" in str(error.hint)
    with (project / ".dvcignore").open("a") as file:
        file.write(f"{line}\n")
    assert found(image(picture)) == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("words", "content"),
    [
        ("CRS", "<SRS>EPSG:32634</SRS>"),
        ("transform", "<GeoTransform>330000, 10, 0, 5822040, 0, -10</GeoTransform>"),
        ("ground control points", '<GCPList><GCP Id="1" Pixel="0" Line="0" X="1" Y="2"/></GCPList>'),
        ("nodata", "<PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand>"),
        ("scale and offset", "<PAMRasterBand band='1'><Scale>0.1</Scale></PAMRasterBand>"),
        ("scale and offset", "<PAMRasterBand band='1'><Offset>5</Offset></PAMRasterBand>"),
        ("names of bands", "<PAMRasterBand band='1'><Description>red</Description></PAMRasterBand>"),
    ],
)
def test_each_thing_that_counts_is_told(words: str, content: str) -> None:
    with rasterio.open(RAW / "photo.png", "w", driver="PNG", height=20, width=20, count=1, dtype="uint8") as file:
        file.write(PIXELS)
    sidecar = RAW / "photo.png.aux.xml"
    sidecar.write_text(f"<PAMDataset>{content}</PAMDataset>")
    assert words in meaning_beside(sidecar)
    (error,) = found(image(RAW / "photo.png"))
    assert words in str(error.got)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "content",
    [
        "<MDI key='STATISTICS_MEAN'>7</MDI>",  # as GDAL writes it
        "<MDI key='STATISTICS_COVARIANCES'>1</MDI><MDI key='LAYER_TYPE'>athematic</MDI>",  # as ArcGIS does
    ],
)
def test_statistics_change_nothing_and_are_no_error(content: str) -> None:
    sidecar = RAW / "a.tif.aux.xml"
    histogram = "<Histograms><HistItem><HistMin>0</HistMin><HistMax>9</HistMax></HistItem></Histograms>"
    band = f"<PAMRasterBand band='1'>{histogram}<Metadata>{content}</Metadata></PAMRasterBand>"
    sidecar.write_text(f"<PAMDataset><Metadata domain='Esri'><MDI key='x'>y</MDI></Metadata>{band}</PAMDataset>")
    with rasterio.open(RAW / "a.tif") as file:
        assert str(sidecar) in file.files
    assert meaning_beside(sidecar) == []
    assert found(image(RAW / "a.tif"), LABELS) == []


@pytest.mark.usefixtures("project")
def test_what_gdal_writes_beside_an_image_that_others_refer_to_counts() -> None:
    inner = jpeg2000(RAW / "a.jp2")
    rasterio.shutil.copy(inner, RAW / "all.vrt", driver="VRT")
    beside(inner, nodata=7)
    assert [error.file for error in found(image(RAW / "all.vrt"))] == [RAW / "a.jp2.aux.xml"]


def test_labels_and_areas_have_files_beside_them_too(project: Path) -> None:
    labels, area = jpeg2000(RAW / "l.jp2"), write_areas(RAW / "aoi.shp", [pixel_box(0, 0, 9, 9)])
    beside(labels, nodata=7)
    with (project / ".dvcignore").open("a") as file:
        file.write("*.prj\n*.txt\n")
    (RAW / "aoi.txt").touch()
    errors = found(image(RAW / "a.tif"), RasterLabels(kind="raster", path=str(labels), values="ids"), area)
    assert [(type(one), one.file) for one in errors] == [
        (LabelError, RAW / "l.jp2.aux.xml"),
        (AOIError, RAW / "aoi.prj"),
    ]


def test_files_that_a_user_lets_dvc_ignore_are_an_error_where_gdal_reads_them(project: Path) -> None:
    with (project / ".dvcignore").open("a") as file:
        file.write("*.msk\n*.txt\n")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(RAW / "a.tif", "r+") as file:
        file.write_mask(np.zeros((20, 20), np.bool_))
    (RAW / "a.txt").write_text("notes")
    (error,) = found(image(RAW / "a.tif"))
    assert error.file == RAW / "a.tif.msk"
    assert "!/data/raw/town/*.msk" in str(error.hint)


@pytest.mark.usefixtures("project")
def test_edits_that_sqlite_has_not_written_yet_are_an_error() -> None:
    path = write_areas(RAW / "l.gpkg", [pixel_box(0, 0, 20, 20)], {"kind": ["wood"]})
    labels = VectorLabels(kind="vector", path=str(path), field="kind")
    for name in ("l.gpkg-wal", "l.gpkg-shm", "l.qmd"):
        (RAW / name).touch()
    assert found(image(RAW / "a.tif"), labels) == []
    (RAW / "l.gpkg-shm").write_text("an index")
    (RAW / "l.gpkg-wal").write_text("an edit")
    (error,) = found(image(RAW / "a.tif"), labels)
    assert error.file == RAW / "l.gpkg-wal"
    assert "close what has the file open" in str(error.hint)


@pytest.mark.parametrize("has", ["dvc", "git"])
def test_beside_a_file_that_is_versioned_alone(project: Path, has: str) -> None:
    RAW.with_name("town.dvc").unlink()
    (project / ".dvcignore").unlink()
    sidecar = beside(jpeg2000(RAW / "a.jp2"), nodata=7)
    (RAW / "a.tfw").touch()  # git doesn't ignore it, so its status tells of it
    if has == "dvc":
        (RAW / "a.jp2.dvc").touch()
        (project / RAW / ".gitignore").write_text("/a.jp2\n")
    (error,) = found(image(RAW / "a.jp2"))
    assert error.file == sidecar
    assert "`dvc add` it" in str(error.hint)
    if has == "dvc":
        (RAW / "a.jp2.aux.xml.dvc").touch()
    else:
        subprocess.run(["git", "add", "--force", str(sidecar)], check=True)
    assert found(image(RAW / "a.jp2")) == []


def test_what_nobody_versions_and_what_is_no_project_is_no_error(project: Path, tmp_path: Path) -> None:
    beside(jpeg2000(RAW / "a.jp2"), nodata=7)
    assert found(image(RAW / "a.jp2"))
    outside = tmp_path.parent / f"{tmp_path.name}-archive"
    outside.mkdir()
    beside(jpeg2000(outside / "a.jp2"), nodata=7)
    assert found(image(outside / "a.jp2")) == []  # that it lies outside is a warning
    (project / ".dvc").rmdir()
    assert found(image(RAW / "a.jp2")) == []


def test_what_a_file_refers_to_outside_is_a_warning_and_a_part_of_one_inside_is_none(project: Path) -> None:
    outside = write_raster(project / "other/b.tif", PIXELS)
    rasterio.shutil.copy(outside, RAW / "all.vrt", driver="VRT")
    (line,) = unwatched([str(RAW / "all.vrt"), f"GTIFF_DIR:1:{RAW / 'a.tif'}", str(RAW / "gone.tif")], [RAW])
    assert line.startswith(f"{outside} lies outside data/raw/town")
