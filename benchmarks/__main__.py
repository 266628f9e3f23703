"""``python -m benchmarks``: measure, compare, and write a table, JSON and a chart."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import device, memory, report
from benchmarks.job import FailedError, Job, measured, ours, peers
from benchmarks.others import Others
from benchmarks.rows import ROWS, Row, quick

console = Console(stderr=True)


def main() -> None:
    """Run what the command line asks for."""
    asked = _asked()
    if asked.device:
        device.run(asked)
        return
    rows = [quick(row) if asked.quick else row for row in ROWS if not asked.only or row.name in asked.only]
    side, count, repeats = (1024, 2, 1) if asked.quick else (asked.size, asked.scenes, asked.reps)
    content: dict[str, Any] = {"machine": report.machine(), "side": side, "scenes": count, "repeats": repeats}
    content["rows"] = found = []
    asked.work.mkdir(parents=True, exist_ok=True)
    idle = Others()
    for row in rows:
        for variant in row.variants:
            try:
                runs = _runs(row, row.job(asked.work.resolve(), variant, side, count), repeats, asked.peer)
            except FailedError as error:
                console.print(f"{row.name}: {error}", style="red", markup=False)
                continue
            found.append(report.compared(row, variant, runs))
            console.print(report.table(rows, found[-1:]).splitlines()[-1], markup=False, soft_wrap=True)
            report.write(asked.out, content)
    if asked.memory:
        sizes = memory.QUICK if asked.quick else memory.Sizes()
        content["memory"] = memory.peaks(asked.work.resolve() / "memory", sizes)
    content["others"] = idle.busy()
    report.write(asked.out, content)
    report.draw(asked.chart or asked.out.with_suffix(".png"), rows, found)
    if asked.page:
        report.page(asked.page, content, rows)
    print(report.table(rows, found))  # noqa: T201 (what was asked for)
    print(report.memory_table(content.get("memory", [])))  # noqa: T201 (as above)


def _runs(row: Row, job: Job, repeats: int, peer: Path | None) -> dict[str, list[dict[str, Any]]]:
    """Return what was measured of each, one after the other so that a busy moment meets all alike."""
    commands = {"floor": ours(f"floors.{row.floor}")} if row.floor else {}
    commands["ours"] = ours(f"stages.{row.ours}")
    if peer and row.peer:
        commands["peer"] = peers(peer, row.peer)
    runs: dict[str, list[dict[str, Any]]] = {who: [] for who in commands}
    for _ in range(repeats):
        for who, command in commands.items():
            runs[who].append(measured(command, job))
    return runs


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small scenes, each measured once: under 3 minutes")
    parser.add_argument("--peer", type=Path, help="the Python of an environment with Raster Vision 0.31")
    parser.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], help="rows to measure")
    parser.add_argument("--memory", action="store_true", help="measure how far memory rises, too")
    parser.add_argument("--size", type=int, default=4096, help="side of a scene, px (4096)")
    parser.add_argument("--scenes", type=int, default=4, help="scenes (4)")
    parser.add_argument("--reps", type=int, default=3, help="times that each is measured; the median counts (3)")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"), help="folder of scenes and outputs")
    parser.add_argument(
        "--out", type=Path, default=Path("build/benchmarks/result.json"), help="JSON; a chart beside it"
    )
    parser.add_argument("--chart", type=Path, help="where the chart goes")
    parser.add_argument("--page", type=Path, help="a page that the tables are put into")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="measure training and prediction on it instead")
    parser.add_argument("--seconds", type=float, default=device.SECONDS, help="no row of --device begins later (230)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
