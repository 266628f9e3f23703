"""The stages by plain keyword arguments: sections of the parameters, paths and how it runs, all by their names."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from quadrat.pipeline import analyze as _analyze
from quadrat.pipeline import bundle as _bundle
from quadrat.pipeline import chip as _chip
from quadrat.pipeline import eval as _eval
from quadrat.pipeline import predict as _predict
from quadrat.pipeline import train as _train
from quadrat.runtime.run import Paths, Run

NOWHERE = Path("/nowhere")
"""Where a path lies that a test doesn't give: the stage must not need it."""


def analyze(**given: Any) -> None:
    _call(_analyze.analyze, _analyze.AnalyzeParams, given)


def chip(**given: Any) -> None:
    _call(_chip.chip_part if given.get("part") else _chip.chip, _chip.ChipParams, given)


def train(**given: Any) -> None:
    _call(_train.train, _train.TrainParams, given)


def predict(**given: Any) -> None:
    _call(_predict.predict_part if given.get("part") else _predict.predict, _predict.PredictParams, given)


def evaluate(**given: Any) -> None:
    _call(_eval.evaluate, _eval.EvalParams, given)


def bundle(**given: Any) -> None:
    _call(_bundle.bundle, _bundle.BundleParams, given)


def _call(stage: Any, kind: Any, given: dict[str, Any]) -> None:
    taken, paths, how = ({each.name for each in fields(one)} for one in (kind, Paths, Run))
    unknown = given.keys() - taken - paths - how
    assert not unknown, unknown
    places = {name: given.get(name, NOWHERE / name) for name in paths}
    params = kind(**{name: given[name] for name in taken & given.keys()})
    stage(params, Paths(**places), Run(**{n: given[n] for n in how & given.keys()}))
