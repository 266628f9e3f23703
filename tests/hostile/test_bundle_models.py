"""Bundles whose weights, or what is claimed of them, would crash, hang or fill the memory of who restores the model."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from quadrat.bundle.loading import read_bundle
from quadrat.errors import BundleError, ModelError, QuadratError
from quadrat.models import Segmenter
from quadrat.models.common.weight_checks import OverBudgetError, budget
from quadrat.models.forest.weights import check_forest
from quadrat.models.training.neural import loaded
from quadrat.runtime.formats.npy import as_npy
from quadrat.serving.apply import verify
from tests.hostile.kit import INPUTS, KINDS, PLAIN, TASKS, carded, drawn, good, grove, sealed, tensors

Weights = dict[str, np.ndarray]
HALF = 1 << 23


def refused(path: Path, member: str, *words: str) -> None:
    with pytest.raises(QuadratError) as caught:
        verify(path)
    told = str(caught.value)
    assert f"{path.name}/{member}" in told
    assert len(told) < 10_000
    assert not [word for word in words if word not in told], told


def at(name: str, place: int | tuple[int, int], value: float) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        weights[name][place] = value

    return change


def of(name: str, make: Callable[[np.ndarray], Any]) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        weights[name] = np.ascontiguousarray(make(weights[name]))

    return change


def chain(length: int) -> Weights:
    """Return a forest whose second tree is one long walk: left of each split is the next, right of it a leaf."""
    number = np.arange(length)
    left, right = np.full((2, 2 * length + 1), -1, np.int32)
    left[: length - 1], left[length - 1], right[:length] = number[1:], 2 * length, length + number
    weights, leaf = grove(), left < 0
    feature = np.where(leaf, -6, 0).astype(np.int32)
    tree = {"left": left, "right": right, "feature": feature, "threshold": np.where(leaf, 0, 1).astype(np.float32)}
    roots = np.array([0, 5, 5 + 2 * length + 1], np.int64)
    votes = np.concatenate([weights["votes"], [[HALF, 0]]]).astype(np.int32)
    return {**{n: np.concatenate([weights[n][:5], some]) for n, some in tree.items()}, "roots": roots, "votes": votes}


FORESTS: dict[str, Callable[[Weights], object]] = {
    "a child that is its own parent": at("left", 0, 0),
    "children in a circle": at("left", 2, 0),
    "a child beyond its tree": at("left", 0, 5),
    "a child beyond all trees": at("right", 0, 2**31 - 1),
    "a child before all trees": at("left", 0, -2),
    "a child that has two parents": at("left", 2, 4),
    "a leaf with a child": at("right", 1, 2),
    "a node that nothing leads to": of("right", lambda a: np.where(a == 4, 3, a)),
    "a band that there isn't": at("feature", 0, 4),
    "a band far beyond": at("feature", 0, 2**31 - 1),
    "a band before the first": at("feature", 0, -1),
    "a leaf that votes beyond the votes": at("feature", 1, -6),
    "a leaf that votes far beyond": at("feature", 1, -(2**31)),
    "a leaf that splits": at("feature", 1, 0),
    "a threshold that is no number": at("threshold", 0, np.nan),
    "a threshold that is infinite": at("threshold", 0, np.inf),
    "votes below 0": at("votes", (0, 1), -1),
    "votes that are too many": at("votes", (0, 0), 2**31 - 1),
    "votes for three classes": of("votes", lambda a: np.pad(a, ((0, 0), (0, 1)))),
    "votes in a row": of("votes", np.ravel),
    "no votes": of("votes", lambda a: a[:0]),
    "roots that go down": at("roots", 1, 8),
    "roots below 0": at("roots", 0, -5),
    "roots beyond the nodes": at("roots", 2, 2**62),
    "a tree too many": of("roots", lambda a: np.append(a, 9)),
    "no trees": of("roots", lambda a: a[:0]),
    "fewer thresholds than nodes": of("threshold", lambda a: a[:-1]),
    "more children than nodes": of("right", lambda a: np.append(a, a[-1])),
    "children as a table": of("left", lambda a: a[:, None]),
    "children of another type": of("left", lambda a: a.astype(np.float32)),
    "thresholds of another type": of("threshold", lambda a: a.astype(np.float64)),
    "no nodes": lambda weights: weights.pop("left"),
    "an array too many": lambda weights: weights.update(more=np.zeros(3)),
    "no arrays": lambda weights: weights.clear(),
    "a walk of 10,000 splits": lambda weights: weights.update(chain(10_000)),
}


@pytest.mark.parametrize("change", FORESTS.values(), ids=FORESTS)
def test_a_forest_that_can_not_be_walked_is_one_error(tmp_path: Path, change: Callable[[Weights], object]) -> None:
    weights = grove()
    change(weights)
    path = sealed(tmp_path / "bundle.zip", good("forest") | {"model.safetensors": tensors(weights)})
    refused(path, "model.safetensors", "the forest can't be evaluated")


def test_a_walk_of_a_thousand_splits_is_taken_and_so_are_all_that_are_learnt() -> None:
    check_forest(chain(1_000), 2, 4, 2, HALF)
    rng = np.random.default_rng(0)
    from sklearn.ensemble import RandomForestClassifier

    from quadrat.models.forest.forest import _weights

    forest = RandomForestClassifier(7, max_leaf_nodes=50, random_state=0)
    forest.fit(rng.random((500, 4), np.float32), rng.integers(0, 3, 500))
    check_forest(_weights(forest, 3, 1 << 21), 7, 4, 3, 1 << 21)


def header(entries: Any, size: int = 0, length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(size)


def entry(dtype: str = "F32", shape: Any = (2,), start: int = 0, end: int = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


TENSORS: dict[str, bytes] = {
    "nothing": b"",
    "three bytes": b"abc",
    "half of it": good("forest")["model.safetensors"][:300],
    "bytes after its end": good("forest")["model.safetensors"] + b"more",
    "a header of 2^63 bytes": header({}, length=1 << 63),
    "a header of 4 GB": header({}, length=1 << 32),
    "a header of 9 MB": header(b" " * (9 << 20)),
    "a header that is no JSON": header(b"{no"),
    "a header of 100,000 lists": header(b"[" * 100_000),
    "a header that is a list": header([]),
    "an array beyond the file": header({"a": entry(end=1 << 40)}, 8),
    "an array that ends before it begins": header({"a": entry(start=8, end=0)}, 8),
    "two arrays in one place": header({"a": entry(), "b": entry()}, 8),
    "a hole between arrays": header({"a": entry(start=8, end=16)}, 16),
    "a shape of another size": header({"a": entry(shape=[3])}, 8),
    "a shape of 2^62 values": header({"a": entry(shape=[1 << 62])}, 8),
    "a shape that is too large to count": header({"a": entry(shape=[1 << 62, 1 << 62])}, 8),
    "a negative shape": header({"a": entry(shape=[-2])}, 8),
    "a shape of text": header({"a": entry(shape=["2"])}, 8),
    "a type that there isn't": header({"a": entry("F99")}, 8),
    "a type that NumPy doesn't have": header({"a": entry("BF16", shape=[4])}, 8),
    "eight bits": header({"a": entry("F8_E4M3", shape=[8])}, 8),
    "complex numbers": header({"a": entry("C64", shape=[1])}, 8),
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch outside'\ntR.",
    "a zip, as torch writes": b"PK\3\4" + bytes(1000),
}


@pytest.mark.parametrize("content", TENSORS.values(), ids=TENSORS)
def test_weights_that_are_none_are_one_error(tmp_path: Path, content: bytes) -> None:
    refused(sealed(tmp_path / "bundle.zip", good("forest") | {"model.safetensors": content}), "model.safetensors")


def claimed(kind: str, claims: dict[str, Any]) -> dict[str, bytes]:
    content = good(kind)
    for keys, value in claims.items():
        content = carded(content, "model", *keys.split("."), value=value)
    return content


CLAIMS: dict[str, tuple[str, dict[str, Any]]] = {
    "a million channels": ("segmenter", {"decoder.decoder_channels": [10**6] * 3}),
    "4096 channels": ("segmenter", {"decoder.decoder_channels": [4096] * 3}),
    "100,000 decoders": ("segmenter", {"decoder.decoder_channels": [8] * 100_000}),
    "channels below 0": ("segmenter", {"decoder.decoder_channels": [-8] * 3}),
    "channels that are text": ("segmenter", {"decoder.decoder_channels": "8"}),
    "another depth": ("segmenter", {"depth": 4}),
    "another architecture": ("segmenter", {"architecture": "unetplusplus"}),
    "an encoder of a billion weights": ("segmenter", {"encoder": "vit_giant_patch14_dinov2"}),
    "a classifier of a billion weights": ("classifier", {"encoder": "convnext_xxlarge"}),
    "a detector of a billion weights": ("fcos", {"encoder": "convnext_xxlarge"}),
    "an encoder from the hub": ("segmenter", {"encoder": "hf-hub:timm/resnet10t.c3_in1k"}),
    "a classifier from the hub": ("classifier", {"encoder": "hf-hub:timm/resnet10t.c3_in1k"}),
    "a detector from the hub": ("fcos", {"encoder": "hf_hub:timm/resnet10t.c3_in1k"}),
    "an encoder from a server": ("classifier", {"encoder": "http://127.0.0.1:9/model"}),
    "an encoder from a file": ("classifier", {"encoder": "file:///etc/passwd"}),
    "an encoder in another folder": ("classifier", {"encoder": "../../model"}),
    "an encoder of 10,000 letters": ("classifier", {"encoder": "a" * 10_000}),
    "an encoder that there isn't": ("segmenter", {"encoder": "no_such_encoder"}),
    "a checkpoint of timm's": ("segmenter", {"decoder.checkpoint_path": "/etc/passwd"}),
    "a configuration of timm's": ("segmenter", {"decoder.pretrained_cfg": {"url": "http://127.0.0.1:9/x"}}),
    "weights that are fetched": ("segmenter", {"decoder.encoder_weights": "imagenet"}),
    "a second head": ("segmenter", {"decoder.aux_params": {"classes": 3}}),
    "an activation": ("segmenter", {"decoder.activation": "softmax2d"}),
    "attention that there isn't": ("segmenter", {"decoder.decoder_attention_type": "os.system"}),
    "pooling over dates that there aren't": ("segmenter", {"dates": "attention"}),
    "a million shapes of anchors": (
        "retinanet",
        {"architecture.ratios": [1.0] * 1000, "architecture.scales": [1.0] * 1000},
    ),
    "other anchors": ("retinanet", {"architecture.ratios": [1.0, 2.0]}),
    "a billion proposals": ("faster_rcnn", {"architecture.proposals": 10**9}),
    "detectors of a million channels": ("fcos", {"channels": 10**6}),
    "other strides": ("fcos", {"strides": [2, 4, 8]}),
    "strides that are endless": ("fcos", {"strides": [1 << number for number in range(60)]}),
    "anchors that are infinite": ("retinanet", {"architecture.scales": [1e308, 1e308]}),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_network_that_the_weights_are_not_of_is_one_error(tmp_path: Path, claim: tuple[str, dict[str, Any]]) -> None:
    refused(sealed(tmp_path / "bundle.zip", claimed(*claim)), "model.")


TIMM = {"kind": "timm", "bands": ["red", "green", "blue"]}


def test_weights_are_not_fetched_where_they_are_there(tmp_path: Path) -> None:
    path = sealed(tmp_path / "bundle.zip", claimed("classifier", {"start": TIMM, "encoder": "test_resnet.r160_in1k"}))
    opened = read_bundle(path)
    found = opened.predictor("torch")(opened.sample)
    np.testing.assert_allclose(found["scores"], opened.expected["scores"], atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "forest"])
@pytest.mark.parametrize("what", ["nan", "inf", "missing", "extra", "shape", "whole numbers", "none"])
def test_weights_that_are_not_the_networks_are_one_error(tmp_path: Path, kind: str, what: str) -> None:
    weights = {name: values.copy() for name, values in load(good(kind)["model.safetensors"]).items()}
    name = max(weights, key=lambda name: weights[name].size)
    match what:
        case "nan" | "inf":
            weights[name].flat[-1] = float(what)
        case "missing":
            del weights[name]
        case "extra":
            weights["more"] = np.zeros(3, np.float32)
        case "shape":
            weights[name] = weights[name][..., None]
        case "whole numbers":
            weights[name] = weights[name].astype(np.int32)
        case "none":
            weights = {}
    path = sealed(tmp_path / "bundle.zip", good(kind) | {"model.safetensors": tensors(weights)})
    refused(path, "model.safetensors", "more" if what == "extra" else name if what != "none" else "arrays differ")


def test_weights_so_large_that_their_outputs_are_none_are_one_error(tmp_path: Path) -> None:
    weights = {name: values.copy() for name, values in load(good("classifier")["model.safetensors"]).items()}
    for values in weights.values():
        if values.ndim == 2:  # the last layer
            values.flat[::2], values.flat[1::2] = 3e38, -3e38
    path = sealed(tmp_path / "bundle.zip", good("classifier") | {"model.safetensors": tensors(weights)})
    refused(path, "model.safetensors", "not numbers")


def test_a_network_that_enlarges_a_window_a_thousandfold_is_not_run() -> None:
    claim = {"kind": "segmenter", "architecture": "fpn", "depth": 4, "dropout": 0.0, **PLAIN}
    small = {"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32}
    right, wrong = (
        Segmenter.model_validate({**claim, "decoder": {**small, "upsampling": upsampling}}) for upsampling in (4, 4000)
    )
    weights = drawn(right, TASKS["segmenter"])
    loaded(right, weights, TASKS["segmenter"], INPUTS)
    with pytest.raises(ModelError, match="implausibly many values of a window"):
        loaded(wrong, weights, TASKS["segmenter"], INPUTS)


def test_a_budget_ends_before_memory_is_taken() -> None:
    import torch

    with budget({"a": np.zeros(10)}):
        torch.nn.Linear(10_000, 1_000)
        torch.nn.Linear(10**6, 10**6, device="meta")
        for make in (
            lambda: torch.nn.Linear(10**6, 10**6),
            lambda: torch.zeros(10**12),
            lambda: torch.full((10**6, 10**6), 1.0),
            lambda: torch.zeros(3).new_empty((10**12,)),
        ):
            with pytest.raises(OverBudgetError):
                make()


SAMPLES: dict[str, bytes] = {
    "nothing": b"",
    "noise": b"\x93NUMPY" + bytes(range(256)),
    "a pickle": b"\x80\x04cos\nsystem\n(S'touch outside'\ntR.",
    "half of it": good("forest")["sample/pixels.npy"][:1000],
    "more than it says": good("forest")["sample/pixels.npy"] + b"0",
    "three axes": as_npy(np.zeros((2, 64, 64), np.uint16)),
    "three bands": as_npy(np.zeros((1, 3, 64, 64), np.uint16)),
    "no chips": as_npy(np.zeros((0, 2, 64, 64), np.uint16)),
    "17 chips": as_npy(np.zeros((17, 2, 64, 64), np.uint16)),
    "chips of 5000 px": as_npy(np.zeros((1, 2, 1, 5000), np.uint8)),
    "chips of no size": as_npy(np.zeros((1, 2, 0, 64), np.uint16)),
    "other chips than the outputs": as_npy(np.zeros((1, 2, 64, 32), np.uint16)),
    "truths": as_npy(np.zeros((1, 2, 64, 64), np.bool_)),
    "complex numbers": as_npy(np.zeros((1, 2, 64, 64), np.complex64)),
    "texts": as_npy(np.full((1, 2, 64, 64), "a")),
    "records": as_npy(np.zeros((1, 2, 64, 64), [("a", "u2")])),
    "one number": as_npy(np.zeros((), np.uint16)),
}

HEADERS: dict[str, bytes] = {
    "10^24 values": b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 1000000000000), }",
    "a number of 5000 digits": b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b",), }",
    "negative sides": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1), }",
    "objects": b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "a type of no size": b"{'descr': '<f1', 'fortran_order': False, 'shape': (4,), }",
    "code": b"__import__('os').system('touch outside')",
    "brackets": b"[" * 5000,
    "columns first": b"{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2), }",
}


@pytest.mark.parametrize("content", SAMPLES.values(), ids=SAMPLES)
def test_a_sample_that_is_none_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = sealed(tmp_path / "bundle.zip", good("forest") | {"sample/pixels.npy": content})
    refused(path, "sample")


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_an_array_whose_header_lies_is_one_error(tmp_path: Path, text: bytes) -> None:
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(text) + 1) + text + b"\n" + bytes(4)
    path = sealed(tmp_path / "bundle.zip", good("forest") | {"sample/pixels.npy": content})
    refused(path, "sample/pixels.npy", "the array can't be read")


OUTPUTS: dict[str, dict[str, np.ndarray]] = {
    "none": {},
    "another": {"labels": np.zeros((1, 64, 64), np.float32)},
    "one more": {"scores": np.zeros((1, 2, 64, 64), np.float32), "boxes": np.zeros((1, 1, 4), np.float32)},
    "of three classes": {"scores": np.zeros((1, 3, 64, 64), np.float32)},
    "of another window": {"scores": np.zeros((1, 2, 32, 64), np.float32)},
    "of another type": {"scores": np.zeros((1, 2, 64, 64), np.float64)},
    "of other axes": {"scores": np.zeros((1, 2, 64), np.float32)},
}


@pytest.mark.parametrize("outputs", OUTPUTS.values(), ids=OUTPUTS)
def test_expected_outputs_that_are_not_the_tasks_are_one_error(tmp_path: Path, outputs: dict[str, np.ndarray]) -> None:
    content = {name: some for name, some in good("forest").items() if name != "sample/scores.npy"}
    path = sealed(tmp_path / "b.zip", content | {f"sample/{name}.npy": as_npy(some) for name, some in outputs.items()})
    refused(path, "sample", "not those of the task")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, 0])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_expected_outputs_that_do_not_come_are_one_error(tmp_path: Path, value: float) -> None:
    scores = as_npy(np.full((1, 2, 64, 64), value, np.float32))
    with pytest.raises(BundleError, match="not the expected ones"):
        verify(sealed(tmp_path / "bundle.zip", good("forest") | {"sample/scores.npy": scores}))


@pytest.mark.parametrize("side", [1, 65])
def test_a_sample_that_a_network_can_not_take_is_one_error(tmp_path: Path, side: int) -> None:
    sample = {"sample/pixels.npy": as_npy(np.zeros((1, 2, side, 64), np.uint16))}
    sample |= {"sample/scores.npy": as_npy(np.zeros((1, 2, side, 64), np.float32))}
    refused(sealed(tmp_path / "bundle.zip", good("segmenter") | sample), "sample/pixels.npy", "multiples of 32 px")


def test_a_cell_larger_than_the_sample_is_one_error(tmp_path: Path) -> None:
    content = carded(good("classifier"), "task", "cell_size", value=1 << 31)
    refused(sealed(tmp_path / "bundle.zip", content), "sample/pixels.npy")
