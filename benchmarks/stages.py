"""quadrat at its work: each stage as ``dvc.yaml`` runs it, with what the comparison needs as its parameters."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import Job
from benchmarks.plan import Some, fresh, lay_out, learnt, model, predictor, recipe, statistics, task
from benchmarks.timed import Timed
from quadrat.geo.grids.windows import strips, whole
from quadrat.runtime.parallel import Threads, cores
from quadrat.runtime.run import Paths, Run


def analyze(job: Job) -> dict[str, Any]:
    """Statistics of all scenes, with histogram, the table of scenes and all that is written beside."""
    from quadrat.pipeline.analyze import Analyze, AnalyzeParams, analyze

    ground, here = job.ground, fresh(job, "analysis")
    section = Analyze(percentiles=(1, 2, 5, 50, 95, 98, 99), histogram_bins=64)
    scenes = ground.catalog({**dict.fromkeys(range(ground.count), "train"), ground.count: "validation"})
    with Timed() as timed:
        analyze(
            AnalyzeParams(
                scenes=scenes,
                raw=ground.folder,
                aoi=ground.folder,
                task=task(ground),
                bands=ground.bands,
                analyze=section,
            ),
            Paths(
                pins=job.work / "pins.json",
                stats=here / "stats.json",
                table=here / "scenes.parquet",
                warnings=here / "warnings.txt",
                analyze_metrics=here / "analyze.json",
                class_plot=here / "classes.csv",
                band_plot=here / "bands.csv",
            ),
            Run(Threads(cores())),
        )
    return timed.made(ground.pixels)


def chip(job: Job) -> dict[str, Any]:
    """Chips of 256 px, 256 px apart, of all scenes, whose files were hashed before."""
    from quadrat.pipeline.chip import Chip, ChipParams, Sliding, chip

    table = job.work / "analysis" / "scenes.parquet"
    if not table.exists():
        analyze(job)
    ground = job.ground
    section = Chip(
        chip_size=256,
        windows=Sliding(kind="sliding", stride=256, padding=0),
        min_valid_fraction=0.5,
        target_classes=None,
        min_targets=0,
        negatives=None,
    )
    chips, scenes = fresh(job, "chips"), ground.catalog(learnt(ground))
    with Timed() as timed:
        chip(
            ChipParams(scenes=scenes, seed=1, task=task(ground), bands=ground.bands, chip=section),
            Paths(
                pins=job.work / "pins.json",
                table=table,
                chips=chips,
                chip_manifest=chips.with_suffix(".json"),
                hashes=job.work / "hashes.json",
            ),
            Run(Threads(cores())),
        )
    return timed.made(ground.count * (ground.height // 256) * (ground.width // 256))


def load(job: Job) -> dict[str, Any]:
    """Batches of the training chips, shuffled over scenes, once they are in the page cache."""
    from quadrat.chips.store import open_chips
    from quadrat.models.training.batches import Order, loader
    from quadrat.runtime.memory import keep_all

    chips = open_chips(_chips(job), "train", task(job.ground).columns, job.ground.bands)
    keep_all()  # as what learns does
    batches = loader(chips, Order(len(chips), job.batch, 1, lambda: 1))
    for passes in (1, max(1, 2048 // len(chips))):  # the first fills the page cache
        with Timed() as timed:
            amount = sum(len(pixels) for _ in range(passes) for pixels, _ in batches)
    return timed.made(amount)


def train(job: Job) -> dict[str, Any]:
    """Learn: the second of two epochs, without what comes before and after it."""
    from quadrat.chips.store import open_chips
    from quadrat.models import Inputs
    from quadrat.models.training.learner import Learner

    training, validation = (
        Some(open_chips(_chips(job), split, task(job.ground).columns, job.ground.bands), most)
        for split, most in (("train", 8 * job.batch), ("validation", job.batch))
    )
    marks: list[float] = []

    def marked(name: str) -> None:
        plain = getattr(Learner, name)

        def hook(*args: Any) -> Any:
            marks.append(time.perf_counter())
            return plain(*args)

        setattr(Learner, name, hook)

    marked("on_train_epoch_start")
    marked("on_validation_epoch_start")
    inputs = Inputs(training.bands, statistics(job.ground))
    model(job).fit(training, validation, task(job.ground), inputs, recipe(job), fresh(job, "checkpoints"))
    return {"seconds": marks[3] - marks[2], "amount": len(training)}


def predict(job: Job) -> dict[str, Any]:
    """Labels of a scene, as a COG with overviews, by a model that is loaded."""
    from quadrat.models.common.devices import readers
    from quadrat.prediction.sliding_window import Predict, at_once, predict_scene
    from quadrat.scenes.catalog import read_catalog
    from quadrat.tasks.common.calibration import Calibration
    from quadrat.tasks.semantic_segmentation.section import SegmentationLayers

    ground, number = job.ground, job.ground.count - 1
    layers: dict[str, Any] = {"scores": False, "polygons": None, "polygon_classes": None, "outlines": {"kind": "edges"}}
    layers |= {"kind": "semantic_segmentation", "min_pixels": 1, "max_hole_pixels": 0, "confidence": job.doubt}
    calibration = Calibration(temperatures=(1.5,), exclusive=True) if job.doubt else None
    plan = Predict(window_size=256, stride=job.stride, layers=SegmentationLayers.model_validate(layers, strict=False))
    (scene,) = (replace(scene, labels=()) for scene in read_catalog(ground.catalog({number: "test"})))  # as the stage
    run = predictor(job)
    run(np.zeros((at_once(256), len(ground.bands), 256, 256), ground.dtype))  # the first call sets the kernels up
    folder = fresh(job, "predictions") / scene.id
    with Timed() as timed, scene.open(ground.bands, task(ground), readers()) as opened:
        predict_scene(opened, run, task(ground), plan, folder, None, calibration=calibration)
    return timed.made(ground.height * ground.width)


def evaluate(job: Job) -> dict[str, Any]:
    """Metrics of what ``predict`` wrote of a scene, without pictures."""
    from quadrat.pipeline.eval import Eval, EvalParams, evaluate

    ground, number = job.ground, job.ground.count - 1
    if job.doubt != job.predicted.with_name("confidence.tif").exists() or not job.predicted.exists():
        predict(job)
    if not (job.work / "analysis" / "scenes.parquet").exists():
        analyze(job)
    here = fresh(job, "metrics")
    with Timed() as timed:
        evaluate(
            EvalParams(
                scenes=ground.catalog({number: "test"}),
                seed=1,
                task=task(ground),
                baseline=None,
                eval=Eval(match=None, pictures=None),
            ),
            Paths(
                pins=job.work / "pins.json",
                predictions=job.work / "predictions",
                table=job.work / "analysis" / "scenes.parquet",
                curves=here / "training.csv",
                eval_metrics=here / "eval.json",
                intervals=here / "intervals.json",
                class_scores=here / "classes.csv",
                scene_scores=here / "scenes.csv",
                confusion=here / "confusion.csv",
                areas=here / "areas.csv",
                reliability=here / "reliability.csv",
                pictures=here / "pictures",
                page=here / "report.html",
            ),
            Run(Threads(cores())),
        )
    return timed.made(ground.height * ground.width)


def polygonise(job: Job) -> dict[str, Any]:
    """Polygons of all classes of a scene's labels, strip by strip, not written to a file."""
    import rasterio

    from quadrat.tasks.semantic_segmentation.layers.polygoniser import Polygoniser

    with rasterio.open(job.ground.labels[0]) as dataset:
        classes = dataset.read(1)
    scores = np.ones(classes.shape, np.float32)
    count = 0
    with Timed() as timed:
        polygoniser = Polygoniser()
        for window in strips(whole(classes.shape), 512):
            rows = window.slices()
            count += len(polygoniser.add(window.row, classes[rows], scores[rows]))
        count += len(polygoniser.close())
    return timed.made(classes.size) | {"polygons": count}


def greet(job: Job) -> dict[str, Any]:  # noqa: ARG001 (all take a job)
    """Print the help."""
    with Timed() as timed:
        subprocess.run([sys.executable, "-m", "quadrat", "--help"], check=True, capture_output=True)
    return timed.made(1)


def idle(job: Job) -> dict[str, Any]:
    """Run the stage chip again when nothing has changed."""
    folder = lay_out(fresh(job, "project"), job.ground)
    command = [sys.executable, "-m", "quadrat", "chip"]
    subprocess.run([*command[:-1], "analyze"], check=True, capture_output=True, cwd=folder)  # noqa: S603
    subprocess.run(command, check=True, capture_output=True, cwd=folder)  # noqa: S603
    with Timed() as timed:
        subprocess.run(command, check=True, capture_output=True, cwd=folder)  # noqa: S603
    return timed.made(1)


def _chips(job: Job) -> Path:
    if not (job.work / "chips" / "index.parquet").exists():
        chip(job)
    return job.work / "chips"
