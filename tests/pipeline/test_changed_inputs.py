"""An input that is changed while a stage runs is an error: what was made of it counts as nothing's result."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import rasterio.shutil

from quadrat.errors import InputError
from quadrat.runtime.cache.hashes import Hashes
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.scenes.scene import OpenScene, Scene
from quadrat.serving.apply import apply
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from tests.bundling import FOREST, packed, prepared, sections
from tests.ground import BANDS
from tests.pipeline.test_eval import run as evaluated
from tests.pipeline.test_eval import write_ground
from tests.pipeline.test_increments import TELLS, Ground, chipped, predicted
from tests.project import digests
from tests.stage_calls import analyze, train


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a model."""
    return prepared(tmp_path_factory.mktemp("world"), FOREST)


@pytest.fixture
def ground(tmp_path: Path, world: Path) -> Ground:
    """Return two scenes, a and b, and a model."""
    found = Ground(tmp_path / "ground")
    for name in ("model", "baseline"):
        shutil.copytree(world / "model", found.root / name)
    return found


@contextmanager
def while_open(scene: str, do: Callable[[], object]) -> Iterator[None]:
    """Do something when a scene has been opened, once."""
    plain, done = Scene.open, []

    @contextmanager
    def opening(self: Scene, *args: Any) -> Iterator[OpenScene]:
        with plain(self, *args) as opened:
            if self.id == scene and not done:
                done.append(do())
            yield opened

    with patch.object(Scene, "open", opening):
        yield
    assert done


def recorded(out: Path) -> set[str]:
    return {name.partition("/")[0] for name in json.loads((out / "manifest.json").read_text())} - {"."}


def as_before(file: Path, write: Callable[[], object]) -> None:
    """Write a file anew, with the size and the times of before."""
    old = file.stat()
    write()
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert file.stat().st_size == old.st_size


def other_pixels(file: Path) -> None:
    """Change the last pixels of an uncompressed image, in place."""
    with file.open("r+b") as image:
        image.seek(-64, os.SEEK_END)
        image.write(bytes(np.random.default_rng().integers(1, 9, 64, np.uint8)))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    shutil.copy(file, other)
    other_pixels(other)
    other.replace(file)


WAYS: dict[str, Callable[[Path], object]] = {
    "rewritten": lambda file: as_before(file, lambda: other_pixels(file)),
    "replaced": lambda file: as_before(file, lambda: replaced(file)),
    "touched": Path.touch,
    "removed": Path.unlink,
}
"""What happens to a file, two of them with the same size and time of writing."""


@pytest.mark.parametrize(("run", "way"), [*((chipped, way) for way in WAYS), (predicted, "rewritten")])
def test_a_scene_whose_image_is_changed_while_it_is_read_fails(
    run: Callable[..., list[str]], way: str, ground: Ground, tmp_path: Path
) -> None:
    image, out = ground.root / "a.tif", tmp_path / "out"
    before = image.read_bytes()
    said = r"changed while it was read\n  scene: a\n  file: .*a\.tif\n  expected: \d+ bytes.*\n  got: .*\n  hint: "
    with while_open("a", lambda: WAYS[way](image)), pytest.raises(InputError, match=said):
        run(ground, out)
    assert recorded(out) == {"b"}
    image.write_bytes(before)  # not even then is there a result of it
    assert run(ground, out) == ["a"]


def test_an_image_that_is_rewritten_while_its_pixels_are_predicted_is_predicted_again(
    ground: Ground, tmp_path: Path
) -> None:
    out, image = tmp_path / "out", ground.root / "a.tif"
    predicted(ground, out)
    old = digests(out / "predictions" / "a")
    ground.picture("a", 2)
    plain, strips = OpenScene.strips, []

    def reading(self: OpenScene, windows: Any) -> Iterator[Any]:
        for strip in plain(self, windows):
            if self.id == "a" and not strips:
                ground.picture("a", 3)
            strips.append(strip.window)
            yield strip

    with patch.object(OpenScene, "strips", reading), pytest.raises(InputError, match=f"scene: a\n  file: {image}"):
        predicted(ground, out)
    assert strips
    assert digests(out / "predictions" / "a") == old  # the layers of the first image are still whole
    assert predicted(ground, out) == ["a"]
    predicted(ground, tmp_path / "new" / "out")
    assert digests(out) == digests(tmp_path / "new" / "out")


