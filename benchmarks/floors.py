"""What the hardware allows: the least that each stage must do, done bare."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.features import shapes

from benchmarks import stages
from benchmarks.job import Job
from benchmarks.timed import Timed
from quadrat.runtime.memory import keep_all

THREADS = 2

STEPS = 12
"""Batches of which the median is taken, after two that warm up."""


def decode(job: Job) -> dict[str, Any]:
    """Read each block of each image once, with two threads, and throw it away."""
    with Timed() as timed:
        for path in job.ground.images:
            _read(path)
    return timed.made(job.ground.pixels)


def rasters(job: Job) -> dict[str, Any]:
    """Read the labels and the prediction of a scene as ``decode`` does."""
    if not job.predicted.exists():
        stages.predict(job)
    with Timed() as timed:
        _read(job.ground.labels[0])
        _read(job.predicted)
    return timed.made(job.ground.height * job.ground.width)


def gather(job: Job) -> dict[str, Any]:
    """Gather shuffled batches from one memory-mapped array of all chips."""
    path = job.work / "gather.npy"
    if not path.exists():
        shape = (1024, len(job.ground.bands), 256, 256)
        pixels = np.lib.format.open_memmap(path, "w+", job.ground.dtype, shape)
        for chip in pixels:
            chip[:] = np.random.default_rng(1).integers(0, 3000, chip.shape)
    keep_all()
    chips = np.load(path, mmap_mode="r")
    for _ in range(2):  # the first time fills the page cache
        order = np.random.default_rng(2).permutation(len(chips))
        with Timed() as timed:
            for start in range(0, len(chips), job.batch):
                chips[order[start : start + job.batch]]
    return timed.made(len(chips))


def forward(job: Job) -> dict[str, Any]:
    """Run the network over one batch in memory, channels last."""
    import torch

    network, pixels = _network(job)
    network.eval()

    def step() -> None:
        with torch.inference_mode():
            network(pixels)

    return {"seconds": _median(step), "amount": job.batch * 256 * 256}


def learn(job: Job) -> dict[str, Any]:
    """Run the network forward and backward over one batch in memory, channels last; no weight is changed."""
    import torch

    network, pixels = _network(job)
    truth = torch.randint(0, job.ground.classes, (job.batch, 256, 256))

    def step() -> None:
        network.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(pixels)["out"], truth)
        loss.backward()  # type: ignore[no-untyped-call]

    return {"seconds": _median(step), "amount": job.batch}


def polygonise(job: Job) -> dict[str, Any]:
    """Polygonise the labels of a scene with GDAL, in one piece, and throw the polygons away."""
    with rasterio.open(job.ground.labels[0]) as dataset:
        classes = dataset.read(1)
    with Timed() as timed:
        count = sum(1 for _ in shapes(classes))
    return timed.made(classes.size) | {"polygons": count}


def _network(job: Job) -> tuple[Any, Any]:
    import torch

    from benchmarks.peer import hubconf

    keep_all()  # memory that the system gives anew is no floor
    network = getattr(hubconf, job.network)(job.ground.classes, len(job.ground.bands))
    pixels = torch.rand(job.batch, len(job.ground.bands), 256, 256)
    return network.to(memory_format=torch.channels_last), pixels.to(memory_format=torch.channels_last)


def _median(step: Callable[[], None]) -> float:
    step()
    step()
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _read(path: Path) -> None:
    def some(first: int) -> None:
        with rasterio.open(path) as dataset:
            for _, window in list(dataset.block_windows(1))[first::THREADS]:
                dataset.read(window=window)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(some, range(THREADS)))


def unsure(job: Job) -> dict[str, Any]:
    """Predict without saying how sure it is."""
    return stages.predict(replace(job, doubt=False))


def untold(job: Job) -> dict[str, Any]:
    """Evaluate what was predicted so."""
    return stages.evaluate(replace(job, doubt=False))
