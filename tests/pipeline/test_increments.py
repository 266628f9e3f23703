"""chip and predict make anew what changed, and nothing else; what comes of it is that of a run from nothing."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from quadrat.chips.store import open_chips
from quadrat.errors import ChipError, ImageError, OutputError, PinError
from quadrat.pipeline.chip import Chip
from quadrat.runtime.cache.hashes import PIECE, Hashes
from quadrat.runtime.cache.scene_cache import identity
from quadrat.runtime.parallel import Outcome, Processes, Threads
from quadrat.runtime.provenance.origin import installed
from quadrat.scenes.input_files import input_files
from quadrat.team.pin import index
from tests.bundling import FOREST, SECTIONS, prepared
from tests.ground import BANDS, KINDS, REFLECTANCE, pixel_box, segmentation, write_areas, write_raster
from tests.http_server import served
from tests.project import digests
from tests.stage_calls import chip, predict

TASK = segmentation(*KINDS)
SHAPE = (40, 56)
FILTER = {"min_valid_fraction": 0.5, "target_classes": None, "min_targets": 0, "negatives": None}
NAMES = ("a", "b", "c", "d")


TELLS = "<PAMDataset><PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>"
"""What GDAL reads beside an image: that a value is none."""


class KilledError(BaseException):
    """Stands for SIGKILL: what runs can do nothing more."""


@dataclass
class Named:
    """Stands for a scene, of which only the paths of its files count."""

    paths: Sequence[str]

    def files(self) -> Sequence[str]:
        return self.paths


def contents(paths: Sequence[str], hashes: Path, pinned: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the hashes of the files of these paths, and of those that belong to them."""
    scene: Any = Named(paths)
    return input_files([scene], Hashes(hashes), pinned)[0].contents


class Recorded:
    """Threads that tell which scenes they were given."""

    workers = 2

    def __init__(self) -> None:
        self.scenes: list[str] = []

    def threads_each(self, items: int) -> int:
        return Threads(2).threads_each(items)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Outcome[Any]]:
        return Threads(2).map(function, (self._seen(item) for item in items))

    def _seen(self, item: Any) -> Any:
        self.scenes.append(getattr(item, "scene", item).id)
        return item


