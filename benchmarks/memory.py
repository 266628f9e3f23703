"""How far memory rises above what imports take: by height, by width and by the number of scenes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ground import Ground, make
from benchmarks.job import Job, measured, ours


@dataclass(frozen=True)
class Sizes:
    """How large the scenes are: small and large of each pair differ in one thing alone."""

    width: int = 4096
    heights: tuple[int, int] = (4096, 32_768)
    wide: int = 20_000
    counts: tuple[int, int] = (100, 1000)


QUICK = Sizes(2048, (2048, 8192), 8192, (20, 80))


def peaks(folder: Path, sizes: Sizes) -> list[dict[str, Any]]:
    """Return a row for each stage and pair: the rise, MiB, on the small and on the large ground."""
    tall = [_ground(folder, height, sizes.width, 2) for height in sizes.heights]
    many = [_ground(folder, 256, 256, count) for count in sizes.counts]
    rows = [_row(f"{name}: height", f"stages.{name}", tall) for name in ("analyze", "chip", "predict", "evaluate")]
    rows += [_row(f"{name}: scenes", f"stages.{name}", many) for name in ("analyze", "chip")]
    wide = _ground(folder, 2048, sizes.wide, 1, classes=5)
    return [*rows, _row("predict: wide, 5 classes, blended", "stages.predict", [wide], stride=128)]


def _row(title: str, function: str, grounds: list[Ground], stride: int = 256) -> dict[str, Any]:
    found = []
    for ground in grounds:
        work = ground.folder / "work"
        work.mkdir(exist_ok=True)
        told = measured(ours(function), Job(ground, work, network="point", stride=stride))
        found.append(told["rise"])
    sizes = [f"{ground.count} × {ground.height} × {ground.width}" for ground in grounds]
    return {"row": title, "ground": sizes, "rise": found}


def _ground(folder: Path, height: int, width: int, count: int, classes: int = 2) -> Ground:
    ground = Ground(folder / f"{height}-{width}-{count}-{classes}", "u16x4", height, width, count, classes)
    return make(ground)
