"""Images that are sent: the same results as by ``quadrat apply``, at once or by jobs."""

import errno
import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile
from starlette.testclient import TestClient

from quadrat.server.jobs.runner import FullError, Jobs, Runs, reason
from quadrat.server.limits import Limits
from quadrat.serving.apply import apply
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from tests.ground import NORTH_UP
from tests.project import until
from tests.server.conftest import serving

TIFF = {"content-type": "image/tiff"}


@pytest.fixture(scope="module")
def image(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an image whose file says which band is which."""
    path = tmp_path_factory.mktemp("sent") / "image.tif"
    with rasterio.open(project / "image.tif") as file:
        pixels, profile = file.read(), file.profile
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
        file.descriptions = ("B1", "B2", "B3")
        file.scales = [0.0001] * 3
    return path


@pytest.fixture(scope="module")
def written(project: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what ``quadrat apply`` writes."""
    out = tmp_path_factory.mktemp("out")
    layers = {"scores": True, "uncertainty": "margin", "polygons": "polygons.parquet"}
    apply(project / "bundle.zip", [str(image)], out, Reading(), Plan(layers=layers))
    return out / "image"


def pixels_of(content: bytes) -> np.ndarray:
    with MemoryFile(content) as memory, memory.open() as file:
        return np.asarray(file.read())


def frame_of(content: bytes, path: Path) -> geopandas.GeoDataFrame:
    path.write_bytes(content)
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, layer=0)


def test_a_zip_holds_what_apply_writes(client: TestClient, image: Path, written: Path) -> None:
    answer = client.post("/predict", content=image.read_bytes(), headers=TIFF)
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == sorted(file.name for file in written.iterdir())
        for file in written.glob("*.tif"):
            assert archive.read(file.name) == file.read_bytes()


@pytest.mark.parametrize("layer", ["labels", "scores", "uncertainty"])
def test_a_raster_is_a_cog_of_the_same_bytes(layer: str, client: TestClient, image: Path, written: Path) -> None:
    answer = client.post(f"/predict?f=tif&layer={layer}", content=image.read_bytes(), headers=TIFF)
    assert answer.headers["content-type"].startswith("image/tiff")
    np.testing.assert_array_equal(pixels_of(answer.content), pixels_of((written / f"{layer}.tif").read_bytes()))
    with MemoryFile(answer.content) as memory, memory.open() as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize(("form", "media"), [("geojson", "application/geo+json"), ("parquet", None), ("gpkg", None)])
def test_vectors_have_the_same_polygons(
    form: str, media: str | None, client: TestClient, image: Path, written: Path, tmp_path: Path
) -> None:
    asked = {"headers": {**TIFF, "accept": media}} if media else {"params": {"f": form}, "headers": TIFF}
    answer = client.post("/predict", content=image.read_bytes(), **asked)  # type: ignore[arg-type] # of either kind
    assert answer.status_code == 200, answer.text
    found = frame_of(answer.content, tmp_path / f"found.{form}")
    wanted = geopandas.read_parquet(written / "polygons.parquet")
    if form == "geojson":
        assert found.crs.to_epsg() == 4326
        found = found.to_crs(wanted.crs)
    assert len(found) == len(wanted) > 5
    assert found["class"].tolist() == wanted["class"].tolist()
    assert found.geometry.geom_equals_exact(wanted.geometry, 1e-3).all()


def test_a_form_names_the_result_after_its_file(client: TestClient, image: Path) -> None:
    sent = {"file": ("../../etc/My photo (1).tif", image.read_bytes())}
    answer = client.post("/predict?f=tif", files=sent)
    assert answer.status_code == 200, answer.text
    assert 'filename="labels.tif"' in answer.headers["content-disposition"]
    job = client.post("/predict", files=sent, headers={"prefer": "respond-async"})
    folder, asked = client.service.jobs.store.get(job.json()["jobID"])[0].folder, None  # type: ignore[attr-defined]
    asked = json.loads((folder / "request.json").read_text())
    assert (asked["file"], asked["id"]) == ("My-photo-1.tif", "My-photo-1")
    client.delete(job.headers["location"])


