"""A bundle gives elsewhere what its project gives, by torch and by onnxruntime, and refuses what it can't judge."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import Resampling, reproject
from typer.testing import CliRunner

from quadrat import load
from quadrat.bundle.loading import read_bundle
from quadrat.cli import app
from quadrat.errors import BundleError, BusyError, ImageError, ModelError, ParamsError
from quadrat.models import Model
from quadrat.models.common.bundle_zip import write_bundle
from quadrat.runtime.formats.npy import as_npy
from quadrat.runtime.parallel import Threads
from quadrat.serving import ready
from quadrat.serving.apply import apply, verify
from quadrat.serving.new_images import Reading, offered
from quadrat.serving.ready import Plan, Ready
from tests.bundling import FOREST, NETWORK, SECTIONS, TASK, packed, prepared
from tests.ground import BANDS, NORTH_UP, kept, write_raster
from tests.stage_calls import predict

ONNX = Plan("onnx")
BESIDE = {"labels.tif", "labels.tif.aux.xml", "labels.qml"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("forest"), FOREST)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("network"), NETWORK)


def built(root: Path, model: Model) -> Path:
    prepared(root, model)
    packed(root, model)
    about = {"task": TASK, "bands": BANDS, "baseline": None, "predict": SECTIONS["predict"]}
    how = {"batch": 4, "executor": Threads(1), "pins": root / "pins.json", **kept(root, "prediction")}
    paths = {"model_folder": root / "model", "baseline_folder": root / "none", "predictions": root / "predictions"}
    predict(scenes=root / "scenes.yaml", **about, **paths, **how)
    return root


def run(project: Path, *images: Path | str, out: Path, plan: Plan = ONNX, **reading: Any) -> None:
    apply(project / "bundle.zip", [str(image) for image in images], out, Reading(**reading), plan)


def pixels(project: Path) -> np.ndarray:
    with rasterio.open(project / "image.tif") as file:
        return file.read()


def written(path: Path, values: np.ndarray, bands: tuple[str | None, ...] = BANDS, **tags: Any) -> Path:
    about = {name: tags.pop(name) for name in ("scales", "offsets") if name in tags}
    write_raster(path, values, **tags)
    with rasterio.open(path, "r+") as file:
        file.descriptions = bands
        for name, value in about.items():
            setattr(file, name, value)
    return path


def layer(folder: Path, name: str = "labels") -> np.ndarray:
    with rasterio.open(folder / f"{name}.tif") as file:
        return file.read()


def assert_as_predicted(project: Path, folder: Path) -> None:
    expected = project / "predictions" / "all"
    assert {p.name for p in folder.iterdir()} == {p.name for p in expected.iterdir()}
    for name in ("labels", "scores"):
        np.testing.assert_array_equal(layer(folder, name), layer(expected, name))
    mine, theirs = (geopandas.read_parquet(f / "polygons.parquet") for f in (folder, expected))
    assert len(mine) > 20
    assert mine["class"].tolist() == theirs["class"].tolist()
    assert mine.geometry.geom_equals(theirs.geometry).all()


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_bundle_gives_what_predict_gives(project: Path, tmp_path: Path, runtime: Any) -> None:
    image = written(tmp_path / "new.tif", pixels(project), nodata=0)
    run(project, image, out=tmp_path / "out", plan=Plan(runtime))
    assert_as_predicted(project, tmp_path / "out" / "new")


def test_run_as_predict_runs_it_a_network_gives_the_same(network: Path, tmp_path: Path) -> None:
    image = written(tmp_path / "new.tif", pixels(network), nodata=0)
    run(network, image, out=tmp_path / "out", plan=Plan())
    for name in ("labels", "scores"):
        expected = layer(network / "predictions" / "all", name)
        np.testing.assert_array_equal(layer(tmp_path / "out" / "new", name), expected)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_networks_bundle_gives_what_predict_gives(network: Path, tmp_path: Path, runtime: Any) -> None:
    image = written(tmp_path / "new.tif", pixels(network), nodata=0)
    run(network, image, out=tmp_path / "out", plan=Plan(runtime))
    expected = layer(network / "predictions" / "all", "scores").astype(int)
    found = layer(tmp_path / "out" / "new", "scores").astype(int)
    assert abs(found - expected).max() <= 1  # a step of the stored scores
    alike = layer(tmp_path / "out" / "new") == layer(network / "predictions" / "all")
    assert alike.mean() > 0.999  # random weights: scores tie here and there


def test_bands_are_taken_by_name(project: Path, tmp_path: Path) -> None:
    values = pixels(project)
    more = np.stack([values[2], values[0] * 0, values[1], values[0]])
    run(
        project,
        written(tmp_path / "described.tif", more, ("B3", None, "B2", "B1"), nodata=0),
        written(tmp_path / "again.tif", values, nodata=0),
        out=tmp_path / "out",
    )
    run(
        project,
        written(tmp_path / "named.tif", more, (None, None, "wrong", None), nodata=0),
        out=tmp_path / "out",
        bands=("B3", "x", "B2", "B1"),
    )
    for name in ("described", "again", "named"):
        assert_as_predicted(project, tmp_path / "out" / name)


def test_bands_may_lie_in_files_of_their_own(project: Path, tmp_path: Path) -> None:
    for band, values in zip(BANDS, pixels(project), strict=True):
        write_raster(tmp_path / f"T33_{band}_x.tif", values[None], nodata=0)
    run(project, tmp_path / "T33_{band}_x.tif", out=tmp_path / "out")
    assert_as_predicted(project, tmp_path / "out" / "T33__x")


def test_files_of_coarser_bands_are_interpolated_to_the_finest_ones_pixels(project: Path, tmp_path: Path) -> None:
    fine = pixels(project)
    write_raster(tmp_path / "a_B1.tif", fine[:1, ::2, ::2], NORTH_UP @ Affine.scale(2), nodata=0)
    for band, values in zip(BANDS[1:], fine[1:], strict=True):
        write_raster(tmp_path / f"a_{band}.tif", values[None], nodata=0)
    with rasterio.open(tmp_path / "a_B1.tif") as file:
        about = {"src_transform": file.transform, "src_crs": file.crs, "dst_transform": NORTH_UP, "dst_crs": file.crs}
        expected = fine.copy()
        reproject(file.read(1), expected[0], resampling=Resampling.bilinear, src_nodata=0, **about)
    run(project, tmp_path / "a_{band}.tif", written(tmp_path / "b.tif", expected, nodata=0), out=tmp_path / "out")
    found, wanted = (layer(tmp_path / "out" / name, "scores") for name in ("a", "b"))
    np.testing.assert_array_equal(found, wanted)
    assert (found != layer(project / "predictions" / "all", "scores")).any()


@pytest.mark.parametrize("way", ["nearest", "average"])
def test_files_of_other_pixels_are_resampled_as_the_training_images_were(
    project: Path, tmp_path: Path, way: Literal["nearest", "average"]
) -> None:
    """Averages and neighbours of pixels differ from what is interpolated between them."""
    fine, place = pixels(project), NORTH_UP @ Affine.translation(0.8, 0.8) @ Affine.scale(0.8)
    write_raster(tmp_path / "a_B1.tif", fine[:1], place, nodata=0)
    for band, values in zip(BANDS[1:], fine[1:], strict=True):
        write_raster(tmp_path / f"a_{band}.tif", values[None, :80, :140], NORTH_UP @ Affine.scale(0.79), nodata=0)
    inputs = read_bundle(project / "bundle.zip").card.inputs
    learnt = tuple(s.model_copy(update={"resampling": way if s.band == "B1" else None}) for s in inputs.statistics)
    inputs = replace(inputs, statistics=learnt)
    (one,) = offered(str(tmp_path / "a_{band}.tif"), inputs, Reading())
    with one.open(inputs) as scene, rasterio.open(tmp_path / "a_B1.tif") as file:
        found, expected = scene.raster.read(scene.grid.area).values[0], np.zeros(scene.grid.shape, np.uint16)
        about = {"src_transform": file.transform, "src_crs": file.crs, "src_nodata": 0}
        about |= {"dst_transform": scene.grid.transform, "dst_crs": file.crs, "tolerance": 1e-3}
        reproject(file.read(1), expected, resampling=Resampling[way], **about)
    assert (found > 0).mean() > 0.9
    np.testing.assert_array_equal(found, expected)


def test_a_catalog_gives_all_its_scenes(project: Path, tmp_path: Path) -> None:
    run(project, project / "scenes.yaml", out=tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"w", "m", "e", "all"}
    assert_as_predicted(project, tmp_path / "out" / "all")
    np.testing.assert_array_equal(layer(tmp_path / "out" / "m"), layer(project / "predictions" / "m"))
    with pytest.raises(ImageError, match="a catalog says itself"):
        run(project, project / "scenes.yaml", out=tmp_path / "out", scale=1.0)


def test_reflectance_is_brought_to_what_the_model_learnt_from(project: Path, tmp_path: Path) -> None:
    raw = pixels(project)
    reflectance = (raw * 1e-4).astype(np.float32)
    shifted = (raw + 1000).astype(np.uint16)
    tags = {"scales": (1e-4,) * 3, "offsets": (-0.1,) * 3}
    run(project, written(tmp_path / "shifted.tif", shifted, **tags, nodata=1000), out=tmp_path / "out")
    run(project, written(tmp_path / "given.tif", reflectance, nodata=0), out=tmp_path / "out", scale=1.0)
    halves = (reflectance / np.array([0.5, 1e-4, 0.25])[:, None, None]).astype(np.float32)
    tags = {"scales": (0.5, 1e-4, 0.25), "offsets": (0.0,) * 3}
    run(project, written(tmp_path / "mixed.tif", halves, **tags, nodata=0), out=tmp_path / "out")
    for name in ("shifted", "given", "mixed"):
        assert_as_predicted(project, tmp_path / "out" / name)


def test_several_threads_and_images_at_once_as_for_a_gpu_give_the_same(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ready, "images_at_once", 3)
    monkeypatch.setattr(Ready, "_readers", 4)
    values = pixels(project).astype(np.float32) / 1e4
    images = [written(tmp_path / f"{name}.tif", values, nodata=0, blockysize=16) for name in "abcde"]
    run(project, *images, out=tmp_path / "out", scale=1.0, offset=0.0)
    for image in images:
        assert_as_predicted(project, tmp_path / "out" / image.stem)


def test_values_in_another_unit_stop_before_anything_is_written(project: Path, tmp_path: Path) -> None:
    raw = pixels(project)
    images = {
        "reflectance": (raw * 1e-4).astype(np.float32),
        "bytes": (raw / 25).astype(np.uint8),
        "large": raw.astype(np.float32) * 30,
        "one": np.stack([raw[0], raw[1], raw[2] * 10]).astype(np.uint16),
    }
    good = written(tmp_path / "good.tif", raw, nodata=0)
    for name, values in images.items():
        with pytest.raises(ImageError, match="unlike all that the model learnt from") as error:
            run(project, good, written(tmp_path / f"{name}.tif", values), out=tmp_path / "out")
        told = str(error.value)
        assert f"scene: {name}" in told
        assert {"one": "band B3", "bytes": "band B2"}.get(name, "band B1") in told
        assert "--scale" in told and "expected: " in told and "got: " in told  # noqa: PT018 one thing: what to do
        assert not (tmp_path / "out").exists()
    run(project, tmp_path / "large.tif", out=tmp_path / "out", unchecked=True)
    assert (tmp_path / "out" / "large" / "labels.tif").exists()


def test_an_image_without_values_is_warned_of(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, written(tmp_path / "a.tif", pixels(project) * 0), out=tmp_path / "out")
    assert "warning: a: no value was seen in B1, B2, B3" in capsys.readouterr().err
    assert (layer(tmp_path / "out" / "a") == 255).all()


def test_an_image_of_another_season_stops_nothing(project: Path, tmp_path: Path) -> None:
    raw = pixels(project).astype(float)
    for name, values in (("brighter", raw * 1.8), ("darker", raw * 0.6), ("flat", np.full_like(raw, 900))):
        run(project, written(tmp_path / f"{name}.tif", values.astype(np.uint16)), out=tmp_path / "out")


def test_another_pixel_size_is_warned_of(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = written(tmp_path / "wide.tif", pixels(project), transform=NORTH_UP @ Affine.scale(1.3))
    run(project, written(tmp_path / "alike.tif", pixels(project)), out=tmp_path / "out")
    assert "warning" not in capsys.readouterr().err
    run(project, wide, out=tmp_path / "out")
    assert "wide has pixels of 13 m, the model learnt from 10 m" in capsys.readouterr().err


def test_pixel_sizes_are_compared_on_the_ground(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mercator = Affine(16.5, 0, 1.39e6, 0, -16.5, 6.9e6)  # 10 m at 52.6°
    run(project, written(tmp_path / "a.tif", pixels(project), transform=mercator, crs="EPSG:3857"), out=tmp_path / "o")
    assert "warning" not in capsys.readouterr().err
    north = Affine(10, 0, 1.39e6, 0, -10, 6.9e6)
    run(project, written(tmp_path / "b.tif", pixels(project), transform=north, crs="EPSG:3857"), out=tmp_path / "o")
    assert "b has pixels of 6.09 m, the model learnt from 10 m" in capsys.readouterr().err


def test_an_image_is_brought_to_the_pixels_of_the_model(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = NORTH_UP @ Affine.scale(0.4)
    raw = np.kron(pixels(project), np.ones((1, 2, 2), np.uint16))
    coarse = np.zeros((3, round(raw.shape[1] * 0.4), round(raw.shape[2] * 0.4)), np.uint16)
    places = {"src_transform": fine, "dst_transform": NORTH_UP, "src_crs": "EPSG:32633", "dst_crs": "EPSG:32633"}
    reproject(raw, coarse, **places, resampling=Resampling.bilinear, src_nodata=0, dst_nodata=0)
    run(project, written(tmp_path / "coarse.tif", coarse), out=tmp_path / "out")
    run(project, written(tmp_path / "fine.tif", raw, transform=fine), out=tmp_path / "out", resolution="model")
    assert "warning" not in capsys.readouterr().err
    assert (layer(tmp_path / "out" / "fine") == layer(tmp_path / "out" / "coarse")).mean() > 0.99
    run(project, tmp_path / "fine.tif", out=tmp_path / "by-hand", resolution=10.0)
    assert (
        layer(tmp_path / "by-hand" / "fine") == layer(tmp_path / "out" / "fine")
    ).mean() > 0.999  # UTM's m are longer


def test_what_has_no_crs_is_not_brought_to_the_pixels_of_the_model(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its pixels are 1 px long, as were those of the model's images without a CRS, whatever they show."""
    photo = written(tmp_path / "photo.tif", pixels(project), transform=Affine.identity(), crs=None)
    with pytest.raises(ImageError, match="the size of its pixels isn't known"):
        run(project, photo, out=tmp_path / "out", resolution="model")
    run(project, photo, out=tmp_path / "out", resolution=2.0)
    assert layer(tmp_path / "out" / "photo").shape[1:] == tuple(side // 2 for side in pixels(project).shape[1:])
    assert (
        "photo has no CRS, so the size of its pixels isn't known, the model learnt from 10 m" in capsys.readouterr().err
    )


def test_a_resolution_that_is_none_is_told(project: Path, tmp_path: Path) -> None:
    arguments = [str(project / "bundle.zip"), str(project / "image.tif"), "--out", "out", "--resolution", "-3"]
    assert "--resolution takes the side of a pixel" in refused(tmp_path, "apply", *arguments)


def test_bands_are_never_guessed(project: Path, tmp_path: Path) -> None:
    bare = written(tmp_path / "bare.tif", pixels(project), (None,) * 3)
    cases = [
        (bare, None, "doesn't say which band is which"),
        (bare, ("B1", "B2"), "must name each band"),
        (bare, ("B1", "B2", "B4"), "no band B3"),
        (bare, ("B1", "B2", "B2"), "several bands B2"),
        (written(tmp_path / "other.tif", pixels(project), ("B1", "B2", "b3")), None, "no band B3"),
        (tmp_path / "none.tif", None, "can't be opened"),
        (tmp_path / "none_{band}.tif", None, "can't be opened"),
        (tmp_path / "none_{band}.tif", BANDS, "the path names the bands"),
    ]
    for image, bands, problem in cases:
        with pytest.raises(ImageError, match=problem) as error:
            run(project, image, out=tmp_path / "out", bands=bands)
        assert error.value.file is not None
    write_raster(tmp_path / "two_B1.tif", pixels(project))
    with pytest.raises(ImageError, match="the file of a single band holds several"):
        run(project, tmp_path / "two_{band}.tif", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_catalog_in_another_unit_is_refused(project: Path, tmp_path: Path) -> None:
    catalog = json.loads((project / "scenes.yaml").read_text())
    catalog["images"]["i"]["sources"][0]["unit"] = "kelvin"
    (tmp_path / "scenes.yaml").write_text(json.dumps(catalog))
    with pytest.raises(ModelError, match="band B1 is in another unit"):
        run(project, tmp_path / "scenes.yaml", out=tmp_path / "out")


def test_an_image_cut_short_leaves_no_output(project: Path, tmp_path: Path) -> None:
    image = written(tmp_path / "cut.tif", pixels(project), nodata=0)
    whole = image.read_bytes()
    with rasterio.open(image) as file:  # the strips lie one after the other
        assert file.block_shapes[0][0] < 120
    image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError):
        run(project, image, out=tmp_path / "out", unchecked=True)
    assert not list((tmp_path / "out").glob("*"))


def test_no_folder_is_written_twice_and_none_that_holds_something_else(project: Path, tmp_path: Path) -> None:
    one, two = (written(tmp_path / side / "a.tif", pixels(project), nodata=0) for side in ("x", "y"))
    with pytest.raises(ImageError, match="two images would be written to one folder"):
        run(project, one, two, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run(project, one, out=tmp_path / "out")
    run(project, one, out=tmp_path / "out")  # an earlier output is replaced
    (tmp_path / "out" / "a" / "notes.txt").write_text("mine")
    with pytest.raises(ImageError, match="holds other files") as error:
        run(project, one, out=tmp_path / "out")
    assert error.value.got == "notes.txt"
    assert (tmp_path / "out" / "a" / "notes.txt").read_text() == "mine"


def test_a_second_writer_of_the_same_folder_is_refused_by_name(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, out, first = written(tmp_path / "new.tif", pixels(project), nodata=0), tmp_path / "out", ready.predict_scene
    others = [
        lambda: run(project, image, out=out),
        lambda: run(project, written(tmp_path / "b.tif", pixels(project)), out=out),
        lambda: load(project / "bundle.zip", runtime="onnx").predict(image, out),
    ]

    def meanwhile(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(ready, "predict_scene", first)
        for other in others:
            with pytest.raises(BusyError, match=rf"another command writes to {out}(.|\n)*process {os.getpid()} on "):
                other()
        first(*arguments, **options)

    monkeypatch.setattr(ready, "predict_scene", meanwhile)
    run(project, image, out=out)
    assert_as_predicted(project, out / "new")
    assert [file.name for file in out.iterdir()] == ["new"]


def test_a_name_that_leaves_no_room_for_temporary_names_is_refused(project: Path, tmp_path: Path) -> None:
    image = tmp_path / f"{'ü' * 123}.tif"  # of two bytes each
    shutil.copy(project / "image.tif", image)
    with pytest.raises(ImageError, match=r"too long for the folder(.|\n)*most 244 bytes(.|\n)*246 bytes(.|\n)*rename"):
        run(project, image, out=tmp_path / "out", bands=BANDS)


def test_a_link_in_the_place_of_layers_stays(project: Path, tmp_path: Path) -> None:
    image = written(tmp_path / "new.tif", pixels(project), nodata=0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/new").symlink_to(tmp_path / "out")
    with pytest.raises(ImageError, match="holds other files"):
        run(project, image, out=tmp_path / "out")
    assert (tmp_path / "out/new").is_symlink()


def test_an_image_in_its_own_output_folder_is_not_lost(project: Path, tmp_path: Path) -> None:
    image = written(tmp_path / "labels" / "labels.tif", pixels(project))
    before = image.read_bytes()
    with pytest.raises(ImageError, match="is in the folder that its layers replace"):
        run(project, image, out=tmp_path)
    assert image.read_bytes() == before


@pytest.mark.parametrize("name", ["../x.gpkg", "polygons.shp", "labels.tif"])
def test_polygons_are_a_file_of_the_folder_in_a_known_format(project: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ParamsError, match=r"polygons(.|\n)*\.parquet"):
        run(
            project,
            project / "image.tif",
            out=tmp_path / "out",
            plan=Plan("onnx", layers={"polygons": name}),
            bands=BANDS,
        )
    assert not (tmp_path / "out").exists()


def test_the_plan_can_be_changed(project: Path, tmp_path: Path) -> None:
    image = written(tmp_path / "a.tif", pixels(project), nodata=0)
    plan = Plan("onnx", size=48, stride=40, layers={"scores": False, "polygons": "areas.gpkg"})
    run(project, image, out=tmp_path / "out", plan=plan)
    assert {p.name for p in (tmp_path / "out" / "a").iterdir()} == {*BESIDE, "areas.gpkg"}
    run(project, image, out=tmp_path / "none", plan=Plan("onnx", layers={"polygons": None, "scores": False}))
    assert {p.name for p in (tmp_path / "none" / "a").iterdir()} == BESIDE
    with pytest.raises(ParamsError, match="leaves gaps"):
        run(project, image, out=tmp_path / "bad", plan=Plan("onnx", stride=65))
    assert not (tmp_path / "bad").exists()


def test_a_window_that_doesnt_fit_a_network_is_refused(network: Path, tmp_path: Path) -> None:
    image = written(tmp_path / "a.tif", pixels(network), nodata=0)
    with pytest.raises(ParamsError, match="window doesn't fit") as error:
        run(network, image, out=tmp_path / "bad", plan=Plan("onnx", size=80, stride=40))
    assert error.value.expected == "a multiple of 32 px"


def refused(cwd: Path, *arguments: str) -> str:
    """Return what the command line says, in this process, of what it does not do."""
    with contextlib.chdir(cwd):
        done = CliRunner(env={"COLUMNS": "120"}).invoke(app, arguments)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)  # no traceback
    return done.stderr


def quadrat(cwd: Path, *arguments: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, in a folder that is no project."""
    code = f"""
import sys, quadrat.cli
sys.argv = {["quadrat", *arguments]}
try:
    quadrat.cli.main()
finally:
    {script or "pass"}
"""
    source = str(Path(sys.modules["quadrat"].__path__[0]).parent)
    environment = {**os.environ, "PYTHONPATH": source, "COLUMNS": "120"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["project", "network"])
def test_onnxruntime_needs_no_torch(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    root: Path = request.getfixturevalue(kind)
    shutil.copy(root / "bundle.zip", tmp_path)
    written(tmp_path / "a.tif", pixels(root), nodata=0)
    heavy = "print(sorted({'torch', 'sklearn', 'timm', 'pytorch_lightning'} & set(sys.modules)))"
    done = quadrat(tmp_path, "apply", "bundle.zip", "a.tif", "--out", "out", "--runtime", "onnx", script=heavy)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert layer(tmp_path / "out" / "a").shape == (1, 120, 200)
    if kind == "project":
        assert_as_predicted(root, tmp_path / "out" / "a")


def test_the_command_line_takes_all_options(project: Path, tmp_path: Path) -> None:
    written(tmp_path / "a.tif", (pixels(project) * 1e-4).astype(np.float32), (None,) * 3)
    options = ["--bands", "B1, B2,B3", "--scale", "1", "--offset", "0", "--nodata", "0", "--batch", "3"]
    options += ["--layer", "scores=false"]
    options += ["--layer", "polygons=p.geojson", "--size", "64", "--stride", "32", "--runtime", "onnx"]
    done = quadrat(tmp_path, "apply", str(project / "bundle.zip"), "a.tif", "--out", "out", *options)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out" / "a").iterdir()} == {*BESIDE, "p.geojson", "p.qml"}
    np.testing.assert_array_equal(layer(tmp_path / "out" / "a"), layer(project / "predictions" / "all"))


def test_errors_are_reported_in_words(tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_text("no zip")
    for arguments in (("apply", "bundle.zip", "a.tif", "--out", "out"), ("verify", "bundle.zip")):
        assert refused(tmp_path, *arguments).startswith("BundleError: the file is not a bundle")
    assert {p.name for p in tmp_path.iterdir()} == {"bundle.zip"}


def test_a_file_system_that_refuses_is_told_in_words(project: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    arguments = [str(project / "bundle.zip"), str(project / "image.tif"), "--out", "out", "--runtime", "onnx"]
    assert "out" in refused(tmp_path, "apply", *arguments, "--bands", ",".join(BANDS))


def test_brackets_in_names_are_no_markup(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "[bold] a [" / "] b"
    folder.mkdir(parents=True)
    shutil.copy(project / "bundle.zip", folder / "[red].zip")
    verify(folder / "[red].zip")
    assert "[red].zip" in capsys.readouterr().err


def test_a_whole_bundle_is_verified_by_both_runtimes(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(network / "bundle.zip")
    told = capsys.readouterr().err
    for runtime in ("torch", "onnx"):
        assert re.search(rf"{runtime} +│ [0-9.e-]+ +│ 1024 of 1024", told)


def with_scores(project: Path, path: Path, change: Any) -> Path:
    with zipfile.ZipFile(project / "bundle.zip") as file:
        content = {name: file.read(name) for name in file.namelist() if name != "SHA256SUMS"}
        with file.open("sample/scores.npy") as member:
            content["sample/scores.npy"] = as_npy(change(np.load(member)))
    write_bundle(path, content)
    return path


def test_outputs_that_differ_are_told(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(with_scores(project, tmp_path / "alike.zip", lambda scores: scores + np.float32(1e-5)))
    capsys.readouterr()
    for change in (lambda scores: scores + np.float32(0.01), lambda scores: scores[:, ::-1]):
        with pytest.raises(BundleError, match="not the expected ones") as error:
            verify(with_scores(project, tmp_path / "other.zip", change))
        assert "onnx: largest difference" in str(error.value.got)


def test_a_runtime_that_isnt_there_is_skipped(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    verify(network / "bundle.zip")
    assert "skipped: torch" in capsys.readouterr().err
    image = written(tmp_path / "a.tif", pixels(network), nodata=0)
    with pytest.raises(BundleError, match="needs a package") as error:
        run(network, image, out=tmp_path / "out", plan=Plan("torch"))
    assert error.value.expected == "torch"
    run(network, image, out=tmp_path / "default", plan=Plan())
    run(network, image, out=tmp_path / "onnx", plan=ONNX)
    np.testing.assert_array_equal(layer(tmp_path / "default/a"), layer(tmp_path / "onnx/a"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BundleError, match="no runtime is installed"):
        verify(network / "bundle.zip")
