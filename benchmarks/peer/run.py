"""Raster Vision 0.31 at the same work: ``run.py FUNCTION JOB RESULT``, by the Python of an environment that has it.

It imports nothing of quadrat. Of settings that change its speed and not its result, it gets the faster one.
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
os.environ.update(TQDM_DISABLE="1", NO_ALBUMENTATIONS_UPDATE="1")


class Job:
    """What ``benchmarks.job.Job`` is on the other side."""

    def __init__(self, text: str) -> None:
        """Take it from JSON."""
        told = json.loads(text)
        ground = told["ground"]
        self.network, self.stride, self.batch = told["network"], told["stride"], told["batch"]
        self.folder, self.work = Path(ground["folder"]), Path(told["work"]) / "peer"
        self.height, self.width, self.count = ground["height"], ground["width"], ground["count"]
        self.bands, self.classes = int(ground["variant"][-1]), ground["classes"]
        self.raw = ground["variant"].startswith("u16")
        self.stats = self.work / "stats.json"

    def fresh(self, name: str) -> Path:
        """Return an empty folder."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True)  # of the pipeline
        return folder


def analyze(job: Job) -> dict[str, Any]:
    """Exact statistics of all scenes."""
    from rastervision.core.analyzer import StatsAnalyzerConfig

    root = job.fresh("analyze")
    config = _pipeline(job, root, train=range(job.count), transformed=False)
    config.analyzers = [StatsAnalyzerConfig(sample_prob=None, output_uri=str(root / "stats"))]
    pipeline = config.build(str(root / "tmp"))
    start = time.perf_counter()
    pipeline.analyze()
    seconds = time.perf_counter() - start
    shutil.copy(glob.glob(str(root / "stats" / "**" / "stats.json"), recursive=True)[0], job.stats)  # noqa: PTH207
    return {"seconds": seconds, "amount": job.count * job.height * job.width}


