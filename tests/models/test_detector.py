"""Detectors: they learn planted blobs, are taught as torchvision teaches, and say the same wherever they run."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import MultiScaleRoIAlign, generalized_box_iou_loss, nms, sigmoid_focal_loss

from quadrat.errors import ModelError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.models import Detector
from quadrat.models.detector.anchors import anchors, cells, decoded
from quadrat.models.detector.box_network import BoxNetwork
from quadrat.models.detector.one_stage import Dense, matched_by_place
from quadrat.models.detector.targets import BACKGROUND, UNSURE, Taught, box_loss, class_loss, matched_by_overlap, taught
from quadrat.models.detector.two_stage import pooled, proposed
from quadrat.models.training.neural import build
from tests.models.boxes import Boxes, Memory, Weights, inputs, overlap, recipe

ANCHORS = {"scales": [2.0, 4.0], "ratios": [1.0]}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "fcos": {"kind": "fcos"},
    "retinanet": {"kind": "retinanet", **ANCHORS},
    "faster_rcnn": {"kind": "faster_rcnn", **ANCHORS, "proposals": 16},
}
NAN = float("nan")


def detector(architecture: str = "fcos", **changed: Any) -> Detector:
    parameters = {"encoder": "test_resnet", "dates": None}
    parameters |= {"strides": [4, 8], "channels": 32, "depth": 1}
    given = {"kind": "detector", "architecture": ARCHITECTURES[architecture], **parameters} | changed
    return Detector.model_validate(given, strict=False)  # JSON's arrays are tuples here


def network(architecture: str = "fcos", bands: int = 3, seed: int = 0, **changed: Any) -> BoxNetwork[Any]:
    built = build(detector(architecture, **changed), Boxes(), inputs(bands), seed)  # type: ignore[arg-type]
    assert isinstance(built, BoxNetwork)
    return built


def fit(architecture: str, checkpoint: Path, epochs: int = 8, training: Memory | None = None) -> Any:
    task, chips = Boxes(), training or Memory(64, 0)
    return detector(architecture).fit(chips, Memory(16, 1), task, inputs(), recipe(epochs), checkpoint)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {name: fit(name, tmp_path_factory.mktemp(name)) for name in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_planted_blobs(fitted: dict[str, Any], architecture: str) -> None:
    learnt = fitted[architecture]
    assert learnt.metrics["map50"] > 0.8
    assert learnt.history[-1]["train_loss"] < 0.6 * learnt.history[0]["train_loss"]
    assert learnt.history[-1]["validation_loss"] < 0.9 * learnt.history[0]["validation_loss"]
    found = detector(architecture).restore(learnt.weights, Boxes(), inputs())(Memory(1, 2).pixels)  # type: ignore[arg-type]
    labels = Memory(1, 2).boxes[0]
    assert np.isfinite(labels).all(1).any()
    for label in labels[np.isfinite(labels).all(1)]:
        best = found["boxes"][0][np.argsort(-found["scores"][0, :, int(label[4])])[:20]]
        assert max(overlap(box, label) for box in best) > 0.5


class Interrupted(Memory):
    """Chips that can't be read any more after a while: what a kill looks like from within."""

    left = 30

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        self.left -= 1
        if not self.left:
            raise InterruptedError
        return super().read(indices)


