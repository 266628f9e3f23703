"""Clocks of a device: how long work takes, how much memory, and for which share of the time the device idles."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from quadrat.models.common.devices import device


def each(step: Callable[[], object], times: int) -> float:
    """Return the seconds that a step takes among many."""
    for _ in range(min(3, times)):
        step()

    def steps() -> None:
        for _ in range(times):
            step()

    return timed(steps) / times


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that work takes, and what it gave the device to do."""
    start = now()
    work()
    return now() - start


def now() -> float:
    """Return the time, once the device has done all that it was given."""
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def watched() -> Iterator[Callable[[], float | None]]:
    """Give what tells the peak of the device's memory, GiB, that tensors took meanwhile; None without a GPU."""
    cuda = device().type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield lambda: torch.cuda.max_memory_allocated() / 2**30 if cuda else None


@contextmanager
def traced() -> Iterator[Callable[[], float | None]]:
    """Give what tells which share of the time nothing ran on the device; None without a GPU."""
    if device().type != "cuda":
        yield lambda: None
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        start = time.perf_counter()
        yield lambda: idle_share(spans, wall)
        torch.cuda.synchronize()
        wall = 1e6 * (time.perf_counter() - start)
    events = (event for event in profile.events() or () if event.device_type.name == "CUDA")
    spans = [(event.time_range.start, event.time_range.end) for event in events]


def idle_share(spans: list[tuple[float, float]], wall: float) -> float | None:
    """Return the share of ``wall`` that ``spans`` (start, end), which may overlap, leave; None without any."""
    busy, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return max(0.0, 1 - busy / wall) if spans else None


@contextmanager
def compiling(compiled: bool) -> Iterator[None]:  # noqa: FBT001 (as the variable says it)
    """Let networks be compiled that are made or fitted meanwhile, or not; for the environment says so.

    What was compiled before is forgotten then: torch compiles a function for a few networks and sizes, and no more.
    """
    if compiled:
        torch.compiler.reset()
    with variable("QUADRAT_COMPILE", "1" if compiled else None):
        yield


@contextmanager
def variable(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable meanwhile, or unset it."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
