"""Networks that start from weights: of a file, of another model; adapted by names of bands and classes; frozen."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from quadrat.errors import ModelError
from quadrat.models import Inputs, Recipe, Segmenter, Train
from quadrat.models.common.model import Fitted, Sizes
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.model_folder import ModelCard, SavedModel, read_model, write_model
from quadrat.models.start.begin import Begun, Names, begin
from quadrat.models.start.given import Given
from quadrat.models.training.neural import build
from quadrat.models.training.starting import start
from tests.ground import segmentation
from tests.models import test_classifier
from tests.models.test_network import SMALL, TASK, TRAIN, Memory, inputs

PLAIN = {"architecture": "unet", "depth": 3, "decoder": {"decoder_channels": [8, 8, 8]}, "dropout": 0.0}


def model(begin: Mapping[str, Any], **changed: Any) -> Segmenter:
    return Segmenter.model_validate({**SMALL, **PLAIN, "start": begin, **changed}, strict=False)


def of_file(path: Path, bands: str = "xyz", **options: Any) -> dict[str, Any]:
    return {"kind": "file", "path": str(path), "bands": [*bands], **options}


def named(bands: str) -> Inputs:
    """Return the inputs of tests with bands of these names of one letter."""
    known = inputs()
    band, statistics = known.bands[0], known.statistics[0]
    return Inputs(
        tuple(band.model_copy(update={"name": name}) for name in bands),
        tuple(
            statistics.model_copy(update={"band": name, "mean": 100.0 * (1 + number)})
            for number, name in enumerate(bands)
        ),
    )


def encoder(name: str = "test_resnet", **arguments: Any) -> dict[str, Tensor]:
    """Return weights of an encoder as timm names them, with running means that aren't 0."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        made = timm.create_model(name, num_classes=0, **arguments)
        return {
            key: torch.rand_like(value) + 0.5 if key.endswith(("running_mean", "running_var")) else value.contiguous()
            for key, value in made.state_dict().items()
        }


def started(one: Any, task: Any = TASK, about: Inputs | None = None) -> tuple[TrainableModule, Begun]:
    about = about or inputs()
    network = build(one, task, about, 0)
    return network, start(one, network, task, one.own_inputs(about))


def inside(network: Any, name: str) -> Tensor:
    return network.body.encoder.model.state_dict()[name]


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("prefix", ["", "backbone.", "module.encoder.model."])
def test_an_encoder_has_the_weights_of_a_file(tmp_path: Path, prefix: str, ending: str) -> None:
    theirs = encoder()
    content = {f"{prefix}{name}": value for name, value in theirs.items()} | {"queue": torch.zeros(4)}
    path = tmp_path / f"weights{ending}"
    if ending == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content if ending == ".pt" else {"epoch": 3, "state_dict": content}, path)
    network, begun = started(model(of_file(path)))
    for name, value in network.body.encoder.model.state_dict().items():  # type: ignore[union-attr]
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0, msg=name)
    assert begun.counts["encoder"]["new"] == begun.counts["encoder"]["adapted"] == 0
    assert begun.counts["decoder and heads"]["taken"] == 0


def test_the_first_layer_is_brought_to_the_bands_by_their_names(tmp_path: Path) -> None:
    theirs = encoder()
    save_file(theirs, tmp_path / "rgb.safetensors")
    network, begun = started(model(of_file(tmp_path / "rgb.safetensors", "rgb")), about=named("bgrn"))
    first, mine = theirs["conv1.0.weight"], inside(network, "conv1.0.weight")
    mean = first.mean(1)
    torch.testing.assert_close(mine, torch.stack([first[:, 2], first[:, 1], first[:, 0], mean], 1) * 3 / 4)
    assert begun.counts["encoder"]["adapted"] == 1
    assert begun.notes[0] == "bands: by name: b, g, r; the mean of the others: n"


