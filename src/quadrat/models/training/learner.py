"""A step of learning, and a look at the validation chips after each epoch."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]  # it is exported
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from quadrat.models.common.devices import fetched
from quadrat.models.common.model import Recipe
from quadrat.models.common.trainable import TrainableModule
from quadrat.models.training.augment import jittered, noise, symmetries, turned
from quadrat.models.training.batches import Batch
from quadrat.models.training.own_code import augmentation_of, loss_of
from quadrat.models.training.ranks import as_the_first, current, in_turn
from quadrat.tasks.common.parts import scoring_of, targets_of
from quadrat.tasks.common.section import TaskSection

WAITING = 1
"""Batches of validation chips that are not counted yet while a device works on the next."""

_Arrays = Callable[[], dict[str, NDArray[Any]]]

UNDEFINED = -1e30
"""What an undefined metric counts as where the best epoch is looked for: less than any, and finite for Lightning."""


class Learner(lightning.LightningModule):
    """A step of learning, a look at the validation chips after each epoch, and the schedule."""

    _class_weights: Tensor
    _generator: torch.Generator
    _own_generator: torch.Generator

    def __init__(
        self,
        network: TrainableModule,
        task: TaskSection,
        recipe: Recipe,
        class_counts: NDArray[np.int64],
        batch: int | None = None,
    ) -> None:
        """Learn ``task`` with ``network``; ``class_counts`` (K,) are those of the training chips.

        A ``batch`` has so many chips on all devices together; by default, one device has all.
        """
        super().__init__()
        self._targets, self._scoring = targets_of(task), scoring_of(task)
        self.monitor = f"validation_{self._scoring.monitor}"
        self.network = network
        for name, weight in network.named_parameters():
            weight.requires_grad_(name not in network.frozen)
        self.average = ModelEmaV3(network, stochastic_rounding=False)
        self.history: list[dict[str, float | int | None]] = []
        self._recipe, self._batch = recipe, batch
        self._loss = loss_of(recipe.train, task)
        self._augmentation = augmentation_of(recipe.train, self._targets)
        shares = (class_counts / max(1, class_counts.sum())).tolist()
        weights = torch.tensor(network.class_weights(self._loss, shares))
        self.register_buffer("_class_weights", weights, persistent=False)
        self._losses: list[Tensor] = []
        self._validation_losses: list[Tensor] = []
        self._counts: list[Any] = []
        self._tally: Tensor | None = None
        self._seen: deque[tuple[_Arrays, _Arrays]] = deque()  # truth and outputs
        self._step = self.augmented_loss

    @property
    def one_graph(self) -> bool:
        """Whether torch can compile the step: no code of the user's own is in it."""
        return self.network.one_graph and self._augmentation is None and not callable(self._loss)

    def compile_step(self) -> None:
        """Let torch compile augmentation, network and loss together; the first steps take minutes then."""
        self._step = torch.compile(self.augmented_loss)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch: raw pixels (chip, band, y, x) and targets (chip, …) by name."""
        raw, target = batch
        chips, bands = raw.shape[:2]
        whole = self._batch or chips
        own = current().part(whole)  # drawn for all, so that chips change alike on any number of devices
        turns = symmetries(whole, self._generator)[own] if self._recipe.train.augment.flip_rotate else None
        loss = self._step(raw, target, turns, noise(whole, bands, self._generator)[:, own])
        self._losses.append(loss.detach())
        return loss

    def augmented_loss(self, raw: Tensor, target: Mapping[str, Tensor], turns: Tensor | None, jitter: Tensor) -> Tensor:
        """Return the loss of a batch under ``turns`` (chip,) and ``jitter`` (2, chip, band): what can be compiled."""
        train = self._recipe.train
        normalised = self.network.normalise(raw)
        if turns is not None:
            normalised, target = turned(normalised, target, self._targets.turn, turns)
        if self._augmentation is not None:
            normalised, target = self._augmentation(normalised, target, self._own_generator)
        normalised = jittered(normalised, train.augment.gain, train.augment.offset, jitter)
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        return self.network.loss(normalised, target, self._loss, self._class_weights)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Count what the batch's chips show, and their loss."""
        raw, target = batch
        if not len(raw):
            return
        said, loss = self.average.module.examined(raw, target, self._loss, self._class_weights)
        tally = self._scoring.tally(target, said)
        if tally is not None:
            self._tally = tally if self._tally is None else self._tally + tally
        else:
            self._seen.append((fetched(target), fetched({name: values.float() for name, values in said.items()})))
            if len(self._seen) > WAITING:
                self._count()
        if loss is not None:
            self._validation_losses.append(loss)

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the running mean of the weights on; at first it forgets faster, for it began at random weights."""
        self.average.decay = min(self._recipe.train.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        self.average.update(self.network)

    def on_train_epoch_start(self) -> None:
        """Seed all that is drawn in this epoch, and keep still what is frozen: Lightning has let all learn."""
        for path in self.network.still:
            self.network.get_submodule(path).eval()
        seed = int(np.random.SeedSequence([self._recipe.seed, self.current_epoch]).generate_state(1)[0])
        self._generator = torch.Generator(self.device).manual_seed(seed)
        torch.manual_seed(seed + current().number)  # dropout draws from it; ``fit`` has forked it
        several = current().count > 1  # what only one device draws must not change what all draw
        self._own_generator = (
            torch.Generator(self.device).manual_seed(seed + current().number) if several else self._generator
        )
        self._losses = []

    def on_validation_epoch_start(self) -> None:
        """Count from nothing."""
        as_the_first(self.average.buffers())
        self._counts, self._tally = [], None
        self._validation_losses = []
        self._seen.clear()

    def on_validation_epoch_end(self) -> None:
        """Add the epoch to the history."""
        while self._seen:
            self._count()
        tallies = in_turn([] if self._tally is None else [self._tally])
        counts = sum(in_turn(self._counts), self._scoring.no_counts())
        if tallies:
            counts = self._scoring.tallied(torch.stack(tallies).sum(0).cpu().numpy())
        metrics = counts.summary()
        self.history.append(
            {
                "epoch": self.current_epoch,
                "lr": self._optimizer_lr(),
                "train_loss": _mean(self._losses),
                "validation_loss": _mean(in_turn(self._validation_losses)),
                **{f"validation_{name}": value for name, value in metrics.items()},
            }
        )
        self.log(self.monitor, worth(self.history[-1][self.monitor]))

    def configure_optimizers(self) -> Any:
        """Return AdamW, its rate rising over the warm-up, then falling along a cosine (Loshchilov & Hutter 2017)."""
        recipe = self._recipe
        groups = param_groups_weight_decay(self.network, recipe.train.weight_decay)  # biases and scales aren't decayed
        if recipe.train.encoder_lr != 1:
            groups = self._apart(groups)
        optimizer = torch.optim.AdamW(groups, recipe.lr, fused=True)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(recipe.train.warmup * steps))

        def share(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clip the norm of all gradients together: Lightning's own way refuses every fused optimiser in half precision.

        Such an optimiser would undo the scaling of float16's losses in its own step, which is too late for clipping.
        """
        largest = self._recipe.train.gradient_clip_norm
        if largest is None:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), largest)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history up again."""
        self.history = list(checkpoint["history"])

    def _count(self) -> None:
        truth, outputs = self._seen.popleft()
        self._counts.append(self._scoring.chip_counts(truth(), outputs()))

    def _apart(self, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return groups of weights, those of the encoder after the others, with its own learning rate."""
        path = self.network.encoder_path
        inside = {id(weight) for name, weight in self.network.named_parameters() if name.startswith(path)}
        own = {"lr": self._recipe.lr * self._recipe.train.encoder_lr}
        return [
            {**group, **rate, "params": some}
            for within, rate in ((False, {}), (True, own))
            for group in groups
            if (some := [weight for weight in group["params"] if (id(weight) in inside) is within])
        ]

    def _optimizer_lr(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"]) if self.trainer.optimizers else 0.0


def _mean(losses: list[Tensor]) -> float | None:
    return float(torch.stack(losses).mean()) if losses else None


def worth(value: float | None) -> float:
    """Return a metric as epochs are compared by it."""
    return UNDEFINED if value is None else float(value)
