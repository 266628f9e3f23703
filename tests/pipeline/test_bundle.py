"""bundle: all that runs the model elsewhere, in one file that is the same for the same input."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from quadrat.bundle.readme import readme
from quadrat.chips.store import open_chips
from quadrat.errors import BundleError, ModelError
from quadrat.models import Forest, Model
from quadrat.models.model_folder import read_model
from quadrat.params import read_params
from quadrat.pipeline.bundle import Bundle
from quadrat.runtime.provenance.origin import Commit, unknown
from tests.bundling import FOREST, NETWORK, SECTIONS, packed, prepared, sections
from tests.ground import BANDS, COLUMNS, KINDS


@pytest.fixture(scope="module", params=[FOREST, NETWORK], ids=["forest", "network"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    root = prepared(tmp_path_factory.mktemp(request.param.kind), request.param)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(root)
        packed(root, request.param)
    return root, request.param


@pytest.fixture(scope="module")
def unpacked(project: tuple[Path, Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(project[0] / "bundle.zip") as file:
        file.extractall(folder)
    return folder


def run(unpacked: Path, script: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=unpacked, check=True, capture_output=True)


def snippets(unpacked: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (unpacked / "README.md").read_text(), re.DOTALL)


def test_the_same_input_gives_the_same_bytes(
    project: tuple[Path, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project[0])
    again = packed(*project, tmp_path / "again.zip")
    assert again.read_bytes() == (project[0] / "bundle.zip").read_bytes()


def test_every_file_is_listed_with_its_checksum(unpacked: Path) -> None:
    listed = dict(reversed(line.split("  ")) for line in (unpacked / "SHA256SUMS").read_text().splitlines())
    files = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*") if p.is_file()}
    assert files == {*listed, "SHA256SUMS"} >= {"model.onnx", "model.safetensors", "sample/scores.npy"}
    for name, digest in listed.items():
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest


def test_the_graph_says_what_the_model_says(project: tuple[Path, Model], unpacked: Path) -> None:
    archive = read_model(project[0] / "model")
    pixels = np.random.default_rng(0).integers(0, 3000, (3, 3, 96, 64)).astype(np.uint16)
    expected = archive.card.model.restore(archive.weights, archive.card.task, archive.card.inputs)(pixels)["scores"]
    session = onnxruntime.InferenceSession(unpacked / "model.onnx", providers=["CPUExecutionProvider"])
    (scores,) = session.run(["scores"], {"pixels": pixels.astype(np.float32)})
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def test_the_sample_is_the_validation_chip_with_most_classes(project: tuple[Path, Model], unpacked: Path) -> None:
    pixels, target = (chips := open_chips(project[0] / "chips", "validation", COLUMNS, BANDS)).read(
        np.arange(len(chips))
    )
    kinds = [len(set(classes[classes < 255])) for classes in target["classes"]]
    labels = (target["classes"] < 255).sum((1, 2))
    best = max(range(len(chips)), key=lambda n: (kinds[n], labels[n], -n))
    sample = np.load(unpacked / "sample/pixels.npy")
    assert sample.dtype == np.uint16
    np.testing.assert_array_equal(sample, pixels[best][None])


def test_the_readme_says_where_quadrat_is(forest: Path, tmp_path: Path) -> None:
    git = Commit(commit="0123abcd", dirty=True, changed=("params.yaml",))
    made = packed(forest, FOREST, tmp_path / "known.zip", origin=unknown("bundle").model_copy(update={"git": git}))
    for path, said in (
        (made, "made this bundle, at commit 0123abcd, with changes that it lacks; or `pip install"),
        (None, "made this bundle; or `pip install"),
    ):
        with zipfile.ZipFile(path or packed(forest, FOREST, tmp_path / "unknown.zip")) as file:
            text = file.read("README.md").decode()
        assert 'With quadrat, which no package index has: `pip install "quadrat[predict] @ git+URL"`' in text
        assert said in text
        assert "pip install quadrat" not in text  # somebody else may take the name


def test_names_stand_in_the_readme_as_they_are(forest: Path) -> None:
    evil = "a|b <img src=x onerror=y>\n\n# c\x1b[2J [d](e)"
    card = read_model(forest / "model").card
    classes = tuple(one.model_copy(update={"name": f"<b>|{one.name}"}) for one in card.task.classes)
    bands = tuple(band.model_copy(update={"name": evil, "unit": evil}) for band in card.bands)
    counts = {f"<b>|{name}": count for name, count in card.class_counts.items()}
    task = card.task.model_copy(update={"classes": classes})
    plain, told = (
        readme(title, one, 64, None).splitlines()
        for title, one in (
            ("plain", card),
            (evil, card.model_copy(update={"task": task, "bands": bands, "class_counts": counts})),
        )
    )
    assert len(told) == len(plain)
    assert not any(sign in line for line in told for sign in ("<img", "<b>", "\x1b", "[d]"))
    shown = "a\\|b &lt;img src=x onerror=y&gt;  # c\\\\u001b\\[2J \\[d\\](e)"
    assert sum(shown in line for line in told) == 1 + len(bands)
    assert sum("&lt;b&gt;\\|" in line for line in told) == len(classes)


def test_the_readme_runs_the_model_without_quadrat(unpacked: Path) -> None:
    without, _ = snippets(unpacked)
    run(unpacked, f"{without}\nimport sys\nassert 'quadrat' not in sys.modules and 'torch' not in sys.modules")
    with pytest.raises(subprocess.CalledProcessError):
        run(unpacked, without.replace("sample/pixels.npy", "sample/scores.npy"))


def test_deepness_sees_the_model_as_it_is(unpacked: Path) -> None:
    """The steps of Deepness 0.6 and 0.7: https://github.com/PUTvision/qgis-plugin-deepness."""
    run(unpacked, snippets(unpacked)[1])
    session = onnxruntime.InferenceSession(unpacked / "deepness.onnx", providers=["CPUExecutionProvider"])
    about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert about["model_type"] == "Segmentor"
    assert about["class_names"] == {"0": "wood", "1": "lake", "2": "field"}
    assert (about["resolution"], about["tiles_overlap"]) == (1000, 50)
    assert session.get_inputs()[0].shape[1:] == [3, 64, 64] == [3, about["tile_size"], about["tile_size"]]
    assert session.get_outputs()[0].shape[2:] == [64, 64]
    raw = np.random.default_rng(0).integers(0, 3000, (1, 3, 64, 64)).astype(np.uint16)
    tiles = np.float32(np.moveaxis(raw, 1, -1) * 1.0 / 255.0)
    mean, std = (np.array(about[f"standardization_{name}"], np.float32) for name in ("mean", "std"))
    (result,) = session.run(None, {"pixels": np.moveaxis((tiles - mean) / std, -1, 1)})
    result[result < about["seg_thresh"]] = 0
    plain = onnxruntime.InferenceSession(unpacked / "model.onnx", providers=["CPUExecutionProvider"])
    expected = plain.run(None, {"pixels": raw.astype(np.float32)})[0]
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_the_parameters_can_be_used_again(project: tuple[Path, Model], unpacked: Path) -> None:
    whole = sections(*project) | {"folds": None}  # of which no model is made
    assert dict(read_params(unpacked / "params.yaml")) == whole


