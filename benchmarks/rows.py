"""What is compared: a row for each stage, with the aims of the project."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.ground import Ground, make
from benchmarks.job import Job


@dataclass(frozen=True)
class Row:
    """A kind of work, and who does it: functions of ``floors``, ``stages`` and ``peer/run.py``."""

    name: str
    title: str
    unit: str
    floor: str | None
    ours: str
    peer: str | None
    most: float | None
    """Times of the floor that are aimed at, at most; where the floor is None, seconds."""
    least: float
    """How many times as fast as Raster Vision is aimed at, at least."""
    network: str = "deeplab"
    stride: int = 256
    floor_amount: float = 1.0
    """How much of the row's work one of the floor's amounts is: a chip is so many px, and where windows overlap by
    half, each pixel is seen four times."""
    doubt: bool = False
    """Whether predict writes how sure it is, and eval counts it; the floor does the same work without."""
    side: int | None = None
    """Side of the scene, px, where it is another than that of the run."""
    variants: tuple[str, ...] = ("u16x4",)

    def job(self, folder: Path, variant: Any, side: int, count: int) -> Job:
        """Return what the row measures on, made where it isn't there yet."""
        of_its_own = self.side is not None and self.side != side
        height, scenes = (self.side or side, 1) if of_its_own else (side, count)
        ground = make(Ground(folder / f"{variant}-{height}-{scenes}", variant, height, height, scenes))
        work = ground.folder / "work"
        work.mkdir(exist_ok=True)
        return Job(ground, work, network=self.network, stride=self.stride, doubt=self.doubt)


BOTH = ("u16x4", "u8x3")

ROWS = (
    Row("analyze", "analyze: all pixels", "Mpix/s", "decode", "analyze", "analyze", 1.5, 10, variants=BOTH),
    Row(
        "chip",
        "chip 256/256",
        "chips/s",
        "decode",
        "chip",
        "chip",
        2,
        10,
        floor_amount=1 / 256**2,
        variants=BOTH,
    ),
    Row("loader", "loader: 256² × 4, shuffled", "chips/s", "gather", "load", "load", 1 / 0.6, 15),
    Row("train", "train: an epoch", "chips/s", "learn", "train", "train", 1 / 0.9, 1.2),
    Row("predict", "predict, stride 256", "Mpix/s", "forward", "predict", "predict", 1 / 0.85, 2.5, variants=BOTH),
    Row(
        "blended",
        "predict, stride 128, blended",
        "Mpix/s",
        "forward",
        "predict",
        "predict",
        1 / 0.85,
        2,
        stride=128,
        floor_amount=0.25,
    ),
    Row("own", "predict's own cost (1 × 1 convolution)", "Mpix/s", None, "predict", "predict", None, 8, "point"),
    Row("eval", "eval (segmentation)", "Mpix/s", "rasters", "evaluate", "evaluate", 5, 20, "point"),
    Row(
        "sure",
        "predict, stride 128, with confidence",
        "Mpix/s",
        "unsure",
        "predict",
        None,
        1.05,
        0,
        stride=128,
        doubt=True,
    ),
    Row("trusted", "eval, with calibration", "Mpix/s", "untold", "evaluate", None, 1.25, 0, "point", doubt=True),
    Row("polygons", "polygons of 8192²", "Mpix/s", "polygonise", "polygonise", "polygonise", 3, 3, side=8192),
    Row("help", "--help", "1/s", None, "greet", "greet", 0.5, 10),
    Row("idle", "a stage with nothing to do", "1/s", None, "idle", "idle", 2, 10),
)


def quick(row: Row) -> Row:
    """Return the row on a smaller scene of its own."""
    return replace(row, side=None if row.side is None else 4096)
