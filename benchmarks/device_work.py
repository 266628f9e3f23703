"""What is measured on a device: training and prediction beside the same network in memory, and the device's own pace.

Each function returns pace in amounts a second. ``idle`` is the share of the time in which no kernel ran and nothing was
copied, as torch's profiler tells it of work of its own, which the pace is not taken from; None where it tells nothing.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from benchmarks import plan
from benchmarks.device_clock import compiling, each, now, timed, traced, watched
from benchmarks.ground import Ground
from benchmarks.job import Job
from quadrat.models import Inputs, Recipe, Segmenter, Train
from quadrat.models.common.devices import PRECISIONS, autocast, device, on_device, readers, scenes_at_once
from quadrat.models.common.torch_predictor import TorchPredictor
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.training.fitting import fit
from quadrat.models.training.learner import Learner
from quadrat.models.training.neural import build
from quadrat.prediction.sliding_window import Predict, predict_scene
from quadrat.runtime.parallel import Threads, cores, results
from quadrat.scenes.catalog import read_catalog
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers

Found = dict[str, float | None]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    chip: int = 256
    """Side of chips and windows, px."""
    steps: int = 24
    """Training steps of an epoch, and forward passes."""
    images: int = 512
    """Images of 224 px that the device's own pace is measured with."""
    held: int = 512
    """Chips in memory."""
    precisions: tuple[str, ...] = PRECISIONS
    """Those whose answers are compared."""


@dataclass(frozen=True)
class Setting:
    """A network, how it runs, and on which ground."""

    ground: Ground
    sizes: Sizes
    encoder: str
    compiled: bool


def anchor(sizes: Sizes, *, compiled: bool) -> Found:
    """Run torchvision's ResNet-50 over images of 224 px, in float16 on a GPU: images a second."""
    from torchvision.models import resnet50

    dtype = torch.float16 if device().type == "cuda" else torch.float32
    network = resnet50().to(device(), dtype, memory_format=torch.channels_last).eval()
    images = torch.rand(sizes.images, 3, 224, 224, device=device(), dtype=dtype)
    images = images.contiguous(memory_format=torch.channels_last)
    if compiled:
        network.compile()
    with torch.inference_mode(), watched() as peak:
        seconds = each(partial(network, images), sizes.steps)
    return {"floor": sizes.images / seconds, "peak": peak()}


def train(setting: Setting, batch: int) -> Found:
    """Train a U-Net by the project's own ``fit``, and beside it by bare steps on a batch in memory: chips a second."""
    with compiling(setting.compiled):
        floor = _steps_in_memory(setting, batch)
        with watched() as peak:
            seconds, idle = _epochs(setting, batch)
    return {"floor": batch / floor, "ours": batch / seconds, "idle": idle, "peak": peak()}