@pytest.mark.parametrize(
    ("name", "arguments", "bands"),
    [("resnet50", {"in_chans": 13}, "abcdefghijklm"), ("convnext_tiny.dinov3_lvd1689m", {}, "rgb")],
)
def test_published_weights_of_the_field_are_found(
    name: str, arguments: dict[str, Any], bands: str, tmp_path: Path
) -> None:
    """TorchGeo's of 13 bands of Sentinel-2, and DINOv3's as its authors name them, by files of the same layout."""
    theirs = encoder(name, **arguments)
    told = {key: key for key in theirs} if name == "resnet50" else {key: as_published(key) for key in theirs}
    torch.save({told[key]: value for key, value in theirs.items()}, tmp_path / "published.pth")
    one = test_classifier.CLASSIFIER.model_validate(
        {"kind": "classifier", "encoder": name, "start": of_file(tmp_path / "published.pth", bands)}, strict=False
    )
    network, begun = started(one, test_classifier.ONE, named(bands[-2:] + "?"))
    assert (begun.counts["encoder"]["new"], begun.counts["encoder"]["adapted"]) == (0, 1)
    state = network.state_dict()
    for key, value in theirs.items():
        if f"body.{key}" in begun.taken:
            torch.testing.assert_close(state[f"body.{key}"], value, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize("ending", ["pth", "onnx"])
def test_names_of_efficientnet_pytorch_are_known(ending: str, tmp_path: Path) -> None:
    """As segmentation-models-pytorch has them, whose decoder takes the stem's map where timm's takes the next."""
    theirs = smp.Unet("efficientnet-b0", encoder_weights=None, classes=3, decoder_channels=(8, 8, 8, 8, 8))
    state = {f"model.{name}": value for name, value in theirs.state_dict().items() if value.ndim}
    if ending == "pth":
        torch.save(state, tmp_path / "weights.pth")
    else:
        tensors = [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in state.items()]
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "x", [], [], tensors)), tmp_path / "weights.onnx")
    plain = {"encoder": "tf_efficientnet_b0", "depth": 5, "decoder": {"decoder_channels": [8, 8, 8, 8, 8]}}
    network: Any
    network, begun = started(model(of_file(tmp_path / f"weights.{ending}", classes=["a", "b", "c"]), **plain))
    assert [counts["new"] for counts in begun.counts.values()] == [0, 1]
    pixels = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = theirs.encoder.eval()(pixels)[-1]
        torch.testing.assert_close(network.body.encoder.eval()(pixels)[-1], expected, rtol=1e-4, atol=1e-4)


def as_published(name: str) -> str:
    """Return what the authors of ConvNeXt call a weight of timm's."""
    for timms, theirs in (
        ("stem.", "downsample_layers.0."),
        (".blocks.", "."),
        ("conv_dw", "dwconv"),
        ("mlp.fc", "pwconv"),
        ("head.norm", "norm"),
    ):
        name = name.replace(timms, theirs)
    if ".downsample." in name:
        _, stage, _, rest = name.split(".", 3)
        name = f"downsample_layers.{stage}.{rest}"
    return name


def test_what_is_behind_the_encoder_is_taken_beside_it(fitted: SavedModel, tmp_path: Path) -> None:
    weights = {name.removeprefix("body."): torch.from_numpy(value) for name, value in fitted.weights.items()}
    both = {f"student.{name}": torch.full_like(value, 9) for name, value in weights.items()}
    torch.save(both | {f"teacher.{name}": value for name, value in weights.items()}, tmp_path / "weights.pth")
    begin = of_file(tmp_path / "weights.pth", prefix="teacher.encoder.model", classes=["a", "b", "c"])
    network, begun = started(model(begin))
    assert all(counts["new"] == 0 for counts in begun.counts.values())
    for name, value in fitted.weights.items():
        if name in begun.taken:
            np.testing.assert_array_equal(network.state_dict()[name], value, err_msg=name)


