"""Bundles that are not whole are never taken for whole."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quadrat.bundle import loading
from quadrat.bundle.loading import TEXTS, Agreement, OpenBundle, agreement, read_bundle
from quadrat.errors import BundleError, ModelError
from quadrat.models import Model
from quadrat.models.common import bundle_zip
from quadrat.models.common.bundle_zip import MEMBERS, write_bundle
from quadrat.models.common.encoders import Encoder
from quadrat.models.model_folder import card_of, read_model, write_model
from quadrat.models.start import given
from quadrat.models.start.section import BundleStart
from quadrat.serving.apply import verify
from quadrat.tasks.common.calibration import Calibration
from tests.bundling import FOREST, NETWORK, TASK, packed, prepared


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = prepared(tmp_path_factory.mktemp("whole"), FOREST)
    return packed(root, FOREST)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewritten(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, some in content.items():
            file.writestr(name, some)
    return path


def test_a_whole_bundle_is_read(whole: Path) -> None:
    opened = read_bundle(whole)
    assert opened.card.task == TASK
    assert opened.params["lr"] == 1e-05
    assert opened.sample.shape == (1, 3, 32, 32)
    assert set(opened.expected) == {"scores"}
    for runtime in ("torch", "onnx"):
        assert agreement(opened.card.task, opened.expected, opened.predictor(runtime)(opened.sample), runtime).good


@pytest.mark.parametrize("model", [FOREST, NETWORK], ids=["forest", "network"])
def test_a_graph_gives_probabilities_and_predictors_the_scores_before(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prepared(tmp_path, model)
    monkeypatch.chdir(root)
    saved = read_model(root / "model")
    heat = Calibration(temperatures=(2.5,), exclusive=True)
    write_model(root / "model", replace(saved, card=saved.card.model_copy(update={"calibration": heat})))
    opened = read_bundle(packed(root, model))
    plain = saved.card.model.restore(saved.weights, TASK, saved.card.inputs)(opened.sample)
    assert opened.card.calibration == heat
    np.testing.assert_allclose(opened.expected["scores"], heat.applied(plain["scores"], 1), atol=2e-6)
    assert np.abs(opened.expected["scores"] - plain["scores"]).max() > 0.1
    for runtime in ("torch", "onnx"):
        scores = opened.predictor(runtime)(opened.sample)["scores"]
        np.testing.assert_allclose(scores, plain["scores"], atol=1e-5)
        assert agreement(TASK, opened.expected, opened.card.probabilities({"scores": scores}), runtime).good
    verify(opened.path)
    assert "Scores are probabilities: the graph's last step" in members(opened.path)["README.md"].decode()
    told = opened.card.model_dump(mode="json", by_alias=True)
    for wrong, said in (
        (Calibration(temperatures=(2.0,) * 3, exclusive=False), "of another task"),
        (heat.model_copy(update={"least": ((0.5,) * 50,)}), "of other classes"),
    ):
        with pytest.raises(ModelError, match=said):
            card_of({**told, "calibration": wrong.model_dump(mode="json")}, ModelError, Path("model.json"))


def test_files_that_are_no_bundle(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the bundle is missing"):
        read_bundle(tmp_path / "none.zip")
    with pytest.raises(BundleError, match="not a bundle"):
        read_bundle(tmp_path)
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(BundleError, match="not a bundle"):
        read_bundle(tmp_path / "text.zip")
    (tmp_path / "short.zip").write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(BundleError, match="incomplete"):
        read_bundle(tmp_path / "short.zip")


@pytest.mark.parametrize("name", [*MEMBERS, "sample/scores.npy"])
def test_a_bit_that_flipped_is_found(whole: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copy(whole, tmp_path / "copy.zip"))
    content = bytearray(copy.read_bytes())
    with zipfile.ZipFile(copy) as file:
        entry = file.getinfo(name)
    place = entry.header_offset + 30 + len(name) + entry.file_size // 2
    content[place] ^= 1
    copy.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} in the bundle is not what was written"):
        read_bundle(copy)


@pytest.mark.parametrize("name", [*MEMBERS, "sample/scores.npy"])
def test_a_file_that_was_changed_or_lost_is_found(whole: Path, tmp_path: Path, name: str) -> None:
    content = members(whole)
    with pytest.raises(BundleError, match=f"{name} in the bundle is not what was written"):
        read_bundle(rewritten(tmp_path / "changed.zip", {**content, name: b"other"}))
    del content[name]
    with pytest.raises(BundleError, match=name):
        read_bundle(rewritten(tmp_path / "lost.zip", content))


def test_a_file_that_was_added_to_a_bundle_is_found(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"more\.txt in the bundle is not what was written"):
        read_bundle(rewritten(tmp_path / "more.zip", {**members(whole), "more.txt": b""}))
    content = members(whole)
    rewritten(tmp_path / "twice.zip", content)
    with zipfile.ZipFile(tmp_path / "twice.zip", "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("model.json", content["model.json"])
    with pytest.raises(BundleError, match="twice"):
        read_bundle(tmp_path / "twice.zip")


def test_a_bundle_of_another_format_is_not_guessed_at(whole: Path, tmp_path: Path) -> None:
    content = members(whole)
    content["model.json"] = content["model.json"].replace(b'"format": 1', b'"format": 2')
    del content["SHA256SUMS"]
    write_bundle(tmp_path / "new.zip", content)
    with pytest.raises(BundleError, match="format"):
        read_bundle(tmp_path / "new.zip")


def test_agreement_counts_what_differs() -> None:
    expected = {"scores": np.array([[[[0.9, 0.2]], [[0.1, 0.8]]]], np.float32)}
    swapped = {"scores": expected["scores"][:, ::-1]}
    assert agreement(TASK, expected, expected, "onnx") == Agreement(0.0, 2, 2, 1e-3)
    found = agreement(TASK, expected, swapped, "onnx")
    assert (found.difference, found.equal, found.good) == (pytest.approx(0.8), 0, False)
    for other in ({"scores": expected["scores"][..., :1]}, {"scores": expected["scores"] * np.float32("nan")}):
        assert agreement(TASK, expected, other, "onnx").difference == float("inf")


def test_agreement_is_relative_beyond_one() -> None:
    expected = {"scores": np.array([[[[0.9]], [[500.0]]]], np.float32)}
    for name, change, difference in (("near", [[[[0.0]], [[0.4]]]], 0.0008), ("far", [[[[0.01]], [[0.4]]]], 0.01)):
        moved = {"scores": expected["scores"] + np.array(change, np.float32)}
        found = agreement(TASK, expected, moved, "onnx")
        assert (found.difference, found.good) == (pytest.approx(difference, rel=1e-3), name == "near")


def test_any_output_that_is_no_number_is_a_difference() -> None:
    scores = np.array([[[[0.9, 0.2]], [[0.1, 0.8]]]], np.float32)
    expected = {"scores": scores, "boxes": scores}
    assert agreement(
        TASK, expected, {"scores": scores + 0.1, "boxes": scores * np.float32("nan")}, "onnx"
    ).difference == float("inf")


READS: dict[str, Callable[[OpenBundle], object]] = {
    "torch": lambda opened: opened.predictor("torch"),
    "onnx": lambda opened: opened.predictor("onnx"),
    "the stage's own": lambda opened: opened.predictor(None),
    "its origin": lambda opened: opened.parent(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("way", ["another file", "the same file"])
def test_a_bundle_that_is_swapped_after_the_check_is_not_loaded(
    whole: Path, tmp_path: Path, read: Callable[[OpenBundle], object], way: str
) -> None:
    path = Path(shutil.copy(whole, tmp_path / "bundle.zip"))
    opened = read_bundle(path)
    changed = {name: content + b"\0" * (name not in {"SHA256SUMS", *TEXTS}) for name, content in members(whole).items()}
    del changed["SHA256SUMS"]
    write_bundle(tmp_path / "other.zip", changed)
    if way == "another file":
        (tmp_path / "other.zip").replace(path)
    else:
        path.write_bytes((tmp_path / "other.zip").read_bytes())
    with pytest.raises(BundleError, match="has changed since the bundle was checked"):
        read(opened)


def test_what_is_read_of_a_bundle_while_it_opens_was_checked(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is swapped right after its checksums."""
    path = Path(shutil.copy(whole, tmp_path / "bundle.zip"))
    content = members(whole)
    del content["SHA256SUMS"]
    write_bundle(tmp_path / "other.zip", {**content, "params.yaml": content["params.yaml"] + b"\n"})
    check = bundle_zip.checked

    def checked(file: Path) -> bundle_zip.CheckedBundle:
        found = check(file)
        (tmp_path / "other.zip").replace(file)
        return found

    monkeypatch.setattr(loading, "checked", checked)
    with pytest.raises(BundleError, match=r"params\.yaml in the bundle has changed"):
        read_bundle(path)


def test_weights_to_start_from_are_those_of_the_bundle_that_was_checked(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(whole, tmp_path / "bundle.zip"))
    content = members(whole)
    del content["SHA256SUMS"]
    write_bundle(tmp_path / "other.zip", {**content, "model.safetensors": content["model.safetensors"][::-1]})
    card = given._card

    def swapped(read: Callable[[str], bytes], file: Path) -> object:
        found = card(read, file)
        (tmp_path / "other.zip").replace(file)
        return found

    monkeypatch.setattr(given, "_card", swapped)
    start = BundleStart(kind="bundle", path=path, bands=None, normaliser="inherit")
    with pytest.raises(BundleError, match=r"model\.safetensors in the bundle has changed"):
        given.read_given(start, Encoder("test_resnet"))
