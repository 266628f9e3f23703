"""How a network learns: the loop, the batches, and what resuming needs; ``learner`` has the steps."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.precision import MixedPrecision
from timm.layers.norm_act import convert_sync_batchnorm
from torch.nn.modules.batchnorm import _BatchNorm

from quadrat.models.common.devices import compiles, described, device, forked, precision
from quadrat.models.common.model import Fitted, Recipe, Samples
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.training.batches import Order, loader
from quadrat.models.training.checkpoint_files import Whole
from quadrat.models.training.learner import Learner, worth
from quadrat.models.training.ranks import current, trainer_options
from quadrat.runtime.memory import keep_all
from quadrat.runtime.progress import Meter, console, warn
from quadrat.tasks.common.section import TaskSection

CHUNK = 1 << 18
"""Px of validation chips, on all dates, that go through the network at once."""

COMPILED_FROM = 20_000
"""Steps from which on a network is compiled for a GPU: what takes a minute or two to compile saves some ms a step."""


def fit(
    network: TrainableModule,
    training: Samples,
    validation: Samples,
    task: TaskSection,
    recipe: Recipe,
    checkpoint: Path,
) -> Fitted:
    """Return the weights of the epoch that was best on ``validation``.

    Without epochs, these are the weights that it has. After a kill, the same call goes on after the last whole epoch
    and ends as if nothing had been: what is drawn depends on the seed and the epoch alone. ``checkpoint`` is
    Lightning's, read with ``weights_only``.

    Of processes that train together, the first alone writes, and returns weights.
    """
    keep_all()
    network = _synchronised(network).to(memory_format=torch.channels_last)
    learner = Learner(network, task, recipe, training.class_counts(), min(recipe.batch_size, len(training)))
    monitor = learner.monitor
    best = ModelCheckpoint(
        checkpoint, "best", monitor=monitor, mode="max", save_weights_only=True, enable_version_counter=False
    )
    last = ModelCheckpoint(
        checkpoint, "last", every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    stop = EarlyStopping(monitor, mode="max", patience=recipe.train.patience or recipe.epochs)
    order = Order(len(training), recipe.batch_size, recipe.seed, lambda: trainer.current_epoch)
    learn = loader(training, order)
    at_once = _at_once(validation, network.images_per_chip, recipe.batch_size)
    check = loader(validation, Order(len(validation), at_once, None, lambda: 0))
    steps = recipe.epochs * len(learn)
    compiling = current().count == 1 and compiles(default=_pays(learner, steps))
    if compiling:
        learner.compile_step()
    how = ", compiled: the first steps take minutes" if compiling else ""
    on = f"{current().count} × " if current().count > 1 else ""
    console.print(f"train on {on}{described()}, {precision()}{how}", highlight=False, soft_wrap=True)
    with forked(), _repeatable(), warnings.catch_warnings(), Meter("train", steps, "steps") as meter:
        for library in ("pytorch_lightning", "lightning_fabric"):
            warnings.filterwarnings("ignore", module=library)
            logging.getLogger(library).setLevel(logging.ERROR)  # its advice is not the user's
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            plugins=[Whole(), *_mixed()],
            callbacks=[stop, best, last, Shown(meter, recipe.watch)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            deterministic="warn",
            **trainer_options(),
            use_distributed_sampler=False,
        )
        if not recipe.epochs:
            trainer.validate(learner, check, verbose=False)
            return _as_it_began(learner)
        resumed = checkpoint / "last.ckpt"
        trainer.fit(learner, learn, check, ckpt_path=resumed if resumed.exists() else None, weights_only=True)
    if not current().leads:
        return Fitted({}, _best(learner.history, monitor), learner.history)
    state = torch.load(checkpoint / "best.ckpt", weights_only=True)["state_dict"]
    mean = "average.module."
    weights = {name.removeprefix(mean): t.cpu().numpy() for name, t in state.items() if name.startswith(mean)}
    return Fitted(weights, _best(learner.history, monitor), learner.history)


class Shown(Callback):
    """Shows steps and the newest metrics."""

    def __init__(self, meter: Meter, watch: Callable[[Fitted], None]) -> None:
        """Show on ``meter``, and tell ``watch``."""
        self._meter, self._watch, self._note = meter, watch, ""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Count what an earlier run has done."""
        self._meter.advance(trainer.global_step)

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        self._meter.advance(1, self._note)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Note the epoch's metrics, and tell of all so far."""
        learner = cast("Learner", pl_module)
        self._watch(Fitted({}, _best(learner.history, learner.monitor), learner.history))
        newest, names = learner.history[-1], ("train_loss", learner.monitor)
        shown = [f"{name.replace('_', ' ')} {newest[name]:.3f}" for name in names if newest[name]]
        self._note = f"epoch {newest['epoch']}: {', '.join(shown)}"