def test_nothing_of_direct_predictions_is_left(client: TestClient, image: Path) -> None:
    store = client.service.jobs.store  # type: ignore[attr-defined]
    before = {folder.name for folder in store._folder.iterdir()}
    assert client.post("/predict?f=tif", content=image.read_bytes(), headers=TIFF).status_code == 200
    assert client.post("/predict?f=tif", content=b"not an image", headers=TIFF).status_code == 422
    assert {folder.name for folder in store._folder.iterdir()} <= before


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"f": "tif", "layer": "nothing"}, 422, "labels, scores, uncertainty"),
        ({"f": "png"}, 422, "zip"),
        ({"bands": "B1,B2"}, 422, "name each band"),
        ({"bands": "B3,B2,B7"}, 422, "no band B1"),
        ({"scale": "0"}, 422, "scale"),
        ({"scale": "nan"}, 422, "finite"),
        ({"scale": "1000"}, 422, "unlike all"),
        ({"resolution": "-3"}, 422, "resolution"),
        ({"resolution": "0.0001"}, 422, "too many"),
    ],
)
def test_what_does_not_fit_is_said_so(
    query: dict[str, str], status: int, says: str, client: TestClient, image: Path
) -> None:
    answer = client.post("/predict", params=query, content=image.read_bytes(), headers=TIFF)
    assert answer.status_code == status, answer.text
    assert says in answer.text
    assert "Traceback" not in answer.text
    assert str(client.service.jobs.store._folder) not in answer.text  # type: ignore[attr-defined]