def test_what_is_not_used_and_what_names_begin_with_is_told(tmp_path: Path) -> None:
    theirs = {f"backbone.{name}": value for name, value in encoder().items()} | {"head.weight": torch.zeros(3, 3)}
    save_file(theirs, tmp_path / "weights.safetensors")
    _, begun = started(model(of_file(tmp_path / "weights.safetensors")))
    bands, unused, beginning = begun.notes
    assert bands == "bands: by name: x, y, z"
    assert unused.startswith("36 weights that are given are not used: backbone.layer3.")  # of two stages, and the head
    assert beginning == "the names of the encoder's weights begin with backbone."


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_only_numbers_that_a_network_learns_with_are_taken(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = encoder()
    theirs["layer1.0.conv1.weight"] = theirs["layer1.0.conv1.weight"].to(dtype)
    torch.save(theirs, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=r"not numbers(.|\n)*layer1.0.conv1.weight(.|\n)*expected: float16, bfloat16"):
        started(model(of_file(tmp_path / "weights.pth")))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_are_taken_if_they_stay_finite(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = {name: value.to(dtype) if value.ndim else value for name, value in encoder().items()}
    torch.save(theirs, tmp_path / "weights.pth")
    network, _ = started(model(of_file(tmp_path / "weights.pth")))
    assert torch.equal(inside(network, "conv1.0.weight"), theirs["conv1.0.weight"].float())
    if dtype == torch.float64:
        torch.save({**theirs, "layer1.0.bn1.bias": theirs["layer1.0.bn1.bias"] + 1e300}, tmp_path / "weights.pth")
        with pytest.raises(ModelError, match=r"not finite: layer1.0.bn1.bias\n(.|\n)*finite values of float32"):
            started(model(of_file(tmp_path / "weights.pth")))


def test_names_of_which_none_is_known_are_errors_and_so_are_too_few(tmp_path: Path, before: Path) -> None:
    save_file(encoder(), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"no band of this project(.|\n)*expected: x, y, z\n  got: r, g, b"):
        started(model(of_file(tmp_path / "weights.safetensors", "rgb")))
    weights = before / "model.safetensors"
    with pytest.raises(ModelError, match=r"as many classes(.|\n)*expected: the names of 3 classes\n  got: a, b"):
        started(model(of_file(weights, classes=["a", "b"])))
    _, begun = started(model(of_file(weights, classes=["one", "two", "three"])))
    assert "classes: new: a, b, c; not here: one, two, three" in begun.notes


@pytest.mark.parametrize("shape", [(), (1,)])
def test_single_numbers_are_weights_too(shape: tuple[int, ...]) -> None:
    """Model folders give them an axis."""
    network: Any = build(model({"kind": "none"}), TASK, inputs(), 0)
    gain = nn.Parameter(torch.tensor(0.0))
    network.body.encoder.model.layer1[0].register_parameter("gain", gain)
    given = Given("weights", encoder() | {"layer1.0.gain": torch.full(shape, 0.5)}, ("x", "y", "z"))
    begun = begin(network, given, Names("xyz", "abc", frozenset(), frozenset()), "encoder")
    assert begun.counts["encoder"]["new"] == 0
    assert gain.item() == 0.5


def test_names_that_say_the_same_are_refused(tmp_path: Path) -> None:
    theirs = encoder()
    save_file(theirs | {"layer1_0.conv1.weight": theirs["layer1.0.conv1.weight"] * 2}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"more than once|say the same"):
        started(model(of_file(tmp_path / "weights.safetensors")))


def test_layers_without_their_running_means_are_not_frozen(tmp_path: Path) -> None:
    theirs = {name: value for name, value in encoder().items() if "running" not in name}
    save_file(theirs, tmp_path / "weights.safetensors")
    network, _ = started(model(of_file(tmp_path / "weights.safetensors"), freeze="encoder"))
    assert network.frozen
    assert not any(isinstance(network.get_submodule(path), nn.BatchNorm2d) for path in network.still)
    assert not any("bn" in name for name in network.frozen)
    with pytest.raises(ModelError, match="nothing to freeze"):
        started(model(of_file(tmp_path / "weights.safetensors"), freeze="norms"))


def test_weights_of_another_encoder_are_told_by_their_shapes(tmp_path: Path) -> None:
    save_file(encoder("resnet18"), tmp_path / "weights.safetensors")
    expected = r"of another encoder: (.|\n)*expected: the shape \((.|\n)*hint: set model.encoder"
    with pytest.raises(ModelError, match=expected):
        started(model(of_file(tmp_path / "weights.safetensors"), encoder="resnet50"))


def test_of_a_student_and_its_teacher_one_must_be_named(tmp_path: Path) -> None:
    theirs, path = encoder(), tmp_path / "weights.pth"
    both = {f"student.{name}": torch.zeros_like(value) for name, value in theirs.items()}
    torch.save(both | {f"teacher_ema.{name}": value for name, value in theirs.items()}, path)
    with pytest.raises(
        ModelError, match=r"more than once(.|\n)*begin with 'student.', and as many with 'teacher_ema.'"
    ):
        started(model(of_file(path)))
    network, _ = started(model(of_file(path, prefix="teacher_ema.")))
    torch.testing.assert_close(inside(network, "conv1.0.weight"), theirs["conv1.0.weight"])


DAMAGED: dict[str, bytes] = {
    "cut.safetensors": b"\x10\0\0\0\0\0\0\0{",
    "noise.pt": b"noise",
    "noise.onnx": b"noise",
    "code.pt": b"cposix\nsystem\n(S'touch owned'\ntR.",
    "empty.pth": b"",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_without_weights_is_one_error_and_no_code_is_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(ModelError, match=rf"can't be read\n  file: .*{name}\n  expected: weights by name"):
        started(model(of_file(tmp_path / name)))
    assert not (tmp_path / "owned").exists()


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(ModelError, match="can't be read"):
        started(model(of_file(tmp_path / "whole.pt")))


def test_what_is_missing_or_fits_nowhere_is_told(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ModelError, match=r"are missing\n  file: .*\n  hint: check model.start.path"):
        started(model(of_file(path)))
    save_file({"other.layer": torch.zeros(3, 3)}, path)
    with pytest.raises(ModelError, match=r"no weight of the encoder(.|\n)*expected: names such as(.|\n)*other.layer"):
        started(model(of_file(path)))
    theirs = encoder()
    save_file(theirs, path)
    with pytest.raises(ModelError, match=r"as many bands(.|\n)*expected: the names of 3 bands\n  got: x, y"):
        started(model(of_file(path, "xy")))
    with pytest.raises(ModelError, match="no weight of the encoder"):
        started(model(of_file(path, prefix="teacher.")))
    theirs["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    save_file(theirs, path)
    with pytest.raises(ModelError, match=r"not finite: layer1.0.conv1.weight(.|\n)*got: 1 of"):
        started(model(of_file(path)))


def test_means_and_deviations_of_the_weights_replace_those_of_the_pixels(tmp_path: Path) -> None:
    save_file(encoder(), tmp_path / "weights.safetensors")
    one = model(of_file(tmp_path / "weights.safetensors", "rgb", mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]))
    found = one.own_inputs(named("bgn")).statistics
    assert [(each.band, each.mean, each.std) for each in found] == [("b", 3, 6), ("g", 2, 5), ("n", 300, 250)]
    wrong = model(of_file(tmp_path / "weights.safetensors", "rgb", mean=[1.0, 2.0, 3.0], std=[4.0]))
    with pytest.raises(ModelError, match="differ in length"):
        wrong.own_inputs(named("bgn"))


@pytest.fixture(scope="module")
def fitted() -> SavedModel:
    """Return a segmenter that has seen some chips."""
    one = model({"kind": "none"})
    network = build(one, TASK, inputs(), 3)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(10):
            network.train()(torch.rand(4, 3, 32, 32) * 1000 + 300)
    weights = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    about: dict[str, Any] = {"size": 32, "gsd": 10.0, "class_counts": dict.fromkeys("abc", 9), "versions": {}}
    card = ModelCard(format=1, task=TASK, model=one, bands=inputs().bands, statistics=inputs().statistics, **about)
    return SavedModel(card, weights)


@pytest.fixture
def before(fitted: SavedModel, tmp_path: Path) -> Path:
    write_model(tmp_path / "before", fitted)
    return tmp_path / "before"


def scores(network: Any, pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the logits, of which each class has its own."""
    with torch.inference_mode():
        network.eval()
        return np.asarray(network.body(network.prepared(torch.from_numpy(pixels.astype("f4")))))


def said(fitted: SavedModel, pixels: NDArray[Any]) -> NDArray[Any]:
    network = build(fitted.card.model, TASK, inputs(), 0)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in fitted.weights.items()})
    return scores(network, pixels)


def of_model(path: Path, **options: Any) -> dict[str, Any]:
    return {"kind": "bundle", "path": str(path), **options}


def test_a_network_that_starts_from_a_model_says_the_same(fitted: SavedModel, before: Path) -> None:
    pixels = Memory(2, 5).pixels
    network, begun = started(model(of_model(before)))
    np.testing.assert_array_equal(scores(network, pixels), said(fitted, pixels))
    assert all(counts["new"] == counts["adapted"] == 0 for counts in begun.counts.values())
    assert begun.notes == ["bands: by name: x, y, z", "classes: by name: a, b, c"]  # and all are used


def test_without_epochs_the_weights_stay_as_they_are_and_are_scored(
    fitted: SavedModel, before: Path, tmp_path: Path
) -> None:
    one = model({"kind": "bundle", "path": str(before)})
    recipe = Recipe(3, 0.1, 0, 4, Train.model_validate(TRAIN))
    memory = Memory(8, 5)
    known = one.fit(memory, memory, TASK, one.own_inputs(inputs()), recipe, tmp_path)
    assert known.weights.keys() == fitted.weights.keys()
    for name, weight in fitted.weights.items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(known.weights[name], weight)
    assert known.metrics["epochs"] == 0
    assert known.metrics["macro_f1"] is not None
    assert known.history == []
    assert list(tmp_path.iterdir()) == [before]


def test_without_epochs_nothing_behind_the_encoder_may_be_random(before: Path, tmp_path: Path) -> None:
    recipe = Recipe(3, 0.1, 0, 4, Train.model_validate(TRAIN))
    save_file(encoder(), tmp_path / "encoder.safetensors")
    cases = (
        (of_file(tmp_path / "encoder.safetensors"), TASK, "32 that are not there: "),
        ({"kind": "bundle", "path": str(before)}, segmentation("a", "b", "d"), "1 that are not there: class d"),
    )
    for begins, task, told in cases:
        one = model(begins)
        with pytest.raises(ModelError, match=r"a part of the network would be random(.|\n)*" + told):
            one.fit(Memory(8, 5), Memory(4, 6), task, one.own_inputs(inputs()), recipe, tmp_path / "fit")
        one.check(task, inputs(), Sizes(32, 4, 32))
        with pytest.raises(ModelError, match="a part of the network would be random"):
            one.check(task, inputs(), Sizes(32, 4, 32, trains=False))


def test_other_orders_of_bands_and_classes_and_new_ones_say_the_same_of_the_old(
    fitted: SavedModel, before: Path
) -> None:
    about, pixels, expected = inputs(), Memory(2, 5).pixels, said(fitted, Memory(2, 5).pixels)
    turned = Inputs(about.bands[::-1], about.statistics[::-1])
    network, begun = started(model(of_model(before)), segmentation("c", "town", "a"), turned)
    found = scores(network, pixels[:, ::-1])
    np.testing.assert_allclose(found[:, [2, 0]], expected[:, [0, 2]], rtol=1e-4, atol=1e-4)
    assert "bands: by name: z, y, x" in begun.notes
    assert "classes: by name: c, a; new: town; not here: b" in begun.notes


def test_models_of_earlier_versions_are_read_and_started_from(fitted: SavedModel, before: Path) -> None:
    card = json.loads((before / "model.json").read_text())
    earlier = {key: value for key, value in card["model"].items() if key not in {"start", "freeze"}}
    (before / "model.json").write_text(json.dumps({**card, "model": {**earlier, "pretrained": True}}))
    assert read_model(before).card.model == fitted.card.model
    _, begun = started(model(of_model(before)))
    assert begun.counts["encoder"]["new"] == 0


def test_an_encoder_alone_leaves_the_rest_at_random(before: Path) -> None:
    _, begun = started(model(of_model(before, part="encoder")))
    assert begun.counts["encoder"]["new"] == 0
    assert begun.counts["decoder and heads"]["taken"] == 0


def test_a_model_of_the_same_classes_of_another_architecture_gives_its_encoder(before: Path) -> None:
    other = model(of_model(before), architecture="fpn", depth=5, decoder={})
    _, begun = started(other)
    assert begun.counts["encoder"]["taken"] > 0


def test_the_statistics_of_a_model_are_kept_or_new(before: Path) -> None:
    about = inputs()
    mine = Inputs(about.bands, tuple(each.model_copy(update={"mean": 1.0}) for each in about.statistics))
    kept = model(of_model(before)).own_inputs(mine).statistics
    new = model(of_model(before, normaliser="new")).own_inputs(mine).statistics
    assert [each.mean for each in kept] == [800.0, 800.0, 500.0]
    assert [each.mean for each in new] == [1.0, 1.0, 1.0]


def test_values_that_mean_something_else_are_refused(before: Path) -> None:
    about = inputs()
    other = (about.bands[0].model_copy(update={"unit": "reflectance", "scale": 0.0001}), *about.bands[1:])
    with pytest.raises(ModelError, match=r"other values of the band x(.|\n)*unit DN(.|\n)*unit reflectance(.|\n)*new"):
        model(of_model(before)).own_inputs(replace(about, bands=other))
    model(of_model(before, normaliser="new")).own_inputs(replace(about, bands=other))


def test_bands_under_other_names_are_told_in_the_models_order(before: Path, fitted: SavedModel) -> None:
    pixels = Memory(2, 5).pixels
    about = named("rgb")
    network, _ = started(model(of_model(before, bands=["r", "g", "b"])), about=about)
    own = model(of_model(before, bands=["r", "g", "b"])).own_inputs(about)
    assert [each.mean for each in own.statistics] == [800.0, 800.0, 500.0]
    rebuilt = build(model({"kind": "none"}), TASK, own, 0)
    rebuilt.load_state_dict({**network.state_dict(), "mean": rebuilt.mean, "std": rebuilt.std})
    np.testing.assert_array_equal(scores(rebuilt, pixels), said(fitted, pixels))
    with pytest.raises(ModelError, match=r"as many bands as the model(.|\n)*expected: 3 bands, for x, y, z"):
        started(model(of_model(before, bands=["r"])), about=about)


def fit(one: Segmenter, place: Path, **train: Any) -> Fitted:
    recipe = Recipe(1, 0.01, 2, 4, Train.model_validate({**TRAIN, **train}))
    return one.fit(Memory(10, 0), Memory(4, 1), TASK, inputs(), recipe, place)


@pytest.mark.parametrize("freeze", ["encoder", "norms"])
def test_what_is_frozen_does_not_learn(freeze: str, before: Path, fitted: SavedModel, tmp_path: Path) -> None:
    learnt = fit(model(of_model(before), freeze=freeze), tmp_path / "checkpoint").weights
    changed = {name for name, value in fitted.weights.items() if value.ndim and not np.array_equal(learnt[name], value)}
    norms = {name for name in fitted.weights if name.rpartition(".")[0] + ".running_mean" in fitted.weights}
    encoders = {name for name in fitted.weights if name.startswith("body.encoder.")}
    still = encoders if freeze == "encoder" else encoders & norms
    assert still
    assert not changed & still
    assert any(name.startswith("body.decoder.") for name in changed)
    assert (changed & encoders == set()) is (freeze == "encoder")


def test_nothing_to_freeze_is_told(tmp_path: Path) -> None:
    theirs = encoder("test_convnext")
    save_file({"stem.0.weight": theirs["stem.0.weight"]}, tmp_path / "first.safetensors")
    one = model(of_file(tmp_path / "first.safetensors", "xyz"), encoder="test_convnext", freeze="norms")
    with pytest.raises(ModelError, match=r"nothing to freeze(.|\n)*layers of normalisation(.|\n)*freeze to none"):
        started(one)
    with pytest.raises(ValidationError, match="would leave random weights untrained"):
        model({"kind": "none"}, freeze="encoder")


def test_the_encoder_learns_at_a_rate_of_its_own(before: Path, fitted: SavedModel, tmp_path: Path) -> None:
    quick = fit(model(of_model(before)), tmp_path / "quick").weights
    slow = fit(model(of_model(before)), tmp_path / "slow", encoder_lr=0.01).weights

    def moved(weights: Mapping[str, NDArray[Any]], part: str) -> float:
        names = [name for name in weights if name.startswith(part) and name.endswith("weight")]
        return float(np.mean([np.abs(weights[name] - fitted.weights[name]).mean() for name in names]))

    assert moved(slow, "body.encoder.") < 0.03 * moved(quick, "body.encoder.")
    assert moved(slow, "body.decoder.") > 0.3 * moved(quick, "body.decoder.")


def test_a_fit_that_was_killed_goes_on_from_where_it_was_and_not_from_the_start(before: Path, tmp_path: Path) -> None:
    class Interrupted(Memory):
        reads = 0

        def read(self, indices: NDArray[np.intp]) -> Any:
            self.reads += 1
            if self.reads > 5:
                raise InterruptedError
            return super().read(indices)

    one = model(of_model(before), freeze="norms")
    recipe = Recipe(1, 0.01, 4, 4, Train.model_validate(TRAIN))
    whole = one.fit(Memory(10, 0), Memory(4, 1), TASK, inputs(), recipe, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        one.fit(Interrupted(10, 0), Memory(4, 1), TASK, inputs(), recipe, tmp_path / "half")
    assert (tmp_path / "half/last.ckpt").exists()
    again = one.fit(Memory(10, 0), Memory(4, 1), TASK, inputs(), recipe, tmp_path / "half")
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(again.weights[name], value, err_msg=name)


def test_what_a_network_started_from_is_not_needed_to_restore_it(before: Path, tmp_path: Path) -> None:
    one, pixels = model(of_model(before)), Memory(2, 5).pixels
    learnt = fit(one, tmp_path / "checkpoint")
    for file in before.iterdir():
        file.unlink()
    assert np.isfinite(one.restore(learnt.weights, TASK, inputs())(pixels)["scores"]).all()
    assert one.onnx(learnt.weights, TASK, inputs())