def chip(job: Job) -> dict[str, Any]:
    """Chips of 256 px, 256 px apart, of all scenes, by two workers."""
    os.environ["RASTERVISION_CHIP_NUM_WORKERS"] = "2"
    root = job.fresh("chips")
    pipeline = _pipeline(job, root, **_learnt(job)).build(str(root / "tmp"))
    start = time.perf_counter()
    pipeline.chip()
    return {"seconds": time.perf_counter() - start, "amount": job.count * (job.height // 256) * (job.width // 256)}


def load(job: Job) -> dict[str, Any]:
    """Batches of the training chips, by no worker: two are slower."""
    root = job.fresh("load")
    config = _pipeline(job, root, chips=_chips(job), **_learnt(job))
    learner = config.backend.get_learner_config(config).build(str(root / "tmp"), training=True)
    if learner.train_dl is None:
        learner.setup_data()
    for _ in range(2):
        start = time.perf_counter()
        amount = sum(len(pixels) for pixels, _ in learner.train_dl)
    return {"seconds": time.perf_counter() - start, "amount": amount}


def train(job: Job) -> dict[str, Any]:
    """Learn: the second of two epochs, without what comes before and after it."""
    from rastervision.pytorch_learner.learner import Learner

    seconds = []
    plain = Learner.train_epoch

    def epoch(self: Any, *args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        done = plain(self, *args, **options)
        seconds.append(time.perf_counter() - start)
        epoch.amount = len(self.train_dl) * self.train_dl.batch_size  # type: ignore[attr-defined]
        return done

    Learner.train_epoch = epoch
    root = job.fresh(f"model-{job.network}")
    config = _pipeline(job, root, chips=_chips(job), most=min(64, 8 * job.batch), **_learnt(job))
    config.backend.solver.num_epochs = 2
    config.build(str(root / "tmp")).train()
    return {"seconds": seconds[-1], "amount": epoch.amount}  # type: ignore[attr-defined]


def predict(job: Job) -> dict[str, Any]:
    """Prediction of a scene, by two workers; with overlap, the smooth one, which is blended."""
    os.environ["RASTERVISION_PREDICT_NUM_WORKERS"] = "2"
    bundle = job.work / f"model-{job.network}" / "train" / "model-bundle.zip"
    if not bundle.exists():
        train(job)
    root = job.fresh(f"predictions-{job.network}-{job.stride}")
    config = _pipeline(job, root, test=[job.count - 1], smooth=job.stride < 256)
    pipeline = config.build(str(root / "tmp"))
    pipeline.build_backend(str(bundle))
    start = time.perf_counter()
    pipeline.predict()
    return {"seconds": time.perf_counter() - start, "amount": job.height * job.width}


def evaluate(job: Job) -> dict[str, Any]:
    """Metrics of what ``predict`` wrote of a scene."""
    root = job.work / f"predictions-{job.network}-{job.stride}"
    if not root.exists():
        predict(job)
    pipeline = _pipeline(job, root, test=[job.count - 1], smooth=job.stride < 256).build(str(root / "tmp"))
    start = time.perf_counter()
    pipeline.eval()
    return {"seconds": time.perf_counter() - start, "amount": job.height * job.width}


def polygonise(job: Job) -> dict[str, Any]:
    """Polygons of each class of a scene's labels, not written to a file."""
    import rasterio
    from rastervision.core.data import PolygonVectorOutputConfig

    with rasterio.open(job.folder / "scene-0-labels.tif") as dataset:
        classes = dataset.read(1)
    start = time.perf_counter()
    count = 0
    for number in range(job.classes):
        output = PolygonVectorOutputConfig(class_id=number, denoise=0)
        count += sum(1 for _ in output.vectorize((classes == number).astype("uint8")))
    return {"seconds": time.perf_counter() - start, "amount": classes.size, "polygons": count}


def greet(job: Job) -> dict[str, Any]:
    """Print the help."""
    job.fresh("help")
    return _called([str(Path(sys.executable).with_name("rastervision")), "--help"])


def idle(job: Job) -> dict[str, Any]:
    """Run a command that has nothing to do: analyze without analyzers."""
    root = job.fresh("idle")
    config = root / "config.py"
    config.write_text(
        "import json, sys\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "import run\n"
        "def get_config(runner):\n"
        f"    job = run.Job(json.dumps({json.loads(sys.argv[2])!r}))\n"
        f"    return run._pipeline(job, run.Path({str(root)!r}), train=[0], transformed=False)\n",
        encoding="utf-8",
    )
    command = [str(Path(sys.executable).with_name("rastervision")), "run", "inprocess", str(config), "analyze"]
    return _called(command)


def _called(command: list[str]) -> dict[str, Any]:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (what is run is written above)
    return {"seconds": time.perf_counter() - start, "amount": 1}


def _learnt(job: Job) -> dict[str, Any]:
    """Return the scenes to learn from: all but the last, which validates."""
    return {"train": range(job.count - 1), "valid": range(job.count - 1, job.count)}


def _chips(job: Job) -> str:
    if not (job.work / "chips" / "chip").exists():
        chip(job)
    return str(job.work / "chips" / "chip")


def _scene(job: Job, number: int, *, transformed: bool, smooth: bool | None) -> Any:
    from rastervision.core import data

    transformers = []
    if job.raw and transformed:
        if not job.stats.exists():
            analyze(job)
        transformers = [data.StatsTransformerConfig(stats_uri=str(job.stats))]
    path = job.folder / f"scene-{number}"
    image = data.RasterioSourceConfig(uris=[f"{path}.tif"], transformers=transformers)
    truth = data.RasterioSourceConfig(uris=[f"{path}-labels.tif"])
    labels = data.SemanticSegmentationLabelSourceConfig(raster_source=truth)
    store = None if smooth is None else data.SemanticSegmentationLabelStoreConfig(smooth_output=smooth)
    return data.SceneConfig(id=f"s{number}", raster_source=image, label_source=labels, label_store=store)


def _pipeline(  # noqa: PLR0913 (what differs between the commands)
    job: Job,
    root: Path,
    *,
    train: Any = (),
    valid: Any = (),
    test: Any = (),
    chips: str | None = None,
    most: int | None = None,
    smooth: bool | None = None,
    transformed: bool = True,
) -> Any:
    from rastervision.core import data, rv_pipeline
    from rastervision.pytorch_backend import PyTorchSemanticSegmentationConfig

    scenes = [
        [_scene(job, number, transformed=transformed, smooth=smooth) for number in numbers]
        for numbers in (train, valid, test)
    ]
    names = ["background", *(f"building{number}" for number in range(1, job.classes))]
    classes = data.ClassConfig(names=names, null_class="background")
    dataset = data.DatasetConfig(
        class_config=classes, train_scenes=scenes[0], validation_scenes=scenes[1], test_scenes=scenes[2]
    )
    sampling = rv_pipeline.WindowSamplingConfig(method=rv_pipeline.WindowSamplingMethod.sliding, size=256, stride=256)
    config = rv_pipeline.SemanticSegmentationConfig(
        root_uri=str(root),
        dataset=dataset,
        backend=PyTorchSemanticSegmentationConfig(**_learner(job, chips, most)),
        chip_options=rv_pipeline.SemanticSegmentationChipOptions(sampling=sampling),
        predict_options=rv_pipeline.SemanticSegmentationPredictOptions(
            chip_sz=256, stride=job.stride, batch_sz=job.batch
        ),
        analyzers=[],
    )
    config.update()
    config.analyzers = []
    return config


def _learner(job: Job, chips: str | None, most: int | None) -> dict[str, Any]:
    from rastervision import pytorch_learner as learner

    source = {"uri": chips} if most is None else {"group_uris": [chips]}  # it obeys train_sz with groups alone
    network = learner.ExternalModuleConfig(
        uri=str(HERE),
        name="hub",
        entrypoint=job.network,
        entrypoint_kwargs={"num_classes": job.classes, "in_channels": job.bands},
    )
    return {
        "data": learner.SemanticSegmentationImageDataConfig(**source, img_sz=256, num_workers=0, train_sz=most),
        "model": learner.SemanticSegmentationModelConfig(pretrained=False, external_def=network),
        "solver": learner.SolverConfig(lr=1e-4, num_epochs=1, batch_sz=job.batch),
        "log_tensorboard": False,
        "run_tensorboard": False,
    }


def main() -> None:
    """Run one measurement."""
    name, job, result = sys.argv[1:]
    Path(result).write_text(json.dumps(globals()[name](Job(job))), encoding="utf-8")


if __name__ == "__main__":
    main()
