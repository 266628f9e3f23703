"""How a network learns: the loop, the batches, and what resuming needs."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]  # it is exported
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from quadrat.models.common.devices import compiled, described, precision
from quadrat.models.common.model import Fitted, Recipe, Samples
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.training.augment import jittered, noise, symmetries, turned
from quadrat.models.training.batches import Batch, Order, loader
from quadrat.models.training.checkpoint_files import Whole
from quadrat.runtime.memory import keep_all
from quadrat.runtime.progress import Meter, console
from quadrat.tasks.common.parts import scoring_of, targets_of
from quadrat.tasks.common.section import TaskSection

CHUNK = 1 << 18
"""Px of validation chips, on all dates, that go through the network at once."""

UNDEFINED = -1e30
"""What an undefined metric counts as where the best epoch is looked for: less than any, and finite for Lightning."""


def fit(
    network: TrainableModule,
    training: Samples,
    validation: Samples,
    task: TaskSection,
    recipe: Recipe,
    checkpoint: Path,
) -> Fitted:
    """Return the weights of the epoch that was best on ``validation``.

    After a kill, the same call goes on after the last whole epoch and ends as if nothing had been: what is drawn
    depends on the seed and the epoch alone. ``checkpoint`` is Lightning's, read with ``weights_only``.
    """
    keep_all()
    network = network.to(memory_format=torch.channels_last)
    learner = Learner(network, task, recipe, training.class_counts())
    compiled(network)
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
    check = loader(validation, Order(len(validation), _at_once(validation, network.images_per_chip), None, lambda: 0))
    steps = recipe.epochs * len(learn)
    console.print(f"train on {described()}", highlight=False, soft_wrap=True)
    with torch.random.fork_rng(), _unfilled(), warnings.catch_warnings(), Meter("train", steps, "steps") as meter:
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its advice is not the user's
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            precision=precision(),
            plugins=Whole(),
            callbacks=[stop, best, last, Shown(meter, recipe.watch)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            deterministic="warn",
            use_distributed_sampler=False,
        )
        resumed = checkpoint / "last.ckpt"
        trainer.fit(learner, learn, check, ckpt_path=resumed if resumed.exists() else None, weights_only=True)
    state = torch.load(checkpoint / "best.ckpt", weights_only=True)["state_dict"]
    mean = "average.module."
    weights = {name.removeprefix(mean): t.cpu().numpy() for name, t in state.items() if name.startswith(mean)}
    return Fitted(weights, _best(learner.history, monitor), learner.history)


class Learner(lightning.LightningModule):
    """A step of learning, a look at the validation chips after each epoch, and the schedule."""

    _class_weights: Tensor
    _generator: torch.Generator

    def __init__(
        self, network: TrainableModule, task: TaskSection, recipe: Recipe, class_counts: NDArray[np.int64]
    ) -> None:
        """Learn ``task`` with ``network``; ``class_counts`` (K,) are those of the training chips."""
        super().__init__()
        self._targets, self._scoring = targets_of(task), scoring_of(task)
        self.monitor = f"validation_{self._scoring.monitor}"
        self.network = network
        self.average = ModelEmaV3(network, stochastic_rounding=False)
        self.history: list[dict[str, float | int | None]] = []
        self._recipe = recipe
        shares = (class_counts / max(1, class_counts.sum())).tolist()
        weights = torch.tensor(network.class_weights(recipe.train.loss, shares))
        self.register_buffer("_class_weights", weights, persistent=False)
        self._losses: list[Tensor] = []
        self._validation_losses: list[Tensor] = []
        self._counts = self._scoring.no_counts()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch: raw pixels (chip, band, y, x) and targets (chip, …) by name."""
        raw, target = batch
        chips, bands = raw.shape[:2]
        turns = symmetries(chips, self._generator) if self._recipe.train.augment.flip_rotate else None
        loss = self.augmented_loss(raw, target, turns, noise(chips, bands, self._generator))
        self._losses.append(loss.detach())
        return loss

    def augmented_loss(self, raw: Tensor, target: Mapping[str, Tensor], turns: Tensor | None, jitter: Tensor) -> Tensor:
        """Return the loss of a batch under ``turns`` (chip,) and ``jitter`` (2, chip, band): all that is compiled."""
        train = self._recipe.train
        normalised = self.network.normalise(raw)
        if turns is not None:
            normalised, target = turned(normalised, target, self._targets.turn, turns)
        normalised = jittered(normalised, train.augment.gain, train.augment.offset, jitter)
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        return self.network.loss(normalised, target, train.loss, self._class_weights)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Count what the batch's chips show, and their loss."""
        raw, target = batch
        said, loss = self.average.module.examined(raw, target, self._recipe.train.loss, self._class_weights)
        outputs = {name: values.float().cpu().numpy() for name, values in said.items()}
        truth = {name: values.cpu().numpy() for name, values in target.items()}
        self._counts = self._counts + self._scoring.chip_counts(truth, outputs)
        if loss is not None:
            self._validation_losses.append(loss)

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the running mean of the weights on; at first it forgets faster, for it began at random weights."""
        self.average.decay = min(self._recipe.train.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        self.average.update(self.network)

    def on_train_epoch_start(self) -> None:
        """Seed all that is drawn in this epoch."""
        seed = int(np.random.SeedSequence([self._recipe.seed, self.current_epoch]).generate_state(1)[0])
        self._generator = torch.Generator(self.device).manual_seed(seed)
        torch.manual_seed(seed)  # dropout draws from it; ``fit`` has forked it
        self._losses = []

    def on_validation_epoch_start(self) -> None:
        """Count from nothing."""
        self._counts = self._scoring.no_counts()
        self._validation_losses = []

    def on_validation_epoch_end(self) -> None:
        """Add the epoch to the history."""
        metrics = self._counts.summary()
        self.history.append(
            {
                "epoch": self.current_epoch,
                "lr": self._optimizer_lr(),
                "train_loss": _mean(self._losses),
                "validation_loss": _mean(self._validation_losses),
                **{f"validation_{name}": value for name, value in metrics.items()},
            }
        )
        self.log(self.monitor, _worth(self.history[-1][self.monitor]))

    def configure_optimizers(self) -> Any:
        """Return AdamW, its rate rising over the warm-up, then falling along a cosine (Loshchilov & Hutter 2017)."""
        recipe = self._recipe
        groups = param_groups_weight_decay(self.network, recipe.train.weight_decay)  # biases and scales aren't decayed
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None  # float16's losses
        # fused, it undoes the scaling in its own step, too late for clipping; else that is done before
        optimizer = torch.optim.AdamW(groups, recipe.lr, fused=not scaled)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(recipe.train.warmup * steps))

        def share(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clip the norm of all gradients together: Lightning's own way refuses every fused optimiser in half precision.

        It is called when gradients are those of the loss itself: float16's scaling is undone.
        """
        largest = self._recipe.train.gradient_clip_norm
        if largest is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), largest)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history up again."""
        self.history = list(checkpoint["history"])

    def _optimizer_lr(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])


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
def _unfilled() -> Iterator[None]:
    """Let torch leave memory as it gets it: in its deterministic mode it fills all with NaN first, a sixth of a step.

    What reads memory that nothing was written to would be a fault of torch's own.
    """
    mode: Any = torch.utils.deterministic  # a module whose stubs lack it
    before = mode.fill_uninitialized_memory
    mode.fill_uninitialized_memory = False
    try:
        yield
    finally:
        mode.fill_uninitialized_memory = before


def _at_once(samples: Samples, images_per_chip: int) -> int:
    """Return how many chips are about CHUNK px, where a chip is so many images."""
    pixels = samples.read(np.arange(min(1, len(samples))))[0]
    return max(1, CHUNK // max(1, pixels[:1, 0].size * images_per_chip))


def _mean(losses: list[Tensor]) -> float | None:
    return float(torch.stack(losses).mean()) if losses else None


def _worth(value: float | None) -> float:
    return UNDEFINED if value is None else float(value)


def _best(history: list[dict[str, float | int | None]], monitor: str) -> dict[str, float | int | None]:
    """Return the metrics of the epoch that was best by ``monitor``, and which it was; not what was merely counted."""
    best = max(history, key=lambda row: _worth(row[monitor]))
    metrics = {name: value for name, value in best.items() if name.startswith("validation_")}
    return {
        **{name.removeprefix("validation_"): v for name, v in metrics.items() if not isinstance(v, int)},
        "epoch": best["epoch"],
        "epochs": len(history),
    }