def test_interrupted_and_resumed_it_ends_with_the_same_weights(fitted: dict[str, Any], tmp_path: Path) -> None:
    """What is kept to go on from is the learner's, whatever the architecture."""
    with pytest.raises(InterruptedError):
        fit("retinanet", tmp_path, training=Interrupted(64, 0))
    assert (tmp_path / "last.ckpt").exists()
    resumed = fit("retinanet", tmp_path)
    assert resumed.history == fitted["retinanet"].history
    for name, values in fitted["retinanet"].weights.items():
        np.testing.assert_array_equal(resumed.weights[name], values, err_msg=name)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("bands", [1, 13])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_onnx_says_the_same_for_any_chips_and_sizes(fitted: dict[str, Any], architecture: str, bands: int) -> None:
    model = detector(architecture)
    weights = {name: values.numpy() for name, values in network(architecture, bands).state_dict().items()}
    if bands == 13:  # what has learnt has much to say: it tells ties and suppression apart
        bands, weights = 3, fitted[architecture].weights
    graph = model.onnx(weights, Boxes(), inputs(bands))  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(graph)
    predictor = model.restore(weights, Boxes(), inputs(bands))  # type: ignore[arg-type]
    assert [(o.name, o.shape[:2]) for o in session.get_outputs()] == [(n, ["chip", "location"]) for n in NAMES]
    pixels = Memory(5, 3, 96, bands).pixels
    for window in (pixels, pixels[:1, :, :64, :40], pixels[:3, :, :8, :], pixels[2:4, :, 16:80, 16:80]):
        expected = predictor(window)
        outputs = dict(zip(NAMES, session.run(NAMES, {"pixels": window.astype(np.float32)}), strict=True))
        for name in NAMES:
            assert expected[name].dtype == np.float32
            np.testing.assert_allclose(outputs[name], expected[name], atol=1e-4, rtol=1e-5)
        assert ((expected["scores"] >= 0) & (expected["scores"] <= 1)).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_boxes_are_cut_at_the_windows_edge_as_labels_are(architecture: str) -> None:
    net, pixels = network(architecture).eval(), torch.from_numpy(Memory(2, 3, 96, 3).pixels)[..., :64, :].float()
    with torch.inference_mode():
        seen = net.look(net.prepared(pixels))
        whole, told = net.outputs(seen), net(pixels)
        found, _ = net.examined(pixels, {"boxes": torch.full((2, 1, 5), NAN)}, Weights(), torch.ones(2))
    assert architecture == "faster_rcnn" or (whole["boxes"][..., :2] < -1).any()
    wanted = torch.stack([whole["boxes"][..., n].clamp(0, (96, 64)[n % 2]) for n in range(4)], -1)
    for outputs in (told, found):
        torch.testing.assert_close(outputs["boxes"], wanted, rtol=0, atol=0)
        torch.testing.assert_close(outputs["scores"], whole["scores"], rtol=0, atol=0)


NAMES = ["scores", "boxes"]