@contextmanager
def _repeatable() -> Iterator[None]:
    """Let what Lightning sets, torch's deterministic mode, end with the fit, and let torch leave memory as it gets it.

    In that mode torch fills all memory with NaN first, a sixth of a step. What reads memory that nothing was written to
    would be a fault of torch's own.
    """
    mode: Any = torch.utils.deterministic  # a module whose stubs lack it
    filled, before = mode.fill_uninitialized_memory, torch.get_deterministic_debug_mode()
    mode.fill_uninitialized_memory = False
    try:
        yield
    finally:
        mode.fill_uninitialized_memory = filled
        torch.set_deterministic_debug_mode(before)


def _synchronised(network: TrainableModule) -> TrainableModule:
    """Let layers of batch normalisation see the whole batch where processes train together; on GPUs alone."""
    if current().count == 1 or not any(isinstance(each, _BatchNorm) for each in network.modules()):
        return network
    if device().type == "cuda":
        return cast("TrainableModule", convert_sync_batchnorm(network))  # type: ignore[no-untyped-call] # timm's
    warn("without GPUs, batch normalisation is by each process's own part of the batch, as if batches were smaller")
    return network


def _mixed() -> list[MixedPrecision]:
    """Return what makes Lightning compute in half precision; nothing where that is not to be."""
    if precision() == "fp16":
        return [MixedPrecision("16-mixed", device().type, torch.amp.GradScaler(device().type))]
    return [MixedPrecision("bf16-mixed", device().type)] if precision() == "bf16" else []


def _pays(learner: Learner, steps: int) -> bool:
    """Return whether a fit of so many steps ends sooner if the network is compiled."""
    return device().type == "cuda" and steps >= COMPILED_FROM and learner.one_graph


def _at_once(samples: Samples, images_per_chip: int, batch_size: int) -> int:
    """Return how many chips are validated at once: about CHUNK px, where a chip is so many images.

    On a GPU twice as many as in a training step, which keeps what it has computed for the gradients.
    """
    if device().type == "cuda":
        return 2 * batch_size
    pixels = samples.read(np.arange(min(1, len(samples))))[0]
    return max(1, CHUNK // max(1, pixels[:1, 0].size * images_per_chip))


def _as_it_began(learner: Learner) -> Fitted:
    """Return the weights before training, and how good they are."""
    weights = {name: t.cpu().numpy() for name, t in learner.average.module.state_dict().items()}
    return Fitted(weights, {**_best(learner.history, learner.monitor), "epoch": 0, "epochs": 0}, [])


def _best(history: list[dict[str, float | int | None]], monitor: str) -> dict[str, float | int | None]:
    """Return the metrics of the epoch that was best by ``monitor``, and which it was; not what was merely counted."""
    best = max(history, key=lambda row: worth(row[monitor]))
    metrics = {name: value for name, value in best.items() if name.startswith("validation_")}
    return {
        **{name.removeprefix("validation_"): v for name, v in metrics.items() if not isinstance(v, int)},
        "epoch": best["epoch"],
        "epochs": len(history),
    }
