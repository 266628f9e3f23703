"""Networks of one's own: trained, exported, restored by name and version, and never from a bundle's own code."""

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import ValidationError

from quadrat.errors import MissingPluginError, ModelError, PluginError
from quadrat.models import Inputs, PluginModel, Recipe, Sizes, Train
from quadrat.models.common.encoders import DESCRIPTION
from quadrat.models.model_folder import ModelCard, SavedModel, write_model
from quadrat.models.training.neural import build
from quadrat.models.training.starting import start
from tests.ground import cells, regression, segmentation
from tests.models import test_dates
from tests.models.test_network import TASK, TRAIN, Memory, inputs
from tests.plugins.own import project

NETWORKS = textwrap.dedent("""
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self, bands: int, channels: int, width: int = 4):
            super().__init__()
            self.first = nn.Conv2d(bands, width, 3, padding=1)
            self.norm = nn.BatchNorm2d(width)
            self.last = nn.Conv2d(width, channels, 1)

        def forward(self, images):
            return self.last(self.norm(self.first(images)).relu())

    class Whole(Plain):
        def forward(self, images):
            return super().forward(images).mean((2, 3))

    class Encoded(nn.Module):
        def __init__(self, bands: int, channels: int):
            super().__init__()
            self.encoder = nn.Conv2d(bands, 4, 1)
            self.last = nn.Conv2d(4, channels, 1)

    class Halved(Plain):
        def forward(self, images):
            return super().forward(images)[..., ::2, ::2]

    class More(Plain):
        def __init__(self, bands: int, channels: int):
            super().__init__(bands, channels + 1)

    class Fixed(Plain):
        def forward(self, images):
            logits = super().forward(images)
            return logits * (logits.shape[2] / 64) if logits.shape[2] != 64 else logits

    class Foreign(Plain):
        def forward(self, images):
            return torch.special.i0(super().forward(images))

    def flat(bands: int, channels: int):
        return lambda images: images

    def unasked(width: int = 3):
        return None

    def clean(*folders: str, **more: str):
        raise SystemExit("a stranger's bundle has called it")
    """)

SIZES = Sizes(chip=32, batch=4, window=64)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project(tmp_path, networks=NETWORKS))
    return tmp_path


def model(name: str = "Plain", **keys: Any) -> PluginModel:
    arguments = keys.pop("arguments", {})
    return PluginModel.model_validate(
        {"kind": "plugin", "name": f"plugins.networks:{name}", "arguments": arguments, **keys}, strict=False
    )


def fit(own: PluginModel, folder: Path) -> Any:
    recipe = Recipe(1, 0.01, 2, 4, Train.model_validate(TRAIN))
    return own.fit(Memory(6, 0), Memory(2, 1), TASK, inputs(), recipe, folder / "checkpoint")


def test_it_learns_and_its_graph_and_torch_agree(folder: Path) -> None:
    own = model(arguments={"width": 6})
    fitted = fit(own, folder)
    assert fitted.history[1]["train_loss"] < fitted.history[0]["train_loss"]
    about = json.loads(fitted.weights[DESCRIPTION].tobytes())
    assert about["name"] == own.name
    assert about["version"].startswith("sha256:")
    pixels = Memory(2, 2, 96).pixels[:, :, :64]
    session = onnxruntime.InferenceSession(own.onnx(fitted.weights, TASK, inputs()))
    (scores,) = session.run(None, {"pixels": pixels.astype(np.float32)})
    np.testing.assert_allclose(own.restore(fitted.weights, TASK, inputs())(pixels)["scores"], scores, atol=1e-5)
    np.testing.assert_allclose(own.served(fitted.weights, TASK, inputs())(pixels)["scores"], scores, atol=1e-5)
    assert scores.shape == (2, 3, 64, 96)


def test_without_the_plugin_the_error_names_it_and_its_version(folder: Path) -> None:
    own = model()
    fitted = fit(own, folder)
    version = json.loads(fitted.weights[DESCRIPTION].tobytes())["version"]
    shutil.rmtree(folder / "plugins")
    with pytest.raises(
        MissingPluginError, match=rf"no architecture plugins\.networks:Plain(.|\n)*version {version}"
    ) as raised:
        own.restore(fitted.weights, TASK, inputs())
    assert raised.value.name == f"the plugin plugins.networks:Plain, version {version}"


def test_another_version_warns_and_other_weights_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = model()
    fitted = fit(own, folder)
    project(folder, networks=NETWORKS + "\n# another")
    own.restore(fitted.weights, TASK, inputs())
    assert "was trained with version sha256:" in " ".join(capsys.readouterr().err.split())
    project(folder, networks=NETWORKS.replace("width: int = 4", "width: int = 5"))
    with pytest.raises(ModelError, match="weights are not those of the network"):
        own.restore(fitted.weights, TASK, inputs())