@pytest.mark.parametrize("bands", [1, 13])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_any_bands_and_coarser_strides_than_the_encoders(architecture: str, bands: int) -> None:
    found = network(architecture, bands, strides=[16, 32, 64, 128]).eval()(torch.rand(2, bands, 256, 128))
    count = {"fcos": 128 + 32 + 8 + 2, "retinanet": 2 * (128 + 32 + 8 + 2), "faster_rcnn": 16}[architecture]
    assert {name: values.shape for name, values in found.items()} == {
        "scores": (2, count, 2),
        "boxes": (2, count, 4),
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_chips_without_boxes_teach_that_nothing_is_there(architecture: str) -> None:
    net = network(architecture)
    pixels = torch.rand(3, 3, 64, 64) * 255
    for shape in ((3, 0, 5), (3, 4, 5)):
        loss = net.loss(net.normalise(pixels), {"boxes": torch.full(shape, NAN)}, Weights(), torch.ones(2))
        loss.backward()
        assert torch.isfinite(loss)
        assert loss > 0
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    some = torch.tensor([[[8.0, 8, 24, 24, 1], [NAN] * 5], [[NAN] * 5, [NAN] * 5], [[0, 0, 64, 64, IGNORE], [NAN] * 5]])
    assert torch.isfinite(net.loss(net.normalise(pixels), {"boxes": some}, Weights(), torch.ones(2)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ignored_regions_teach_nothing(architecture: str) -> None:
    net = network(architecture)
    target = torch.tensor([[[8.0, 8, 24, 24, 1], [32, 0, 64, 64, IGNORE], [NAN] * 5]])
    seen = net.look(net.normalise(torch.rand(1, 3, 64, 64) * 255), target)
    parts = [seen] if isinstance(seen, Dense) else [seen.first, seen]
    for part in parts:
        part.logits.retain_grad()
        part.boxes.retain_grad()
    losses = net.losses(seen, target)
    (losses.classification + losses.boxes).backward()
    for part in parts:
        starts = part.starts if isinstance(part, Dense) else part.proposals[0].detach()
        middle = (starts[:, :2] + starts[:, 2:]) / 2
        hidden = (middle[:, 0] > 32) & (middle[:, 0] < 64)
        real = (starts[:, 2:] > starts[:, :2]).all(1)
        assert part.logits.grad is not None
        assert hidden.any()
        assert (part.logits.grad[0][hidden] == 0).all()
        assert (part.logits.grad[0][~hidden & real] != 0).any(-1).float().mean() > 0.9
        assert part.boxes.grad is not None
        assert (part.boxes.grad[0][hidden] == 0).all()
        assert (part.boxes.grad != 0).any()


@pytest.mark.parametrize("found", [0.0, 0.2, 1.0])
def test_losses_and_their_gradients_are_as_when_locations_are_gathered(found: float) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 3, 40, 2, generator=generator) * 50
    boxes, aims = torch.cat([corner, corner + torch.rand(2, 3, 40, 2, generator=generator) * 30], -1)
    boxes[0, :5] = boxes[0, :5, [0, 1, 0, 1]]  # no area
    classes = torch.where(torch.rand(3, 40, generator=generator) < found, 1, BACKGROUND)
    classes[:, ::7] = UNSURE
    wanted = Taught(classes, aims)
    ours, theirs = ((boxes.clone().requires_grad_(), torch.zeros(3, 40, 2, requires_grad=True)) for _ in range(2))
    (box_loss(ours[0], wanted) + class_loss(ours[1], wanted)).backward()
    truth = torch.nn.functional.one_hot(classes.clamp(min=0), 2) * wanted.found[..., None]
    sure, mine, count = classes != UNSURE, wanted.found, max(1, int(wanted.found.sum()))
    gathered = generalized_box_iou_loss(theirs[0][mine], aims[mine], reduction="sum")
    gathered = gathered + sigmoid_focal_loss(theirs[1][sure], truth[sure].float(), reduction="sum")
    (gathered / count).backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_an_object_within_an_ignored_region_teaches() -> None:
    starts = anchors([torch.zeros(1, 1, 8, 8)], [8], torch.ones(1, 2))
    labels = torch.tensor([[0.0, 0, 64, 64, IGNORE], [16, 16, 32, 32, 1]])
    wanted = taught(labels, starts, matched_by_place(starts))
    assert set(wanted.classes.tolist()) == {1, UNSURE}
    torch.testing.assert_close(wanted.boxes[wanted.found], labels[1:, :4].expand(int(wanted.found.sum()), 4))


@pytest.mark.parametrize("strides", [(4, 8), (8, 16, 32)])
def test_anchors_are_centred_on_the_cells_of_each_level(strides: tuple[int, ...]) -> None:
    maps = [torch.zeros(1, 1, 64 // stride, 96 // stride) for stride in strides]
    shapes = [(scale / ratio**0.5, scale * ratio**0.5) for ratio in (0.5, 2.0) for scale in (3.0, 5.0)]
    expected = [
        (s * (x + 0.5) - s * w / 2, s * (y + 0.5) - s * h / 2, s * (x + 0.5) + s * w / 2, s * (y + 0.5) + s * h / 2)
        for s in strides
        for y in range(64 // s)
        for x in range(96 // s)
        for w, h in shapes
    ]
    torch.testing.assert_close(anchors(maps, strides, cells((3.0, 5.0), (0.5, 2.0))), torch.tensor(expected))


def test_codes_are_decoded_as_torchvision_does() -> None:
    generator = torch.Generator().manual_seed(0)
    corner, sides = torch.rand(50, 2, generator=generator) * 90, torch.rand(50, 2, generator=generator) * 40 + 1
    starts, codes = torch.cat([corner, corner + sides], 1), torch.randn(50, 4, generator=generator) * 4
    for weights, scale in (((1.0, 1.0, 1.0, 1.0), (1.0, 1.0)), ((10.0, 10.0, 5.0, 5.0), (0.1, 0.2))):
        torch.testing.assert_close(decoded(codes, starts, scale), BoxCoder(weights).decode_single(codes, starts))


objects = st.lists(
    st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(1, 80), st.floats(1, 80), st.integers(0, 1)),
    min_size=1,
    max_size=6,
)


def as_labels(drawn: list[tuple[float, float, float, float, int]]) -> Tensor:
    return torch.tensor([[x, y, x + w, y + h, k] for x, y, w, h, k in drawn])


@given(drawn=objects)
def test_fcos_is_taught_as_torchvision_teaches_it(drawn: list[tuple[float, float, float, float, int]]) -> None:
    """But for objects whose size is just a limit of two levels: they are of the finer one here, and of none there."""
    labels, net = as_labels(drawn), network()
    labels[:, :4] += torch.tensor([0.31, 0.37, 0.43, 0.47])
    with torch.no_grad():
        maps = net.pyramid(torch.zeros(1, 3, 96, 96))
        sides, centred = net.sides(maps)  # type: ignore[operator]  # torchvision's
        heads = {"cls_logits": net.classes(maps), "bbox_regression": sides, "bbox_ctrness": centred}  # type: ignore[operator]
        seen = net.look(torch.zeros(1, 3, 96, 96))
        ours = net.losses(seen, labels[None])
        this: Any = SimpleNamespace(center_sampling_radius=1.5, head=FCOSHead(32, 1, 2))
        target = [{"boxes": labels[:, :4], "labels": labels[:, 4].long()}]
        theirs = FCOS.compute_loss(this, target, heads, [seen.starts], [m.shape[2] * m.shape[3] for m in maps])
    torch.testing.assert_close(ours.classification, theirs["classification"])
    torch.testing.assert_close(ours.boxes, theirs["bbox_regression"] + theirs["bbox_ctrness"])


@given(drawn=objects)
def test_retinanet_is_taught_as_torchvision_teaches_it(drawn: list[tuple[float, float, float, float, int]]) -> None:
    labels, net = as_labels(drawn), network("retinanet")
    with torch.no_grad():
        heads = net.head(net.pyramid(torch.zeros(1, 3, 96, 96)))  # type: ignore[operator]
        seen = net.look(torch.zeros(1, 3, 96, 96))
        ours = net.losses(seen, labels[None])
        net.head.regression_head._loss_type = "giou"  # type: ignore[union-attr]
        this: Any = SimpleNamespace(proposal_matcher=Matcher(0.5, 0.4, allow_low_quality_matches=True), head=net.head)
        target = [{"boxes": labels[:, :4], "labels": labels[:, 4].long()}]
        theirs = RetinaNet.compute_loss(this, target, heads, [seen.starts])
    torch.testing.assert_close(ours.classification, theirs["classification"])
    torch.testing.assert_close(ours.boxes, theirs["bbox_regression"])


def test_overlap_matches_objects_background_and_the_unsure() -> None:
    starts = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 22], [0, 0, 10, 30], [50, 50, 60, 60]])
    match = matched_by_overlap(starts, 0.5, 0.4, each=False)
    assert match(torch.tensor([[0.0, 0, 10, 10]])).tolist() == [0, UNSURE, BACKGROUND, BACKGROUND]
    match = matched_by_overlap(starts, 0.5, 0.4, each=True)
    assert match(torch.tensor([[55.0, 55, 75, 75], [0, 0, 10, 10]])).tolist() == [1, UNSURE, BACKGROUND, 0]


@pytest.mark.parametrize("architecture", ["fcos", "retinanet"])
def test_what_moves_by_a_stride_moves_boxes_by_it(architecture: str) -> None:
    net = network(architecture).eval()
    pixels = torch.full((1, 3, 320, 320), 100.0)
    pixels[:, 0, 150:170, 150:166] = 160
    with torch.inference_mode():
        before, after = net(pixels), net(pixels.roll((8, 16), (2, 3)))
    count = 80 * 80 * (1 if architecture == "fcos" else 2)

    def finest(found: dict[str, Tensor], name: str, down: int, right: int) -> Tensor:
        grid = found[name][0, :count].reshape(80, 80, -1, found[name].shape[-1])
        return grid[30 + down : 50 + down, 30 + right : 50 + right]

    moved = torch.tensor([16.0, 8, 16, 8])
    torch.testing.assert_close(finest(after, "boxes", 2, 4), finest(before, "boxes", 0, 0) + moved, atol=1e-3, rtol=0)
    torch.testing.assert_close(finest(after, "scores", 2, 4), finest(before, "scores", 0, 0), atol=1e-5, rtol=0)
    middle = finest(before, "scores", 0, 0)
    assert middle.std(dim=(0, 1)).max() > 1e-6  # the square is seen


@given(seed=st.integers(0, 1000), chips=st.integers(1, 3), count=st.sampled_from([3, 20, 60]))
def test_proposals_are_those_of_a_loop_over_chips(seed: int, chips: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(chips, 100, 2, generator=generator) * 80 - 10
    boxes = torch.cat([corner, corner + torch.rand(chips, 100, 2, generator=generator) * 40], -1)
    logits = torch.randn(chips, 100, 1, generator=generator)
    found = proposed(Dense(logits, boxes, boxes[0]), 64, 48, count)
    assert found.shape == (chips, count, 4)
    for chip in range(chips):
        best = logits[chip, :, 0].argsort(descending=True)[: 4 * count]
        clipped = torch.stack([boxes[chip, best, 0::2].clamp(0, 48), boxes[chip, best, 1::2].clamp(0, 64)], -1).flatten(
            1
        )
        kept = [n for n in nms(clipped, logits[chip, best, 0], 0.7).tolist() if (clipped[n, 2:] > clipped[n, :2]).all()]
        in_order = sorted(kept[:count], key=lambda n: int(best[n]))
        expected = torch.zeros(count, 4)
        expected[: len(in_order)] = clipped[in_order]
        torch.testing.assert_close(found[chip], expected)


def test_proposals_are_pooled_from_the_level_of_their_size() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 3, 256 // stride, 256 // stride, generator=generator) for stride in (4, 8, 16)]
    corner = torch.rand(2, 30, 2, generator=generator) * 100
    boxes = torch.cat([corner, corner + torch.rand(2, 30, 2, generator=generator) * 300 + 16], -1)
    size = (boxes[..., 2:] - boxes[..., :2]).prod(-1).sqrt().flatten()
    found, seen = pooled(maps, (4, 8, 16), boxes), 0
    for stride, least, most in ((4, 0, 112), (8, 112, 224), (16, 224, 999)):
        mine = (size >= least) & (size < most)
        pool = MultiScaleRoIAlign(["0", "1", "2"], 7, 2)  # which looks half a pixel of the level further left
        expected = pool({str(n): m for n, m in enumerate(maps)}, list(boxes - stride / 2), [(256, 256)] * 2)
        torch.testing.assert_close(found[mine], expected[mine])
        seen += int(mine.any())
    assert seen == 3


def test_a_score_is_the_root_of_class_and_centre() -> None:
    net = network()
    seen = Dense(torch.zeros(1, 2, 2), torch.zeros(1, 2, 4), torch.zeros(2, 4), torch.tensor([[0.0, 30.0]]))
    torch.testing.assert_close(net.outputs(seen)["scores"], torch.tensor([[[0.5, 0.5], [0.5**0.5, 0.5**0.5]]]))


def test_padding_of_proposals_has_scores_of_zero() -> None:
    found = network("faster_rcnn").eval()(torch.zeros(1, 3, 8, 8))
    nothing = (found["boxes"] == 0).all(-1)
    assert nothing.any()
    assert (found["scores"][nothing] == 0).all()
    assert (found["scores"][~nothing] > 0).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoder": "nosuch"}, "nosuch"),
        ({"strides": [1, 2]}, r"has the strides \[2, 4, 8, 16, 32\]"),
    ],
)
def test_a_detector_that_can_not_be_built_is_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=rf"no network can be built(.|\n)*{message}"):
        network(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"strides": []},
        {"strides": [4, 16]},
        {"strides": [6, 12]},
        {"strides": [8, 4]},
        {"channels": 40},
        {"depth": 0},
        {"architecture": {"kind": "retinanet", "scales": [], "ratios": [1.0]}},
        {"architecture": {"kind": "fcos", "scales": [1.0]}},
        {"architecture": {"kind": "faster_rcnn", **ANCHORS}},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Detector.model_validate({**detector().model_dump(), **wrong}, strict=False)


def test_windows_are_multiples_of_the_coarsest_stride() -> None:
    assert detector(strides=[4, 8, 16, 32, 64]).divisor == 64
