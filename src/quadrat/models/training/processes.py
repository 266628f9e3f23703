"""Starts the processes that train a network together, or takes those of torchrun."""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from quadrat.errors import ModelError, QuadratError, WorkerError
from quadrat.models.common.model import Fitted, Inputs, Kind, Recipe, Samples, unwatched
from quadrat.models.training.ranks import Rank, check_devices, joined, launched, take_device
from quadrat.runtime.memory import keep_all
from quadrat.runtime.parallel import Outcome, attempt_elsewhere, begin_worker, cores
from quadrat.runtime.progress import speak, took, warn
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from quadrat.models.training.neural import Neural

JOB = "job"
"""Where torchrun's processes meet, the fit that the first one has for them lies under this name; b"" if it has none."""

GRACE = 3.0
"""Seconds in which the processes tell why they end, after the first has."""


class Job(NamedTuple):
    """The arguments of a fit."""

    training: Samples
    validation: Samples
    task: TaskSection
    inputs: Inputs
    recipe: Recipe
    checkpoint: Path

    def packed(self, model: "Neural") -> bytes:
        """Return it with the model, for other processes."""
        return pickle.dumps((model, self.watched(unwatched)))

    def watched(self, watch: Callable[[Fitted], None]) -> Self:
        """Return it with another watch over its epochs."""
        return self._replace(recipe=replace(self.recipe, watch=watch))


def asked() -> int:
    """Return on how many devices networks are to be trained: by torchrun, or the environment's QUADRAT_DEVICES.

    Raises ModelError where that is no number.
    """
    if _torchrun is not None:
        return _torchrun.rank.count
    text = os.environ.get("QUADRAT_DEVICES") or "1"
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ModelError("no such number of devices", expected="1 or more", got=text, hint="set QUADRAT_DEVICES")
    return int(text)


def warn_of_one(model: Kind) -> None:
    """Say so where ``model`` is fitted by one process, whatever was asked for."""
    from quadrat.models.training.neural import Neural

    if asked() > 1 and not isinstance(model, Neural):
        warn(f"a model of the kind {model.kind} is fitted by one process: only networks train on several devices")


def fit(model: "Neural", job: Job) -> Fitted:
    """Fit ``model`` on as many devices as were asked for; on one, here.

    Raises WorkerError if a process is killed, and ModelError if there are too few devices, or chips in a batch.
    """
    if asked() == 1:
        return model.fit_here(job)
    _check_batch(min(job.recipe.batch_size, len(job.training)), asked())
    if _torchrun is None:
        check_devices(asked())
        keep_all()  # the children begin as this process is
        return _fit_by_children(model, job, asked())
    _torchrun.publish(job.packed(model))
    with joined(_torchrun.rank, _torchrun.store):
        return model.fit_here(job)


def _check_batch(chips: int, devices: int) -> None:
    if chips < devices:
        raise ModelError(
            "a batch has fewer chips than there are devices",
            expected=f"at least {devices} chips",
            got=chips,
            hint="set a larger batch_size, let more train chips be cut, or give fewer --devices",
        )


@dataclass
class _Torchrun:
    """What the first of torchrun's processes leads the others by."""

    rank: Rank
    store: "Store"
    told: bool = False

    def publish(self, job: bytes) -> None:
        self.told = True
        self.store.set(JOB, job)  # type: ignore[arg-type] # bytes are taken, too


_torchrun: _Torchrun | None = None


@contextmanager
def torchrun() -> Iterator[bool]:
    """Give whether this process is to run the stage: alone, or as the first of torchrun's; the others fit with it."""
    rank = launched()
    if rank is None:
        yield True
        return
    from torch.distributed.rendezvous import rendezvous

    global _torchrun  # noqa: PLW0603 a process has one
    take_device(rank)
    store, _, _ = next(rendezvous("env://"))
    if not rank.leads:
        _follow(rank, store)
        yield False
        return
    _torchrun = _Torchrun(rank, store)
    try:
        yield True
    finally:
        if not _torchrun.told:
            _torchrun.publish(b"")
        _torchrun = None


def _follow(rank: Rank, store: "Store") -> None:
    """Fit with the first process, which may fit a baseline before; or end with it."""
    from datetime import timedelta

    store.wait([JOB], timedelta(days=30))
    job = store.get(JOB)
    if job:
        _fit_packed(rank, store, unwatched, job)


def _fit_packed(rank: Rank, store: "Store", watch: Callable[[Fitted], None], job: bytes) -> Fitted:
    model, taken = pickle.loads(job)  # noqa: S301 by the process that leads
    with joined(rank, store):
        fitted: Fitted = model.fit_here(taken.watched(watch))
    return fitted


@dataclass
class _Child:
    rank: Rank
    process: BaseProcess
    pipe: Connection

    def outcome(self) -> "Outcome[Fitted]":
        """Return that it was killed, for its pipe is closed without a word."""
        self.process.join(1)
        code = self.process.exitcode or 0
        how = Signals(-code).name if code < 0 else f"status {code}"
        return Outcome(
            None,
            WorkerError(
                "a process that trains with others has ended",
                got=f"process {self.rank.number + 1} of {self.rank.count}: {how}",
                hint="run it again: it goes on after the last whole epoch. SIGKILL often means that memory was short",
            ),
        )


def _fit_by_children(model: "Neural", job: Job, count: int) -> Fitted:
    """Fit in ``count`` processes; if one ends early, all do."""
    context, packed = get_context("spawn"), job.packed(model)
    children: list[_Child] = []
    with TemporaryDirectory(prefix="quadrat-") as folder:
        try:
            for number in range(count):
                rank = Rank(number, count, number, count)
                ours, theirs = context.Pipe(duplex=False)
                given = (rank, Path(folder) / "store", packed, theirs, os.getpid())
                child = _Child(rank, context.Process(target=_child, args=given, daemon=True), ours)
                child.process.start()
                children.append(child)
                theirs.close()
            return _outcome(children, job.recipe.watch)
        finally:
            for child in children:
                child.process.kill()
                child.process.join()


def _child(rank: Rank, meeting: Path, job: bytes, pipe: Connection, parent: int) -> None:
    """Fit as one of the processes, and send epochs, times and the outcome; the first one alone has any but the last."""
    begin_worker(parent, max(1, cores() // rank.locals))
    os.environ.update(rank.variables())
    take_device(rank)
    from torch._C._distributed_c10d import FileStore

    store = FileStore(str(meeting), rank.count)
    watch: Callable[[Fitted], None] = unwatched
    if rank.leads:
        speak()
        watch = pipe.send
    outcome = attempt_elsewhere(partial(_fit_packed, rank, store, watch), job)
    pipe.send([*took] if rank.leads else [])
    pipe.send(outcome)


def _outcome(children: list[_Child], watch: Callable[[Fitted], None]) -> Fitted:
    """Return what the first process has fitted; raise why one has ended, and not that others missed it."""
    waiting: dict[Any, _Child] = {child.pipe: child for child in children}
    failed: list[Outcome[Fitted]] = []
    while waiting and (ready := wait([*waiting], GRACE if failed else None)):
        for pipe in [each for each in waiting if each in ready]:
            try:
                said = pipe.recv()
            except EOFError:
                said = waiting[pipe].outcome()
            if isinstance(said, Fitted):
                watch(said)
            elif isinstance(said, list):
                took.extend(said)
            else:
                outcome: Outcome[Fitted] = said
                child = waiting.pop(pipe)
                if isinstance(outcome.error, QuadratError) or (child.rank.leads and outcome.error is None):
                    return outcome.result()
                failed += [outcome] * (outcome.error is not None)
    return failed[0].result()
