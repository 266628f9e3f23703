"""The parameters of the comparison: a task, a model and a recipe that both sides can be told."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ground import Ground
from benchmarks.job import ROOT, Job
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs, Predictor, Recipe, Segmenter, Train
from quadrat.tasks import SemanticSegmentation


def task(ground: Ground) -> SemanticSegmentation:
    """Return the task that the labels of ``ground`` teach."""
    classes = [{"name": f"c{n}", "color": f"#{40 * n:02x}8080", "from": [str(n)]} for n in range(ground.classes)]
    content = {"kind": "semantic_segmentation", "classes": classes, "all_touched": False}
    return SemanticSegmentation.model_validate(content, strict=False)


def learnt(ground: Ground) -> dict[int, str]:
    """Return the splits of scenes to learn from: all but the last, which validates."""
    return {n: "validation" if n == ground.count - 1 else "train" for n in range(ground.count)}


def statistics(ground: Ground) -> tuple[BandStatistics, ...]:
    """Return about what analyze finds of the bands."""
    about = {"count": 1, "mean": 1500.0, "std": 500.0, "min": 1.0, "max": 4000.0, "percentiles": {}, "histogram": ()}
    return tuple(BandStatistics.model_validate({"band": name, **about}) for name in ground.bands)


def bands(ground: Ground) -> tuple[Band, ...]:
    """Return the bands as a catalog tells of them."""
    about = {"unit": "DN", "scale": 1.0, "offset": 0.0, "nodata": None, "date": None}
    return tuple(Band.model_validate({"name": name, "dtype": str(ground.dtype), **about}) for name in ground.bands)


def model(job: Job) -> Segmenter:
    """Return a network of this project whose body is the one that both sides run."""
    about = {"architecture": "deeplabv3", "encoder": "resnet18", "depth": 5, "decoder": {}, "dropout": 0.0}
    return _Shared.model_validate({"kind": "segmenter", "dates": None, **about}).told(job)


class _Shared(Segmenter):
    """A network from ``peer/hubconf.py``."""

    def told(self, job: Job) -> "_Shared":
        """Return the same, with the function's name as its encoder."""
        return self.model_copy(update={"encoder": job.network})

    def assemble(self, task: Any, inputs: Inputs, encoder: Any) -> Any:
        """Return the network behind quadrat's normaliser; ``encoder`` is its name, which ``told`` has set."""
        from torch import nn

        from benchmarks.peer import hubconf
        from quadrat.models.common.trainable import Normalised

        class Body(nn.Module):
            def __init__(self, network: nn.Module) -> None:
                super().__init__()
                self.network = network

            def forward(self, normalised: Any) -> Any:
                said = self.network(normalised)
                return said["out"] if isinstance(said, dict) else said

        body = getattr(hubconf, encoder.name)(len(task.classes), len(inputs.statistics))
        return Normalised(Body(body), inputs, task)


def recipe(job: Job) -> Recipe:
    """Return how the network learns: two epochs, and augmentation as in ``params.yaml``; cross-entropy alone."""
    loss = {"kind": "semantic_segmentation", "dice": 0.0, "label_smoothing": 0.0, "class_balance": 0.0}
    augment = {"flip_rotate": True, "gain": 0.03, "offset": 0.03}
    about = {"weight_decay": 0.05, "warmup": 0.05, "gradient_clip_norm": 1.0, "ema_decay": 0.99, "patience": 2}
    train = Train.model_validate({"loss": loss, "augment": augment, **about})
    return Recipe(seed=1, lr=1e-4, epochs=2, batch_size=job.batch, train=train)


def predictor(job: Job) -> Predictor:
    """Return the untrained network, ready to predict: what weights are does not change how long they take."""
    from quadrat.models.training.neural import build

    ground = job.ground
    kind, inputs = model(job), Inputs(bands(ground), statistics(ground))
    weights = build(kind, task(ground), inputs, seed=1).state_dict()
    return kind.served({name: values.numpy() for name, values in weights.items()}, task(ground), inputs)


@dataclass(frozen=True)
class Some:
    """Some of the chips of a split, in an order that mixes its scenes."""

    chips: Any
    most: int

    @property
    def bands(self) -> tuple[Band, ...]:
        """The chips' bands."""
        bands: tuple[Band, ...] = self.chips.bands
        return bands

    def __len__(self) -> int:
        """Return the number of chips."""
        return min(self.most, len(self.chips))

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Return pixels and targets of chips."""
        order = np.random.default_rng(1).permutation(len(self.chips))
        read: tuple[NDArray[Any], dict[str, NDArray[Any]]] = self.chips.read(order[indices])
        return read

    def class_counts(self) -> NDArray[np.int64]:
        """Return the labels of each class in all chips of the split."""
        counts: NDArray[np.int64] = self.chips.class_counts()
        return counts


def fresh(job: Job, name: str) -> Path:
    """Return an empty folder below the job's own."""
    folder = job.work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def lay_out(folder: Path, ground: Ground) -> Path:
    """Lay a project around the scenes of ``ground``, with this one's parameters for the rest."""
    from quadrat.errors import ParamsError
    from quadrat.runtime.formats.yaml import dumped, read

    catalog = ground.catalog(learnt(ground))
    content: dict[str, Any] = dict(read(ROOT / "params.yaml", ParamsError))
    chip = {**content["chip"], "chip_size": 256, "windows": {"kind": "sliding", "stride": 256, "padding": 0}}
    told = task(ground).model_dump(mode="json", by_alias=True)
    content |= {"scenes": str(catalog), "raw": str(ground.folder), "aoi": str(ground.folder), "task": told}
    content |= {"bands": list(ground.bands), "chip": chip}
    content["eval"] = {"match": None, "pictures": None}
    (folder / "params.yaml").write_bytes(dumped(content))
    return folder
