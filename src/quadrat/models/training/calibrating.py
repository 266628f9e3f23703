"""Fits a trained model's calibration to the validation chips: temperatures, and smallest scores of sets of classes.

A temperature minimises the negative log likelihood of the labels (Guo et al. 2017, "On calibration of modern neural
networks"). Sets of classes are those of split conformal prediction within each class (Sadinle et al. 2019, "Least
ambiguous set-valued classifiers with bounded error levels"): a class is in the set if its probability is at least that
of all but a share of its validation pixels.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.models.common.model import Predictor, Samples
from quadrat.tasks.common.calibration import COLDEST, HOTTEST, PERCENTS, Calibration
from quadrat.tasks.common.loss import Evidence
from quadrat.tasks.common.parts import loss_of
from quadrat.tasks.common.section import TaskSection

READ = 1 << 17
"""Px of chips, on all dates, that go through the model at once."""

KEPT = 1 << 18
"""Most pixels, of all classes together, that are kept to learn from."""

SCORES = 1 << 24
"""Most scores of these pixels."""

LEAST = 1e-6
"""Scores of 0 count as this much, or as the smallest score if that is less: their logarithm would outweigh all others.
"""

DIGITS = 4
"""Digits of a temperature."""

FEWEST = 20
"""Fewest labels from which a temperature is learnt."""


def calibrate(
    predictor: Predictor, validation: Samples, task: TaskSection, seed: int, images_per_chip: int = 1
) -> Calibration | None:
    """Return the calibration of a model; None for tasks without probabilities, or too few labels on validation chips.

    Of classes with many labelled pixels, pixels are drawn by ``seed``, and weigh more.
    """
    pixels = validation.read(np.arange(1))[0][:, 0].size * images_per_chip if len(validation) else 1
    said = _said(predictor, validation, task, max(1, READ // max(1, pixels)))
    found = _collected(said, validation.class_counts(), seed)
    if found is None:
        return None
    truth, scores, weights = found
    if not task.exclusive or truth.ndim == 2:
        each = [_of_one(truth[:, number], scores[:, number]) for number in range(scores.shape[1])]
        return Calibration(temperatures=tuple(each), exclusive=False)
    if len(truth) < FEWEST:
        return None
    one = Calibration(temperatures=(temperature(truth, scores, weights),), exclusive=True)
    if not loss_of(task).sets:
        return one
    true = one.applied(scores, 1)[np.arange(len(truth)), truth]
    return one.model_copy(update={"least": tuple(least(true[truth == number]) for number in range(scores.shape[1]))})


def temperature(truth: NDArray[np.uint8], scores: NDArray[np.float32], weights: NDArray[np.float64]) -> float:
    """Return the temperature of ``scores`` (item, class) of classes that exclude each other, by the ``truth`` (item,).

    The loss is convex in 1 / T, so one minimum is found. Small scores count as they are: networks that are very sure
    have many, and cut off these would seem less sure.
    """
    logs = np.log(np.maximum(scores, scores.min(initial=LEAST, where=scores > 0)))
    logs -= logs.max(1, keepdims=True)
    own = logs[np.arange(len(truth)), truth].astype(np.float64)

    def loss(cold: float) -> float:
        return float(weights @ (np.log(np.exp(logs * np.float32(cold)).sum(1)) - cold * own) / weights.sum())

    return _coolest(loss)


def least(scores: NDArray[np.float32]) -> tuple[float, ...]:
    """Return the smallest scores of a class for each share, 1 % to PERCENTS %, of the true ``scores`` (pixel,) of it.

    Of n scores, the one of rank ⌈(n + 1)(1 - share)⌉ from the largest; 0 where that is beyond n: then all are in.
    Rounded downwards.
    """
    falling, count = np.sort(scores)[::-1].astype(np.float64), len(scores)
    ranks = [-(-(count + 1) * (100 - percent) // 100) for percent in range(1, PERCENTS + 1)]
    return tuple(0.0 if rank > count else math.floor(falling[rank - 1] * 1e6) / 1e6 for rank in ranks)


def _of_one(truth: NDArray[np.uint8], scores: NDArray[np.float32]) -> float:
    """Return the temperature of the ``scores`` (item,) of a class by itself; ``truth`` (item,) is 1, 0 or IGNORE.

    Small scores count as they are, as in ``temperature``, and so do those near 1.
    """
    known = truth != IGNORE
    there, found = truth[known], scores[known].astype(np.float64)
    if not len(there) >= FEWEST or there.min() == there.max():
        return 1.0
    yes, no = (np.maximum(some, some.min(initial=LEAST, where=some > 0)) for some in (found, 1 - found))
    logits = np.where(there == 1, -1, 1) * np.log(yes / no)
    return _coolest(lambda cold: float(np.logaddexp(0, cold * logits).mean()))


def _coolest(loss: Any) -> float:
    """Return the temperature with the smallest ``loss`` of its inverse."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(loss, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-5})
    return min(HOTTEST, max(COLDEST, float(f"{1 / found.x:.{DIGITS}g}")))


def _collected(
    said: Iterator[Evidence], class_counts: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]] | None:
    """Return truth (item, …), scores (item, class) and weights (item,) of what is labelled; None if nothing is said."""
    generator, classes = np.random.default_rng(seed), len(class_counts)
    most = max(1, min(KEPT, SCORES // classes) // classes)
    shares = np.append(np.minimum(1, most / np.maximum(1, class_counts)), np.zeros(IGNORE + 1 - classes))
    parts = []
    for one in said:
        truth = one.truth
        if truth.shape == one.scores.shape:  # each class by itself
            known = (truth != IGNORE).any(-1)
            parts.append((truth[known], one.scores[known], np.ones(int(known.sum()))))
            continue
        chances = shares[truth]
        known = generator.random(truth.shape, np.float32) < chances
        parts.append((truth[known], one.scores[known], 1 / chances[known]))
    if not parts:
        return None
    truths, scores, weights = (np.concatenate(some) for some in zip(*parts, strict=True))
    return truths, scores, weights


def _said(predictor: Predictor, validation: Samples, task: TaskSection, some: int) -> Iterator[Evidence]:
    """Yield what the model says of the validation chips, ``some`` at once, in order."""
    loss = loss_of(task)
    for first in range(0, len(validation), some):
        pixels, target = validation.read(np.arange(first, min(first + some, len(validation))))
        evidence = loss.evidence(target, predictor(pixels))
        if evidence is None:
            return
        yield evidence