class Ground:
    """A catalog of small scenes of one image each, and what may happen to it."""

    def __init__(self, root: Path, names: Sequence[str] = NAMES[:2]) -> None:
        self.root, self.names, self.stride, self.count = root, list(names), 16, 5
        root.mkdir()
        for name in names:
            self.picture(name, 1)
            self.label(name, 1)
        self.write()

    def picture(self, name: str, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(1, 3000, (3, *SHAPE), np.uint16)
        write_raster(self.root / f"{name}.tif", pixels, nodata=0, tiled=True, blockxsize=16, blockysize=16)

    def label(self, name: str, seed: int) -> None:
        right = 8 + 7 * seed % 40
        parts = [pixel_box(0, 0, right, 40), pixel_box(right, 0, 56, 20), pixel_box(right, 20, 56, 40)]
        path = self.root / "labels" / f"{name}.geojson"
        path.unlink(missing_ok=True)
        write_areas(path, parts, {"kind": list(KINDS)}, to_crs="EPSG:4326")

    def write(self) -> None:
        sources = {"bands": list(BANDS), "resampling": "nearest", **REFLECTANCE}
        images = {n: {"grid": "B1", "sources": [{"path": str(self.root / f"{n}.tif"), **sources}]} for n in self.names}
        labels = {
            n: {"kind": "vector", "path": str(self.root / "labels" / f"{n}.geojson"), "field": "kind"}
            for n in self.names
        }
        scenes = [{"id": n, "split": "validation", "image": n, "labels": n} for n in self.names]
        content = {"images": images, "labels": labels, "scenes": scenes}
        (self.root / "scenes.yaml").write_text(json.dumps(content))

    def happen(self, what: str, which: int, seed: int) -> None:
        name = self.names[which % len(self.names)]
        if what == "add" and len(self.names) < len(NAMES):
            new = next(n for n in NAMES if n not in self.names)
            self.names.insert(which % (len(self.names) + 1), new)
            self.picture(new, seed)
            self.label(new, seed)
        elif what == "remove" and len(self.names) > 1:
            self.names.remove(name)
        elif what == "picture":
            self.picture(name, seed)
        elif what == "label":
            self.label(name, seed)
        elif what == "touch":
            (self.root / f"{name}.tif").touch()
        elif what == "parameter":
            self.stride, self.count = 8 + 4 * (seed % 3), 4 + seed % 3
        self.write()


def chipped(ground: Ground, out: Path, **how: Any) -> list[str]:
    """Cut chips to ``out``, as ``how`` says of the run; return which scenes were cut."""
    table = ground.root / "table"
    table.touch()
    executor = Recorded()
    windows = {"kind": "random", "count": ground.count, "padding": 4}
    chip(
        scenes=ground.root / "scenes.yaml",
        seed=3,
        task=TASK,
        bands=BANDS,
        chip=Chip.model_validate({**FILTER, "windows": windows, "chip_size": ground.stride}),
        table=table,
        chips=out / "chips",
        chip_manifest=out / "manifest.json",
        hashes=out.with_name("hashes.json"),
        pins=ground.root / "pins.json",
        **{"executor": executor, **how},
    )
    return executor.scenes


def predicted(ground: Ground, out: Path, **how: Any) -> list[str]:
    """Predict to ``out``, as ``how`` says of the run; return which scenes were predicted."""
    executor = Recorded()
    predict(
        scenes=ground.root / "scenes.yaml",
        task=TASK,
        bands=BANDS,
        baseline=FOREST,
        predict=SECTIONS["predict"].model_copy(update={"window_size": 16, "stride": ground.stride}),
        model_folder=ground.root / "model",
        baseline_folder=ground.root / "baseline",
        predictions=out / "predictions",
        prediction_manifest=out / "manifest.json",
        hashes=out.with_name("hashes.json"),
        pins=ground.root / "pins.json",
        batch=4,
        **{"executor": executor, **how},
    )
    return executor.scenes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return folders of two forests that differ."""
    root = tmp_path_factory.mktemp("models")
    prepared(root / "one", FOREST)
    prepared(root / "two", FOREST.model_copy(update={"trees": 3}))
    return [root / "one" / "model", root / "two" / "model"]


def learn(ground: Ground, models: Sequence[Path], seed: int) -> None:
    """Lay a model and a baseline into the ground's folder: one of two each."""
    for name, which in (("model", seed % 2), ("baseline", seed // 2 % 2)):
        shutil.rmtree(ground.root / name, ignore_errors=True)
        shutil.copytree(models[which], ground.root / name)


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Let nothing happen to files any more from the step-th time on that one is renamed or removed."""
    steps = 0

    def dying(do: Callable[..., Any]) -> Callable[..., Any]:
        def step_on(*args: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps >= step:
                raise KilledError
            return do(*args, **options)

        return step_on

    with (
        patch.object(Path, "replace", dying(Path.replace)),
        patch.object(Path, "rename", dying(Path.rename)),
        patch.object(Path, "unlink", dying(Path.unlink)),
        patch.object(shutil, "rmtree", dying(shutil.rmtree)),
        suppress(KilledError),
    ):
        yield


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "picture", "label", "touch", "parameter", "model", "kill"]),
        st.integers(0, 3),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("run", [chipped, predicted])
@settings(max_examples=6)
@given(events=EVENTS)
def test_whatever_happens_all_is_as_if_made_from_nothing(
    run: Callable[..., list[str]], events: list[tuple[str, int, int]], models: list[Path], tmp_path_factory: Any
) -> None:
    root = tmp_path_factory.mktemp("increments")
    ground = Ground(root / "ground")
    learn(ground, models, 0)
    run(ground, root / "out")
    for what, which, seed in events:
        if what == "model":
            learn(ground, models, seed)
        elif what == "kill":
            ground.happen("picture", which, seed)
            ground.happen("parameter" if seed % 2 else "label", which, seed)
            with killed_at(1 + 3 * seed + which):
                run(ground, root / "out")
        else:
            ground.happen(what, which, seed)
    run(ground, root / "out")
    run(ground, root / "new" / "out")
    assert digests(root / "out") == digests(root / "new" / "out")
    assert run(ground, root / "out") == []
    shutil.rmtree(root)


@pytest.mark.parametrize("run", [chipped, predicted])
def test_the_same_bytes_whatever_works(run: Callable[..., list[str]], models: list[Path], tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground")
    learn(ground, models, 0)
    for kind in (Threads, Processes):
        with patch(f"{__name__}.Threads", lambda _, kind=kind: kind(1)):
            run(ground, tmp_path / kind.__name__)
    assert digests(tmp_path / "Threads") == digests(tmp_path / "Processes")


@pytest.mark.parametrize(
    ("what", "cut", "redone"),
    [("picture", ["b"], ["b"]), ("label", ["b"], []), ("touch", [], []), ("add", ["d"], ["d"]), ("remove", [], [])],
)
def test_what_changes_alone_is_made_anew(
    tmp_path: Path, models: list[Path], what: str, cut: list[str], redone: list[str]
) -> None:
    ground = Ground(tmp_path / "ground", NAMES[:3])
    learn(ground, models, 0)
    for run in (chipped, predicted):
        assert run(ground, tmp_path / run.__name__) == ["a", "b", "c"]
    ground.happen(what, 1, 5)
    assert chipped(ground, tmp_path / "chipped") == cut
    assert predicted(ground, tmp_path / "predicted") == redone
    assert chipped(ground, tmp_path / "chipped", force=True) == ground.names
    assert predicted(ground, tmp_path / "predicted", force=True) == ground.names


def test_the_baseline_stays_where_the_model_alone_has_changed(tmp_path: Path, models: list[Path]) -> None:
    ground = Ground(tmp_path / "ground", NAMES[:1])
    learn(ground, models, 0)
    predicted(ground, tmp_path / "out")
    labels = [tmp_path / "out/predictions/a" / place / "labels.tif" for place in ("", "baseline")]
    before = [path.stat().st_ino for path in labels]
    learn(ground, models, 1)
    assert predicted(ground, tmp_path / "out") == ["a"]
    after = [path.stat().st_ino for path in labels]
    assert after[1] == before[1]
    assert after[0] != before[0]


@pytest.mark.parametrize("harm", ["cut short", "changed", "removed", "added", "manifest lost", "manifest damaged"])
def test_what_was_changed_by_others_is_made_anew(tmp_path: Path, harm: str) -> None:
    ground = Ground(tmp_path / "ground")
    chipped(ground, tmp_path / "out")
    whole = digests(tmp_path / "out")
    pixels, manifest = tmp_path / "out/chips/a/pixels-000.npy", tmp_path / "out/manifest.json"
    if harm == "cut short":
        pixels.write_bytes(pixels.read_bytes()[:-8])
    elif harm == "changed":
        content = bytearray(pixels.read_bytes())
        content[-1] ^= 1
        pixels.write_bytes(content)
    elif harm == "removed":
        pixels.unlink()
    elif harm == "added":
        (pixels.parent / "pixels-001.npy").write_bytes(pixels.read_bytes())
    elif harm == "manifest lost":
        manifest.unlink()
    else:
        manifest.write_text("[1, 2")
    assert chipped(ground, tmp_path / "out") == (["a", "b"] if harm.startswith("manifest") else ["a"])
    assert digests(tmp_path / "out") == whole


@pytest.mark.parametrize("place", ["notes.txt", "mine/notes.txt", "a/notes.txt", "a/mine/labels.tif"])
@pytest.mark.parametrize("folder", ["chips", "predictions"])
def test_files_of_others_are_kept_and_named(tmp_path: Path, models: list[Path], folder: str, place: str) -> None:
    ground = Ground(tmp_path / "ground", NAMES[:1])
    learn(ground, models, 0)
    run, out = {"chips": chipped, "predictions": predicted}[folder], tmp_path / "out"
    run(ground, out)
    (out / folder / place).parent.mkdir(exist_ok=True)
    (out / folder / place).write_text("mine")
    for change in ("touch", "picture", "parameter"):
        ground.happen(change, 0, 7)
        with pytest.raises(OutputError, match=rf"file: {out / folder}\n(.|\n)*got: {place}\n(.|\n)*hint: move them"):
            run(ground, out)
    assert (out / folder / place).read_text() == "mine"


def test_what_programs_leave_beside_predictions_changes_nothing(tmp_path: Path, models: list[Path]) -> None:
    ground = Ground(tmp_path / "ground")
    learn(ground, models, 0)
    predicted(ground, tmp_path / "out")
    (tmp_path / "out/predictions/a/scores.tif.aux.xml").write_text("<PAMDataset/>")
    assert predicted(ground, tmp_path / "out") == []


def test_a_failing_scene_is_named_the_others_are_kept(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground", NAMES[:3])
    (ground.root / "b.tif").write_bytes((ground.root / "b.tif").read_bytes()[:2500])
    with pytest.raises(ImageError, match=r"scene: b"):
        chipped(ground, tmp_path / "out")
    with pytest.raises(ChipError, match="no complete chip store"):
        open_chips(tmp_path / "out/chips", "validation", TASK.columns, BANDS)
    ground.picture("b", 1)
    assert chipped(ground, tmp_path / "out") == ["b"]
    assert len(open_chips(tmp_path / "out/chips", "validation", TASK.columns, BANDS)) > 0


def test_without_a_scene_to_learn_from_there_are_no_chips(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground")
    chipped(ground, tmp_path / "out")
    catalog = ground.root / "scenes.yaml"
    catalog.write_text(catalog.read_text().replace('"validation"', '"test"'))
    with pytest.raises(ChipError, match=r"no scene to learn from\n  file: .*scenes\.yaml(.|\n)*'train'"):
        chipped(ground, tmp_path / "out")


@pytest.mark.parametrize("library", ["rasterio", "timm", "segmentation-models-pytorch", "torchvision"])
def test_another_version_of_a_library_makes_all_anew(library: str) -> None:
    def newer(name: str) -> str:
        return version(name) + ".1" * (name == library)

    before = identity("quadrat.pipeline.predict", scene="a")
    with (
        patch("quadrat.runtime.provenance.origin.version", newer),
        patch("quadrat.runtime.cache.scene_cache.installed", installed.__wrapped__),
    ):
        assert identity("quadrat.pipeline.predict", scene="a") != before
    assert identity("quadrat.pipeline.predict", scene="a") == before


def test_no_file_is_read_twice_that_stands_as_it_stood(tmp_path: Path) -> None:
    file, memory = tmp_path / "file", tmp_path / "hashes.json"
    file.write_bytes(b"one")
    os.utime(file, (1e9, 1e9))
    hashes = Hashes(memory)
    with patch("quadrat.runtime.cache.hashes.SETTLED", -1):
        first = hashes.of(file)
    hashes.save()
    with patch("quadrat.runtime.cache.hashes.read", side_effect=AssertionError("read again")):
        assert Hashes(memory).of(file) == first
    file.write_bytes(b"two")
    hashes = Hashes(memory)
    assert hashes.of(file) != first
    file.write_bytes(b"six")  # at once, with the same size: perhaps at the same time, as file systems count
    assert hashes.of(file) == f"xxh3:{xxhash.xxh3_128_hexdigest(b'six')}"


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5])
def test_a_hash_is_that_of_all_that_a_file_holds(tmp_path: Path, size: int) -> None:
    content = np.random.default_rng(1).bytes(size)
    (tmp_path / "file").write_bytes(content)
    assert Hashes(tmp_path / "hashes.json").of(tmp_path / "file") == f"xxh3:{xxhash.xxh3_128_hexdigest(content)}"


def test_hashes_of_another_kind_are_forgotten(tmp_path: Path) -> None:
    file, memory = tmp_path / "file", tmp_path / "hashes.json"
    file.write_bytes(b"one")
    stat = file.stat()
    memory.write_text(json.dumps({str(file): [stat.st_size, stat.st_mtime_ns, stat.st_ino, "44778d82365e4af681c4"]}))
    assert Hashes(memory).of(file).startswith("xxh3:")


def test_to_a_file_belongs_what_readers_of_it_read(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground")
    rasterio.shutil.copy(ground.root / "a.tif", ground.root / "mosaic.vrt", driver="VRT")
    for name in ("a.tfw", "a_RPC.TXT", "other.tif"):
        (ground.root / name).touch()
    (ground.root / "a.tif.aux.xml").write_text(TELLS)
    zipped = ground.root / "labels.zip"
    with zipfile.ZipFile(zipped, "w") as file:
        file.write(ground.root / "labels/a.geojson", "a.geojson")
    paths = ["mosaic.vrt", "labels"]
    named = [*(str(ground.root / path) for path in paths), f"/vsizip/{zipped}/a.geojson", "s3://bucket/there.tif"]
    found = contents(named, tmp_path / "hashes.json", {"s3://bucket/there.tif": "etag x, 3 bytes"})
    assert found.pop("s3://bucket/there.tif") == "etag x, 3 bytes"
    names = {str(Path(path).relative_to(ground.root)) for path in found}
    beside = {"a.tif.aux.xml", "a.tfw", "a_RPC.TXT"}
    assert names == {"mosaic.vrt", "a.tif", "labels.zip", "labels/a.geojson", "labels/b.geojson"} | beside


def test_to_a_virtual_vector_file_belongs_what_it_names(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground")
    source = '<SrcDataSource relativeToVRT="1">labels/a.geojson</SrcDataSource>'
    (ground.root / "all.vrt").write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="a">{source}</OGRVRTLayer></OGRVRTDataSource>'
    )
    found = contents([str(ground.root / "all.vrt")], tmp_path / "hashes.json")
    assert {str(Path(path).relative_to(ground.root)) for path in found} == {"all.vrt", "labels/a.geojson"}


def test_a_virtual_vector_file_of_itself_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(".")
    named = "".join(f'<SrcDataSource relativeToVRT="1">{path}</SrcDataSource>' for path in ("a/../it.vrt", "b/it.vrt"))
    (tmp_path / "it.vrt").write_text(named)
    found = contents([str(tmp_path / "it.vrt")], tmp_path / "hashes.json")
    assert [Path(path).name for path in found] == ["it.vrt"]


def test_statistics_beside_an_image_change_nothing_and_what_else_is_told_there_does(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground")
    image, beside = ground.root / "a.tif", ground.root / "a.tif.aux.xml"

    def made_of() -> dict[str, str]:
        return contents([str(image)], tmp_path / "hashes.json")

    before = made_of()
    beside.write_text(
        "<PAMDataset><PAMRasterBand band='1'><Metadata><MDI key='STATISTICS_MEAN'>9</MDI></Metadata>"
        "</PAMRasterBand></PAMDataset>"
    )  # as QGIS does
    assert made_of() == before
    beside.write_text(TELLS)
    assert made_of().keys() - before.keys() == {beside.as_posix()}


@pytest.mark.parametrize("how", ["part", "mosaic of mosaics", "pixels called otherwise"])
def test_what_gdal_reads_of_an_image_belongs_to_it(tmp_path: Path, how: str) -> None:
    ground = Ground(tmp_path / "ground")
    tif, catalog = ground.root / "a.tif", ground.root / "scenes.yaml"
    if how == "part":
        name = f"GTIFF_DIR:1:{tif}"
    elif how == "mosaic of mosaics":
        rasterio.shutil.copy(tif, ground.root / "inner.vrt", driver="VRT")
        name = str(ground.root / "outer.vrt")
        rasterio.shutil.copy(ground.root / "inner.vrt", name, driver="VRT")
    else:
        name = str(ground.root / "PRODUCT.VRT")
        rasterio.shutil.copy(tif, name, driver="VRT")
    found = chipped(ground, tmp_path / "out")
    content = catalog.read_text().replace(str(tif), name)
    catalog.write_text(content)
    assert (found, chipped(ground, tmp_path / "out")) == (["a", "b"], ["a"])
    ground.picture("a", 9)
    catalog.write_text(content)
    assert chipped(ground, tmp_path / "out") == ["a"]


def test_nothing_elsewhere_is_asked_for_what_a_mosaic_of_it_is_made_of(tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground", NAMES[:1])
    mosaic = ground.root / "mosaic.vrt"
    rasterio.shutil.copy(ground.root / "a.tif", mosaic, driver="VRT")
    with served(ground.root) as web:
        elsewhere = f'relativeToVRT="0">/vsicurl/{web.url}/a.tif'
        mosaic.write_text(mosaic.read_text().replace('relativeToVRT="1">a.tif', elsewhere))
        found = contents([str(mosaic)], tmp_path / "hashes.json")
    assert web.asked == []
    assert [*found] == [mosaic.as_posix()]


def test_of_objects_elsewhere_the_pins_tell_what_changed(models: list[Path], tmp_path: Path) -> None:
    ground, out = Ground(tmp_path / "ground"), tmp_path / "out"
    learn(ground, models, 0)
    cut, shown = out / "cut", out / "shown"
    catalog, pins = ground.root / "scenes.yaml", ground.root / "pins.json"
    with served(ground.root) as web:
        for name in ground.names:
            catalog.write_text(catalog.read_text().replace(f"{ground.root}/{name}.tif", f"{web.url}/{name}.tif"))
        index(catalog, pins, write=True)
        assert (chipped(ground, cut), predicted(ground, shown)) == (["a", "b"], ["a", "b"])
        assert (chipped(ground, cut), predicted(ground, shown)) == ([], [])
        ground.picture("b", 9)
        for stage, folder in ((chipped, cut), (predicted, shown)):
            with pytest.raises(PinError, match=rf"another than is pinned\n  scene: b\n  file: {web.url}/b.tif"):
                stage(ground, folder)
        index(catalog, pins, write=True)
        assert (chipped(ground, cut), predicted(ground, shown)) == (["b"], ["b"])
        new = tmp_path / "new"
        chipped(ground, new / "cut")
        predicted(ground, new / "shown")
        for folder in ("cut/chips", "shown/predictions"):
            assert digests(out / folder) == digests(new / folder) != {}


def test_layers_are_those_of_the_split_that_a_scene_has_now(models: list[Path], tmp_path: Path) -> None:
    ground = Ground(tmp_path / "ground", ("a",))
    learn(ground, models, 1)
    halves = [pixel_box(0, 0, 28, 40), pixel_box(28, 0, 56, 40)]
    write_areas(ground.root / "aoi.geojson", halves, {"ml-aoi:split": ["validate", "test"]}, to_crs="EPSG:4326")
    catalog = ground.root / "scenes.yaml"
    content = json.loads(catalog.read_text())
    for split, cols in (("validation", slice(0, 28)), ("test", slice(28, 56))):
        content["scenes"][0] |= {"split": split, "aoi": str(ground.root / "aoi.geojson")}
        catalog.write_text(json.dumps(content))
        predicted(ground, tmp_path / "out", cache=str(tmp_path / "cache"))
        with rasterio.open(tmp_path / "out/predictions/a/labels.tif") as dataset:
            there = dataset.read(1) != 255
        assert there[:, cols].any()
        assert there.sum() == there[:, cols].sum()