def predict(setting: Setting, stride: int, folder: Path) -> Found:
    """Predict all scenes to COGs of labels, and beside it run the network in memory, and decode: Mpix/s of scenes."""
    ground, side = setting.ground, setting.sizes.chip
    with compiling(setting.compiled):
        run = TorchPredictor(network_of(setting).to(device()).eval())
    shape = len(ground.bands), side, side
    at_once = min(run.windows_at_once(shape, ground.dtype), (ground.height // stride) * (ground.width // stride))
    pixels = on_device(np.random.default_rng(1).integers(0, 3000, (at_once, *shape), "u2"))
    looks = (side / stride) ** 2
    forward = at_once * side**2 / 1e6 / looks / each(lambda: run.tensors(pixels), setting.sizes.steps)
    scenes = partial(_scenes, ground, run, stride, side, folder)
    scenes()  # the first time sets up what is kept
    with watched() as peak:
        seconds = timed(scenes)
    with traced() as idle:
        scenes()
    decode = ground.pixels / 1e6 / timed(partial(_decode, ground))
    found: Found = {"floor": min(forward, decode), "forward": forward, "decode": decode, "idle": idle(), "peak": peak()}
    return found | {"ours": ground.pixels / 1e6 / seconds}


class _Chips:
    """Chips in memory, each many times: ``count`` of them."""

    def __init__(self, setting: Setting, count: int) -> None:
        generator, side = np.random.default_rng(1), setting.sizes.chip
        held, ground = min(count, setting.sizes.held), setting.ground
        self._pixels = generator.integers(0, 3000, (held, len(ground.bands), side, side), ground.dtype)
        self._classes = generator.integers(0, ground.classes, (held, side, side), np.uint8)
        self._count = count

    def __len__(self) -> int:
        return self._count

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        held = indices % len(self._pixels)
        return self._pixels[held], {"classes": self._classes[held]}

    def class_counts(self) -> NDArray[np.int64]:
        return np.bincount(self._classes.ravel())


def network_of(setting: Setting) -> TrainableModule:
    """Return the untrained network."""
    about = {"kind": "segmenter", "architecture": "unet", "depth": 5, "encoder": setting.encoder}
    return build(Segmenter.model_validate(about), plan.task(setting.ground), _inputs(setting.ground), seed=1)


def _inputs(ground: Ground) -> Inputs:
    return Inputs(plan.bands(ground), plan.statistics(ground))


def _steps_in_memory(setting: Setting, batch: int) -> float:
    """Return the seconds of a step of the network alone: cross-entropy and AdamW, on one batch, channels last."""
    network: Any = network_of(setting).to(memory_format=torch.channels_last).to(device())
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    raw, target = _Chips(setting, batch).read(np.arange(batch))
    pixels, truth = network.prepared(on_device(raw)), torch.from_numpy(target["classes"]).long().to(device())
    if setting.compiled:
        network.body.compile()

    def step() -> None:
        optimizer.zero_grad()
        with autocast():
            loss = torch.nn.functional.cross_entropy(network.body(pixels), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return each(step, setting.sizes.steps)


def _epochs(setting: Setting, batch: int) -> tuple[float, float | None]:
    """Return the seconds of a step of the second of three epochs, and the third one's idle share."""
    marks: list[float] = []
    told: list[Callable[[], float | None]] = []
    with ExitStack() as tracing:

        def begins() -> None:
            if len(marks) == 4:
                told.append(tracing.enter_context(traced()))
            marks.append(now())

        def ends() -> None:
            marks.append(now())
            tracing.close()

        with (
            patch.object(Learner, "on_train_epoch_start", _before(Learner.on_train_epoch_start, begins)),
            patch.object(Learner, "on_validation_epoch_start", _before(Learner.on_validation_epoch_start, ends)),
        ):
            job = Job(setting.ground, setting.ground.folder, batch=batch)
            chips, few = _Chips(setting, batch * setting.sizes.steps), _Chips(setting, 4)
            network, task = network_of(setting), plan.task(setting.ground)
            fit(network, chips, few, task, recipe(batch), plan.fresh(job, "checkpoints"))
    return (marks[3] - marks[2]) / setting.sizes.steps, told[0]()


def _before(method: Callable[..., Any], told: Callable[[], None]) -> Callable[..., Any]:
    def both(*args: Any) -> Any:
        told()
        return method(*args)

    return both


def recipe(batch: int) -> Recipe:
    """Return how a network learns in ``params.yaml``, for three epochs."""
    loss = {"kind": "semantic_segmentation", "dice": 0.5, "label_smoothing": 0.05, "class_balance": 0.5}
    augment = {"flip_rotate": True, "gain": 0.03, "offset": 0.03}
    about = {"weight_decay": 0.05, "warmup": 0.05, "gradient_clip_norm": 1.0, "ema_decay": 0.99}
    train = Train.model_validate({"loss": loss, "augment": augment, **about})
    return Recipe(seed=1, lr=1e-4, epochs=3, batch_size=batch, train=train)


def _scenes(ground: Ground, run: TorchPredictor, stride: int, side: int, folder: Path) -> None:
    about = {"kind": "semantic_segmentation"}
    section = Predict(window_size=side, stride=stride, layers=SegmentationLayers.model_validate(about, strict=False))
    catalog = read_catalog(ground.catalog(dict.fromkeys(range(ground.count), "predict")))
    task = plan.task(ground)

    def one(scene: Any) -> None:
        with scene.open(ground.bands, task, readers()) as opened:
            predict_scene(opened, run, task, section, folder / scene.id, None)

    for _ in results(Threads(scenes_at_once()).map(one, catalog)):
        pass


def _decode(ground: Ground) -> None:
    """Decode each block of all images once, with all processors."""

    def some(path: Path, first: int) -> None:
        with rasterio.open(path) as dataset:
            for _, window in list(dataset.block_windows(1))[first :: cores()]:
                dataset.read(window=window)

    with ThreadPoolExecutor(cores()) as pool:
        for path in ground.images:
            list(pool.map(partial(some, path), range(cores())))