@pytest.mark.parametrize("told", [b"\xff{", b"{}", b'{"version": "\\u001b[2J"}', b"[" * 100_000])
def test_a_strangers_description_is_only_text(folder: Path, told: bytes) -> None:
    shutil.rmtree(folder / "plugins")
    with pytest.raises(MissingPluginError, match="version unknown"):
        model().restore({DESCRIPTION: np.frombuffer(told, np.uint8)}, TASK, inputs())


@pytest.mark.parametrize("name", ["clean", "unasked"])
def test_a_function_that_is_no_architecture_is_never_called(name: str) -> None:
    arguments = {"folders": ["/"]} if name == "clean" else {}
    with pytest.raises(PluginError, match=r"is no architecture(.|\n)*takes bands, channels"):
        model(name, arguments=arguments).restore({}, TASK, inputs())


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("Halved", TASK, r"output is of another size than its windows"),
        ("More", TASK, r"gives other outputs than the task's models(.|\n)*\(1, 4, 96, 64\)"),
        ("Whole", TASK, r"gives other outputs than the task's models"),
        ("Plain", cells("a", "b"), r"gives other outputs than the task's models"),
        ("Fixed", TASK, r"ONNX graph of plugins\.networks:Fixed gives other outputs than the network"),
        ("Foreign", TASK, r"can't be exported to ONNX(.|\n)*aten::i0"),
        ("flat", TASK, r"is no architecture(.|\n)*got: function"),
    ],
)
def test_check_tells_what_can_not_be_used(name: str, task: Any, message: str) -> None:
    with pytest.raises(ModelError if name != "flat" else PluginError, match=message):
        model(name).check(task, inputs(), SIZES)


@pytest.mark.parametrize(("name", "task"), [("Plain", TASK), ("Plain", regression("h")), ("Whole", cells("a", "b"))])
def test_check_passes_what_can_be_used(name: str, task: Any) -> None:
    model(name).check(task, inputs(), SIZES)


def test_train_tells_it_before_it_learns(folder: Path) -> None:
    with pytest.raises(ModelError, match="gives other outputs"):
        fit(model("More"), folder)
    assert not (folder / "checkpoint").exists()


@pytest.mark.parametrize("multiple", [1, 8, 48])
def test_windows_follow_the_multiple(multiple: int) -> None:
    own = model(multiple=multiple)
    _, height, width = own.example
    assert (own.divisor, height % multiple, width % multiple) == (multiple, 0, 0)
    assert width > height >= 64


def test_its_encoder_is_what_it_calls_so() -> None:
    assert build(model("Encoded"), TASK, inputs(), 0).encoder_path == "body.encoder."
    assert build(model("Plain"), TASK, inputs(), 0).encoder_path == ""


def test_the_first_weights_follow_the_seed() -> None:
    one, same, other = (build(model(), TASK, inputs(), seed).state_dict()["body.first.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_dates_are_seen_one_by_one() -> None:
    about = test_dates.inputs()
    own = model(dates="mean")
    network: Any = build(own, TASK, about, 0)
    assert network.body.encoder.first.in_channels == len(about.statistics)
    own.check(TASK, about, SIZES)


def test_it_starts_from_a_model_of_its_own_with_bands_and_classes_by_name(folder: Path) -> None:
    before = fit(model(), folder)
    about = {"size": 32, "gsd": 1.0, "class_counts": {}, "versions": {}}
    inside = inputs()
    card = ModelCard(
        format=1,
        task=TASK,
        model=model(),
        bands=inside.bands,
        statistics=inside.statistics,
        **about,  # type: ignore[arg-type]
    )
    write_model(folder / "before", SavedModel(card, before.weights))
    own = model(start={"kind": "bundle", "path": str(folder / "before")}, freeze="norms")
    turned = Inputs(inside.bands[::-1], inside.statistics[::-1])
    network = build(own, segmentation("b", "a"), turned, 0)
    begun = start(own, network, segmentation("b", "a"), turned)
    weights = network.state_dict()
    assert torch.equal(weights["body.first.weight"], torch.from_numpy(before.weights["body.first.weight"]).flip(1))
    assert torch.equal(weights["body.last.weight"], torch.from_numpy(before.weights["body.last.weight"])[[1, 0]])
    assert network.frozen == {"body.norm.weight", "body.norm.bias"}
    assert begun.counts["encoder"]["new"] == 0


def test_it_starts_from_a_file_with_names_of_its_own(folder: Path) -> None:
    plain = build(model(), TASK, inputs(), 3).state_dict()
    tensors = {name.removeprefix("body."): value for name, value in plain.items() if name.startswith("body.")}
    torch.save(tensors, folder / "own.pt")
    own = model(start={"kind": "file", "path": str(folder / "own.pt"), "bands": ["x", "y", "z"]})
    network = build(own, TASK, inputs(), 0)
    start(own, network, TASK, inputs())
    assert torch.equal(network.state_dict()["body.first.weight"], plain["body.first.weight"])


def test_timms_weights_are_not_for_it() -> None:
    with pytest.raises(ValidationError, match="for networks over an encoder of timm"):
        model(start={"kind": "timm", "bands": ["x"]})
