"""Encoders of a folder: what is fitted over one needs it no more; and whether weights can be had is known before."""

import json
import shutil
import urllib.request
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import timm
import torch
from timm.models import save_for_hf

from quadrat.errors import ModelError
from quadrat.models import Classifier, Recipe, Segmenter, Sizes, Train
from quadrat.models.common import encoders
from quadrat.models.common.encoders import Encoder
from quadrat.models.training.neural import build
from quadrat.models.training.starting import start
from tests.models import boxes, test_classifier, test_network
from tests.models.test_detector import detector

SIZES = Sizes(chip=64, batch=4, window=64)


def folder(place: Path, name: str = "test_resnet", **arguments: Any) -> str:
    """Write a folder as timm reads it, with weights that no other network has; return the encoder's name."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = timm.create_model(name, num_classes=0, **arguments)
    save_for_hf(model, place, model_args=arguments or None, safe_serialization=True)
    return f"local-dir:{place}"


def given(bands: Sequence[str]) -> dict[str, Any]:
    """Return a start from timm's weights."""
    return {"kind": "timm", "bands": [*bands]}


def network(encoder: str, **changed: Any) -> Segmenter:
    small = {"architecture": "unet", "depth": 3, "decoder": {"decoder_channels": [8, 8, 8]}, "dropout": 0.0}
    own = {**test_network.SMALL, **small, "start": given("xyz"), "encoder": encoder, **changed}
    return Segmenter.model_validate(own, strict=False)


def fits(encoder: str) -> dict[str, tuple[Any, Any, Any, Any]]:
    """Return a model of each kind over ``encoder``, its task, its inputs and its chips."""
    seen = test_network.inputs()
    classifier = {"kind": "classifier", "encoder": encoder, "start": given("xyz")}
    return {
        "network": (network(encoder), test_network.TASK, seen, test_network.Memory),
        "classifier": (
            Classifier.model_validate(classifier, strict=False),
            test_classifier.ONE,
            seen,
            test_classifier.Memory,
        ),
        "detector": (
            detector(encoder=encoder, start=given(["b0", "b1", "b2"])),
            boxes.Boxes(),
            boxes.inputs(),
            boxes.Memory,
        ),
    }


@pytest.mark.parametrize("kind", ["network", "classifier", "detector"])
def test_what_learnt_over_a_folder_needs_it_no_more(kind: str, tmp_path: Path) -> None:
    model, task, inputs, memory = fits(folder(tmp_path / "mine"))[kind]
    train = {"network": Train.model_validate(test_network.TRAIN), "classifier": test_classifier.TRAIN}
    recipe = boxes.recipe(1) if kind == "detector" else Recipe(1, 0.001, 1, 4, train[kind])
    fitted = model.fit(memory(4, 0), memory(2, 1), task, inputs, recipe, tmp_path / "checkpoint")
    pixels = memory(2, 2).pixels
    expected = model.restore(fitted.weights, task, inputs)(pixels)
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(ModelError, match="Config file not found"):
        build(model, task, inputs, 0)
    assert str(tmp_path) not in fitted.weights["encoder"].tobytes().decode()
    for predictor in (model.restore(fitted.weights, task, inputs), model.served(fitted.weights, task, inputs)):
        for name, values in predictor(pixels).items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4)
    assert model.onnx(fitted.weights, task, inputs)


def test_a_network_begins_with_the_weights_of_its_folder(tmp_path: Path) -> None:
    encoder = folder(tmp_path / "mine")
    built: Any = build(network(encoder), test_network.TASK, test_network.inputs(), 0)
    start(network(encoder), built, test_network.TASK, test_network.inputs())
    with torch.random.fork_rng():
        torch.manual_seed(7)
        theirs = timm.create_model("test_resnet", num_classes=0)
    torch.testing.assert_close(built.body.encoder.model.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)


def test_a_network_over_a_name_of_timm_keeps_nothing_beside_its_weights() -> None:
    assert Encoder.named("resnet18.a1_in1k").description() == {}


def test_a_misspelt_encoder_is_told_with_those_that_are_like_it() -> None:
    with pytest.raises(ModelError, match=r"Unknown model(.|\n)*did you mean resnet18 or"):
        check(network("resnt18"))