def test_a_full_disk_is_said_so(client: TestClient, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.open

    def full(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if "w" in mode and path.suffix == ".tif":
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    for sent in ({"content": image.read_bytes(), "headers": TIFF}, {"files": {"file": ("a.tif", image.read_bytes())}}):
        answer = client.post("/predict?f=tif", **sent)  # type: ignore[arg-type] # one of its two forms
        assert answer.status_code == 507, answer.text
        assert "no room" in answer.text


def sparse(path: Path, image: Path, shape: tuple[int, int]) -> bytes:
    """Return an image of few bytes that has values in its first block alone."""
    with rasterio.open(image) as file:
        profile, pixels = file.profile, file.read()[:, :1, :64]
    own = {"height": shape[0], "width": shape[1], "tiled": True, "blockxsize": 1024, "blockysize": 16}
    with rasterio.open(path, "w", **{**profile, **own}, sparse_ok=True, compress="deflate") as file:
        file.write(pixels, window=((0, 1), (0, 64)))
        file.descriptions, file.scales = ("B1", "B2", "B3"), [0.0001] * 3
    return path.read_bytes()


def test_narrow_images_count_by_their_windows(image: Path, client: TestClient, project: Path, tmp_path: Path) -> None:
    strip = sparse(tmp_path / "strip.tif", image, (1, 80_000))
    answer = client.post("/predict?f=tif&unchecked=true", content=strip, headers=TIFF)
    assert answer.status_code == 201, answer.text
    client.delete(answer.headers["location"])
    with serving(project, tmp_path, None, row=1 << 20) as small:
        answer = small.post("/predict?f=tif&unchecked=true", content=strip, headers=TIFF)
        assert answer.status_code == 422
        assert "MB in a row of windows" in answer.text


def test_an_image_in_another_unit_is_refused_and_one_of_other_pixels_is_a_warning(
    client: TestClient, image: Path, tmp_path: Path
) -> None:
    with rasterio.open(image) as file:
        pixels, profile = file.read(), file.profile
    for name, units, transform in (
        ("kelvin", "K", profile["transform"]),
        ("coarse", "Reflectance", NORTH_UP @ NORTH_UP.scale(3)),
    ):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **{**profile, "transform": transform}) as file:
            file.write(pixels)
            file.descriptions, file.scales, file.units = ("B1", "B2", "B3"), [0.0001] * 3, [units] * 3
    kelvin, coarse = ((tmp_path / f"{name}.tif").read_bytes() for name in ("kelvin", "coarse"))
    answer = client.post("/predict?f=tif", content=kelvin, headers=TIFF)
    assert answer.status_code == 422
    assert (answer.json()["detail"]["expected"], answer.json()["detail"]["got"]) == ("reflectance", "K")
    assert client.post("/predict?f=tif&scale=0.0001", content=kelvin, headers=TIFF).status_code == 200
    answer = client.post("/predict?f=tif", content=coarse, headers=TIFF)
    assert "pixels of 30 m" in answer.headers["x-quadrat-warning"]
    job = client.post("/predict?f=tif", content=coarse, headers={**TIFF, "Prefer": "respond-async"})
    assert "pixels of 30 m" in job.json()["warnings"][0]
    client.delete(job.headers["location"])


def ended(client: TestClient, location: str) -> dict[str, Any]:
    state: dict[str, Any] = {}

    def there() -> bool:
        state.update(client.get(location).json())
        return state["status"] in {"successful", "failed", "dismissed"}

    until(there, 60)
    return state


def test_a_large_image_becomes_a_job_with_the_same_result(
    project: Path, image: Path, written: Path, tmp_path: Path
) -> None:
    with serving(project, tmp_path, None, direct=100) as client:
        answer = client.post("/predict?f=tif", content=image.read_bytes(), headers=TIFF)
        assert answer.status_code == 201
        assert answer.json()["status"] in {"accepted", "running"}
        location = answer.headers["location"]
        assert client.get(f"{location}/results").status_code == 404
        state = ended(client, location)
        assert (state["status"], state["progress"], state["type"]) == ("successful", 100, "process"), state
        assert state["created"] <= state["started"] <= state["finished"]
        link = next(link for link in state["links"] if link["rel"].endswith("results"))
        found = client.get(link["href"])
        np.testing.assert_array_equal(pixels_of(found.content), pixels_of((written / "labels.tif").read_bytes()))
        assert [job["jobID"] for job in client.get("/jobs").json()["jobs"]] == [state["jobID"]]
        assert client.delete(location).json()["status"] == "dismissed"
        assert client.get(location).status_code == 404
        assert not list((tmp_path / "jobs").iterdir())


SLOW = """
import sys, time
print("predict image: 30 of 120 windows, 1 Mpix/s", file=sys.stderr, flush=True)
time.sleep({seconds})
sys.exit({status})
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Jobs, Any]]:
    """Give jobs whose processes only wait, and what sets how long and how they end."""
    import subprocess
    import sys

    from quadrat.server.jobs import runner

    plain, how = subprocess.Popen, {"seconds": 30.0, "status": 0}

    def popen(_: list[str], **options: Any) -> Any:
        return plain([sys.executable, "-c", SLOW.format(**how)], **options)

    monkeypatch.setattr(runner.subprocess, "Popen", popen)
    found = Jobs(tmp_path / "jobs", Runs(tmp_path / "bundle.zip"), Limits(waiting_jobs=2, kept_jobs=3))
    yield found, how
    found.close()


def added(jobs: Jobs) -> str:
    jobs.check_room()
    folder = jobs.store.room()
    (folder / "image.tif").write_bytes(b"image")
    return jobs.add(folder, {"file": "image.tif", "id": "image", "options": [], "form": "tif", "layer": "labels"}).id


def status(jobs: Jobs, name: str) -> str:
    return str(jobs.store.get(name)[1]["status"])


def test_jobs_tell_their_progress_and_can_be_cancelled(jobs: tuple[Jobs, Any]) -> None:
    some, _ = jobs
    first, second = added(some), added(some)
    some.start()
    until(lambda: some.store.get(first)[1]["progress"] == 25, 20)
    assert status(some, second) == "accepted"
    started = time.monotonic()
    assert some.cancel(first)["status"] == "dismissed"
    until(lambda: status(some, second) == "running", 20)
    assert time.monotonic() - started < 10
    some.cancel(second)
    assert status(some, second) == "dismissed"


def test_jobs_that_wait_are_bounded_and_old_ones_go(jobs: tuple[Jobs, Any]) -> None:
    some, how = jobs
    how.update(seconds=0, status=3)
    for _ in range(2):
        added(some)
    with pytest.raises(FullError):
        added(some)
    some.start()
    until(lambda: some.counts()["failed"] == 2, 20)
    names = []
    for _ in range(4):
        names.append(added(some))
        until(lambda: status(some, names[-1]) == "failed", 20)
    assert sum(some.counts().values()) <= 3
    assert status(some, names[-1]) == "failed"
    with pytest.raises(KeyError):
        some.store.get("../../etc/passwd")


def test_jobs_of_a_server_that_ended_run_again(tmp_path: Path, jobs: tuple[Jobs, Any]) -> None:
    some, how = jobs
    name = added(some)
    some.start()
    until(lambda: status(some, name) == "running", 20)
    some.close()
    assert status(some, name) == "running"
    (tmp_path / "jobs" / "half-received").mkdir()
    how.update(seconds=0)
    later = Jobs(tmp_path / "jobs", Runs(tmp_path / "bundle.zip"), Limits())
    assert status(later, name) == "accepted"
    assert not (tmp_path / "jobs" / "half-received").exists()
    later.start()
    until(lambda: status(later, name) == "successful", 20)
    later.close()


def test_a_failed_job_tells_an_error_in_words_and_no_stack_trace() -> None:
    words = ["warning: something", "ImageError: the image can't be opened", "  file: /a/b/image.tif", "  got: nothing"]
    assert reason(words) == "ImageError: the image can't be opened\n  file: image.tif\n  got: nothing"
    for other in (
        [],
        ["Killed"],
        ['  File "/a/b.py", line 3, in f', "    f()", "ValueError: x"],
        ["ValueError: x", "y"],
    ):
        assert reason(other) == "the process failed; the server's log says why"


def test_two_uploads_of_one_image_have_results_of_their_own(client: TestClient, image: Path) -> None:
    found: list[str] = []

    def send() -> None:
        answer = client.post("/predict?f=tif", content=image.read_bytes(), headers=TIFF)
        found.append(hashlib.sha256(answer.content).hexdigest())

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len({*found}) == 1