def test_metrics_and_the_model_folder_are_inside(project: tuple[Path, Model], unpacked: Path) -> None:
    metrics = json.loads((unpacked / "metrics.json").read_text())
    each = {name: {"f1": None, "support": 0} for name in KINDS}
    assert metrics == {"train": {"accuracy": 0.5}, "eval": {"accuracy": 0.5, "per_class": each}}
    for name in ("model.json", "model.safetensors"):
        assert (unpacked / name).read_bytes() == (project[0] / "model" / name).read_bytes()


def test_outside_of_git_and_dvc_nothing_is_known_of_them(unpacked: Path) -> None:
    provenance = json.loads((unpacked / "provenance.json").read_text())
    assert (provenance["git"], provenance["dvc"]) == (None, None)
    assert provenance["versions"]["onnxruntime"] == onnxruntime.__version__
    assert provenance["versions"]["onnx"] == onnx.__version__


def provenance(root: Path) -> Any:
    with zipfile.ZipFile(packed(root, FOREST, Path("models/bundle.zip"))) as file:
        return json.loads(file.read("provenance.json"))


def test_hashes_of_all_stages_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = prepared(tmp_path / "made", FOREST)
    (work := tmp_path / "work").mkdir()
    monkeypatch.chdir(work)
    stages = {
        "train": {"cmd": "t", "deps": [{"path": "data/chips", "md5": "aa.dir"}], "outs": [{"path": "m", "md5": "bb"}]},
        "bundle": {"cmd": "b", "deps": [], "outs": [{"path": "models/bundle.zip", "md5": "x"}]},
    }
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    assert provenance(root)["dvc"] == {"train": {"deps": {"data/chips": "aa.dir"}, "outs": {"m": "bb"}}}


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("faulty"), FOREST)


def test_a_graph_that_says_something_else_is_not_packed(forest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Forest.onnx

    def faulty(*arguments: Any) -> bytes:
        model = onnx.load_from_string(made(*arguments))
        transposed = model.graph.node[-1]
        model.graph.node.append(onnx.helper.make_node("Sqrt", [f"{transposed.output[0]}_"], ["scores"]))
        transposed.output[0] += "_"
        return model.SerializeToString()

    packed(forest, FOREST)
    before = (forest / "bundle.zip").read_bytes()
    monkeypatch.setattr(Forest, "onnx", faulty)
    with pytest.raises(BundleError, match="give different outputs"):
        packed(forest, FOREST)
    assert (forest / "bundle.zip").read_bytes() == before
    assert not list(forest.glob(".part*"))


def test_what_is_missing_or_of_another_run_is_told(forest: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="metrics are missing"):
        packed(forest, FOREST, eval_metrics=tmp_path / "none.json")
    with pytest.raises(ModelError, match="another model"):
        packed(forest, FOREST.model_copy(update={"trees": 6}))
    with pytest.raises(ModelError, match=r"missing(.|\n)*hint: run the stage 'train'"):
        packed(forest, FOREST, model_folder=tmp_path / "none")


def test_the_title_heads_the_readme(forest: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed(forest, FOREST, tmp_path / "b.zip", bundle=Bundle(title="Only lakes"))) as file:
        assert file.read("README.md").partition(b"\n---\n\n")[2].startswith(b"# Only lakes\n")
    assert SECTIONS["bundle"].title == "Woods and lakes"