def test_arguments_of_a_folder_are_kept_and_its_path_says_nothing_of_the_network(tmp_path: Path) -> None:
    """The library of networks looks for names in paths: 'dla' shifts the levels that it takes."""
    encoder = Encoder.named(folder(tmp_path / "of-the-dlab", "test_resnet", block_args={"attn_layer": "se"}))
    assert encoder.name == "test_resnet"
    again = Encoder.of(encoder.description(), "local-dir:/gone")
    assert again.name == encoder.name
    assert again.arguments["block_args"] == {"attn_layer": "se"}
    model = network(f"local-dir:{tmp_path / 'of-the-dlab'}")
    made = build(model, test_network.TASK, test_network.inputs(), 0)
    restored = build(model, test_network.TASK, test_network.inputs(), 0, again)
    assert {n: v.shape for n, v in made.state_dict().items()} == {n: v.shape for n, v in restored.state_dict().items()}
    assert any(".se." in name for name in made.state_dict())


def check(model: Any) -> None:
    model.check(test_network.TASK, test_network.inputs(), SIZES)


def test_a_folder_without_weights_or_with_others_is_told_by_check(tmp_path: Path) -> None:
    encoder = folder(tmp_path / "mine")
    check(network(encoder))
    about = json.loads((tmp_path / "mine" / "config.json").read_text())
    (tmp_path / "mine" / "config.json").write_text(json.dumps({**about, "architecture": "test_convnext"}))
    with pytest.raises(ModelError, match="timm can't give the weights"):
        check(network(encoder))
    (tmp_path / "mine" / "config.json").write_text(json.dumps(about))
    for file in (tmp_path / "mine").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(ModelError, match="No suitable checkpoints found"):
        check(network(encoder))
    with pytest.raises(ModelError, match="Config file not found"):
        check(network(f"local-dir:{tmp_path / 'none'}"))


def answer(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> list[str]:
    """Let servers of weights answer with ``error``; return the addresses that are asked."""
    asked: list[str] = []

    class Opened:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    def urlopen(request: urllib.request.Request, timeout: float) -> Opened:
        assert request.get_method() == "HEAD"
        assert timeout <= 10
        asked.append(request.full_url)
        if error:
            raise error
        return Opened()

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def status(code: int) -> HTTPError:
    return HTTPError("https://example.org", code, "no", Message(), None)


@pytest.mark.parametrize(
    ("error", "message"),
    [(URLError("no network"), "no network"), (status(404), "404"), (TimeoutError("too slow"), "too slow")],
)
def test_weights_that_nobody_has_are_told_by_check(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = answer(monkeypatch, error)
    with pytest.raises(
        ModelError, match=rf"weights of the encoder are not available(.|\n)*{message}(.|\n)*model.start"
    ):
        check(network("resnet10t"))
    assert all("resnet10t" in address for address in asked)


@pytest.mark.parametrize("error", [None, status(401)])
def test_weights_that_a_server_has_are_not_fetched_by_check(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    asked = answer(monkeypatch, error)
    check(network("resnet10t"))
    assert len(asked) == 1
    assert not any(tmp_path.iterdir())
    check(network("resnet10t", start={"kind": "none"}))
    assert len(asked) == 1


def test_weights_that_were_fetched_before_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: "/cache/model.safetensors")
    asked = answer(monkeypatch, URLError("no network"))
    check(network("resnet10t"))
    assert asked == []


def test_an_encoder_that_was_never_pretrained_is_told_by_check(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, None)
    with pytest.raises(ModelError, match="timm knows none"):
        check(network("cspresnet50d", depth=5, architecture="fpn", decoder={}))


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = answer(monkeypatch, None)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        check(network("resnet10t"))
    assert asked == []
    assert encoders._unanswered("nowhere at all") is not None


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"{",
        b"[" * 60_000,
        b'{"name": "resnet18", "arguments": {}}',
        b'{"name": 3, "arguments": {"pretrained_cfg": {}}}',
        b'{"name": "resnet18", "arguments": {"pretrained_cfg": {}}, "more": 1}',
        b'{"name": "resnet18", "arguments": {"pretrained_cfg": {}, "checkpoint_path": "/etc/passwd"}}',
        b'{"name": "resnet18", "arguments": {"pretrained_cfg": {"url": "http://127.0.0.1:9/w"}}}',
        b'{"name": "resnet18", "arguments": {"pretrained_cfg": {}, "pretrained": true}}',
        b'{"name": "hf-hub:someone/model", "arguments": {"pretrained_cfg": {}}}',
        b" " * 2**17,
    ],
)
def test_what_a_stranger_tells_of_an_encoder_fetches_and_reads_nothing(told: bytes) -> None:
    with pytest.raises(ModelError):
        Encoder.of({encoders.DESCRIPTION: np.frombuffer(told, np.uint8)}, "resnet18")


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/gone"])
def test_weights_that_tell_of_no_encoder_fetch_and_read_nothing(name: str) -> None:
    with pytest.raises(ModelError, match="not allowed when a model is loaded"):
        Encoder.of({}, name)