def test_a_rewrite_between_two_runs_with_the_same_size_and_time_is_seen(ground: Ground, tmp_path: Path) -> None:
    image = ground.root / "a.tif"
    os.utime(image, (1e9, 1e9))
    with patch("quadrat.runtime.cache.hashes.SETTLED", -1):
        assert predicted(ground, tmp_path / "out") == ["a", "b"]
        assert predicted(ground, tmp_path / "out") == []
        as_before(image, lambda: other_pixels(image))
        assert predicted(ground, tmp_path / "out") == ["a"]


@pytest.mark.parametrize("run", [chipped, predicted])
def test_a_change_after_a_scene_is_finished_fails_the_stage_and_nothing_else(
    run: Callable[..., list[str]], ground: Ground, tmp_path: Path
) -> None:
    with patch("tests.pipeline.test_increments.Recorded.workers", 1):
        run(ground, tmp_path / "out")
        ground.picture("b", 4)
        with while_open("b", lambda: ground.picture("a", 5)), pytest.raises(InputError, match="scene: a"):
            run(ground, tmp_path / "out")
    assert recorded(tmp_path / "out") == {"a", "b"}
    assert run(ground, tmp_path / "out") == ["a"]


def in_archive(ground: Ground) -> Path:
    archive = ground.root / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(ground.root / "a.tif", "a.tif")
    named_instead(ground, f"/vsizip/{archive}/a.tif")
    return archive


def of_mosaic(ground: Ground) -> Path:
    rasterio.shutil.copy(ground.root / "a.tif", ground.root / "all.vrt", driver="VRT")
    named_instead(ground, str(ground.root / "all.vrt"))
    return ground.root / "a.tif"


def named_instead(ground: Ground, name: str) -> None:
    catalog = ground.root / "scenes.yaml"
    catalog.write_text(catalog.read_text().replace(str(ground.root / "a.tif"), name))


INPUTS: dict[str, Callable[[Ground], Path]] = {
    "label": lambda ground: ground.root / "labels/a.geojson",
    "catalog": lambda ground: ground.root / "scenes.yaml",
    "archive": in_archive,
    "source of a mosaic": of_mosaic,
}


@pytest.mark.parametrize("kind", INPUTS)
def test_all_that_chips_are_made_of_is_looked_at_again(kind: str, ground: Ground, tmp_path: Path) -> None:
    file = INPUTS[kind](ground)
    with while_open("a", file.touch), pytest.raises(InputError, match=f"file: {file}"):
        chipped(ground, tmp_path / "out")
    assert recorded(tmp_path / "out") == ({"a", "b"} if kind == "catalog" else {"b"})


@pytest.mark.parametrize("name", ["a.tfw", "a.tif.ovr", "a.tif.msk", "a.tif.aux.xml"])
def test_a_file_that_appears_beside_an_image_and_is_read_with_it_is_a_change(
    name: str, ground: Ground, tmp_path: Path
) -> None:
    beside = ground.root / name
    with (
        while_open("a", lambda: beside.write_text(TELLS if name.endswith("xml") else "1\n" * 6)),
        pytest.raises(InputError, match=rf"file: {beside}\n  expected: no such file\n  got: \d+ bytes"),
    ):
        predicted(ground, tmp_path / "out")
    assert recorded(tmp_path / "out") == {"b"}


def test_what_changes_no_content_is_no_change(ground: Ground, tmp_path: Path) -> None:
    image = ground.root / "a.tif"

    def harmless() -> None:
        (ground.root / "new.tif").write_bytes(image.read_bytes())  # of no scene
        (ground.root / "a.tif.aux.xml").write_text("<PAMDataset/>")  # statistics, as QGIS writes them
        (ground.root / "a.gpkg-wal").touch()
        (ground.root / "kept.tif").hardlink_to(image)  # a backup

    with while_open("a", harmless):
        assert predicted(ground, tmp_path / "out") == ["a", "b"]
    assert recorded(tmp_path / "out") == {"a", "b"}


def test_a_model_that_is_changed_while_it_predicts_is_an_error(ground: Ground, tmp_path: Path) -> None:
    weights = ground.root / "model/model.safetensors"
    with while_open("a", weights.touch), pytest.raises(InputError, match=f"file: {weights}"):
        predicted(ground, tmp_path / "out")
    assert "a" not in recorded(tmp_path / "out")


@pytest.mark.parametrize("name", ["image.tif", "w.geojson", "scenes.yaml"])
def test_analyze_writes_nothing_of_inputs_that_change(name: str, world: Path, tmp_path: Path) -> None:
    outputs = {n: tmp_path / n for n in ("stats", "table", "warnings", "class_plot", "band_plot", "analyze_metrics")}
    given = {name: sections(world, FOREST)[name] for name in ("scenes", "raw", "aoi", "task", "bands", "analyze")}
    with while_open("w", (world / name).touch), pytest.raises(InputError, match=f"file: .*{name}"):
        analyze(**given, **outputs)
    assert not [*tmp_path.iterdir()]


def test_train_writes_no_model_of_chips_that_change_and_resumes_from_nothing(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "chips", tmp_path / "chips")
    shard = next((tmp_path / "chips").glob("*/pixels-000.npy"))
    outputs = {name: tmp_path / name for name in ("model_folder", "baseline_folder", "train_metrics", "curves")}
    given = {name: sections(world, FOREST)[name] for name in ("seed", "task", "bands", "lr", "epochs", "batch_size")}
    given |= {"train": sections(world, FOREST)["train"], "model": FOREST, "baseline": None}
    given |= {"chips": tmp_path / "chips", "stats": world / "stats", "table": world / "table"}
    checkpoints, plain = tmp_path / "checkpoints", type(FOREST).fit
    (checkpoints / "one").mkdir(parents=True)

    def fit(self: Any, *args: Any) -> Any:
        fitted = plain(self, *args)
        as_before(shard, lambda: other_pixels(shard))
        return fitted

    with patch.object(type(FOREST), "fit", fit), pytest.raises(InputError, match=f"file: {shard}"):
        train(**given, **outputs, checkpoints=checkpoints, hashes=tmp_path / "hashes.json")
    assert not (tmp_path / "model_folder").exists()
    assert not checkpoints.exists()
    checkpoints.mkdir()

    def changed() -> None:
        raise InputError("the parameters were changed")

    with pytest.raises(InputError, match="parameters"):
        train(**given, **outputs, checkpoints=checkpoints, hashes=tmp_path / "hashes.json", check=changed)
    assert checkpoints.exists()  # of the parameters with which it began


@pytest.mark.parametrize("name", ["image.tif", "labels.gpkg", "predictions/e/labels.tif"])
def test_eval_scores_nothing_of_inputs_that_change(name: str, tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    with while_open("e", (tmp_path / name).touch), pytest.raises(InputError, match=f"file: .*{name}"):
        evaluated(tmp_path, catalog)
    assert not (tmp_path / "eval.json").exists()


def test_a_bundle_is_not_made_of_a_model_that_changes(world: Path, tmp_path: Path) -> None:
    weights = world / "model/model.safetensors"
    with (
        patch("quadrat.pipeline.bundle.readme", lambda *_: weights.touch() or ""),
        pytest.raises(InputError, match=f"file: {weights}"),
    ):
        packed(world, FOREST, tmp_path / "bundle.zip")
    assert not (tmp_path / "bundle.zip").exists()


def test_apply_writes_nothing_of_an_image_or_a_bundle_that_changes(world: Path, tmp_path: Path) -> None:
    bundle, image, out = packed(world, FOREST, tmp_path / "bundle.zip"), world / "image.tif", tmp_path / "out"
    reading, plan = Reading(BANDS), Plan()
    apply(bundle, [str(image)], out, reading, plan)
    before = digests(out)
    for file, doing in ((image, "quadrat.serving.ready.predict_scene"), (bundle, "quadrat.serving.ready.Ready.load")):
        with (
            patch(doing, lambda *_, touch=file.touch, **__: touch()),
            pytest.raises(InputError, match=f"file: {file}"),
        ):
            apply(bundle, [str(image)], out, reading, plan)
    assert digests(out) == before


def test_a_file_without_a_known_hash_is_changed_by_another_ctime_and_not_by_another_inode(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    found = Snapshot.of(tmp_path)
    (stamp,) = found.stamps.values()
    assert stamp is not None
    Snapshot({file: stamp._replace(inode=0)}).check()
    with pytest.raises(InputError):
        Snapshot({file: stamp._replace(changed=0)}).check()
    Snapshot({file: stamp._replace(changed=0)}, {file: Hashes(tmp_path / "none").of(file)}).check()
    with pytest.raises(InputError):
        Snapshot({file: stamp._replace(inode=0)}, {file: "xxh3:0"}).check()
