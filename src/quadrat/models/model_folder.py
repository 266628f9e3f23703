"""The model folder: ``model.safetensors`` and ``model.json``, all that is needed to predict. No pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_weights
from safetensors.numpy import load_file, save, save_file

from quadrat.errors import ModelError, QuadratError
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Fit, Fitted, Inputs, Outputs
from quadrat.runtime.files import replaced, write_json
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import check, read
from quadrat.runtime.provenance.origin import Origin, Parent, model_md5
from quadrat.tasks import Task
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.parts import loss_of

FILES = CARD, WEIGHTS = "model.json", "model.safetensors"
"""The files of a model folder."""

NONE = "none.txt"
"""The file that stands in a baseline's folder if there is no baseline."""

OWN = (*FILES, NONE)
"""The files of a folder that train may replace."""

KEPT = "fit.json"
"""What tells of a fit that is kept, beside its weights."""

MOST_BANDS = 1 << 14
"""Largest number of bands, of all dates together."""

HEADER = 1 << 23
"""Largest list of arrays at the start of weights, bytes."""

WRONG = (SafetensorError, ValueError, TypeError, LookupError, OverflowError)
"""Errors of reading weights that are damaged, or of types that NumPy lacks."""

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
"""Data types that a band may have."""


class ModelCard(Section):
    """``model.json``: the kind, the inputs and the outputs of a model."""

    format: Literal[1]
    task: Task
    model: Fit
    bands: tuple[Band, ...] = Field(min_length=1, max_length=MOST_BANDS)
    """In time series: all bands of the first date, then all of the next; dates have the names of a training scene."""
    statistics: tuple[BandStatistics, ...] = Field(min_length=1, max_length=MOST_BANDS)
    """Of the training pixels, raw values, for normalisation."""
    size: int = Field(ge=1)
    """Height and width of the training chips, px."""
    gsd: float = Field(gt=0)
    """Median ground sample distance of the training scenes, m; 1 if they have no CRS."""
    class_counts: dict[str, int]
    """Labelled training px of each class."""
    versions: dict[str, str]
    """Of Python, packages and the plugins that it was made with."""
    origin: Origin | None = None
    """Null in folders of earlier versions."""
    calibration: Calibration | None = None
    """How scores become probabilities; null for tasks without them, and in folders of earlier versions."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        Inputs(self.bands, self.statistics)
        strange = [band.dtype for band in self.bands if band.dtype not in DTYPES]
        if strange:
            raise ValueError(f"bands are of the types {', '.join(DTYPES)}: not {strange[0]}")
        if not self.model.serves(self.task):
            raise ValueError(f"a model of the kind {self.model.kind} doesn't learn the task {self.task.kind}")
        self._check_calibration()
        return self

    def _check_calibration(self) -> None:
        one, task = self.calibration, self.task
        if one is None:
            return
        if task.unit == "values" or one.exclusive != (task.exclusive and task.unit != "boxes"):
            raise ValueError("the calibration is of another task")
        if not one.fits(len(task.names)):
            raise ValueError("the calibration is of other classes")

    @property
    def inputs(self) -> Inputs:
        """Bands with their statistics."""
        return Inputs(self.bands, self.statistics)

    def probabilities(self, outputs: Outputs) -> Outputs:
        """Return a model's outputs with scores as probabilities."""
        if self.calibration is None:
            return outputs
        return {**outputs, "scores": self.calibration.applied(outputs["scores"], loss_of(self.task).class_axis)}

    def uncalibrated(self, outputs: Outputs) -> Outputs:
        """Return the outputs that ``probabilities`` took, up to rounding: those that layers take."""
        if self.calibration is None:
            return outputs
        return {**outputs, "scores": self.calibration.undone(outputs["scores"], loss_of(self.task).class_axis)}


@dataclass(frozen=True)
class SavedModel:
    """A trained model: its card and weights."""

    card: ModelCard
    weights: Mapping[str, NDArray[Any]]


def parent(folder: Path) -> Parent:
    """Return the model as the parent in an output's origin."""
    return Parent(kind="model", md5=model_md5(folder), origin=_card(folder).origin)


def content(folder: Path) -> str:
    """Return a hash of the model in ``folder``, which depends only on its weights and card."""
    card = _card(folder).model_copy(update={"origin": None})
    with (folder / WEIGHTS).open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(f"{weights} {card.model_dump_json()}".encode()).hexdigest()


def write_model(folder: Path, archive: SavedModel) -> None:
    """Write the model folder at ``folder``, completely or not at all."""
    with replaced(folder, OWN, synced=True) as part:
        part.mkdir()
        save_file({name: np.ascontiguousarray(a) for name, a in archive.weights.items()}, part / WEIGHTS)
        write_json(part / CARD, archive.card.model_dump(mode="json", by_alias=True))


def read_model(folder: Path) -> SavedModel:
    """Return the model at ``folder``; raise ModelError if it is missing, damaged or of another format."""
    card = _card(folder)
    path = folder / WEIGHTS
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a plain file")
        with path.open("rb") as file:
            _check_header(file.read(8))
        weights = load_file(path)
    except (OSError, *WRONG) as error:
        raise ModelError(
            "the model's weights can't be read",
            file=path,
            got=error,
            hint="run the stage 'train', or fetch the folder again",
        ) from error
    return SavedModel(card, weights)


def card_of(content: Any, error: type[QuadratError], path: Path) -> ModelCard:
    """Return a card as a ModelCard; else raise ``error``, naming ``path``.

    Cards of earlier versions say ``pretrained``, which was the one way to start: nothing of the trained model.
    """
    match content:
        case {"model": {"pretrained": bool(), **model}}:
            content = {**content, "model": model}
    return check(content, ModelCard, error, path)


def _card(folder: Path) -> ModelCard:
    try:
        return card_of(read(folder / CARD, ModelError), ModelError, folder / CARD)
    except ModelError as error:
        error.hint = error.hint or "run the stage 'train', or fetch the folder again"
        raise


def keep(folder: Path, name: str, fitted: Fitted) -> None:
    """Keep a fit in ``folder`` in place of what was kept there; ``name`` follows from all that it depends on."""
    with replaced(folder, (WEIGHTS, KEPT), synced=True) as part:
        part.mkdir()
        content = save({key: np.ascontiguousarray(values) for key, values in fitted.weights.items()})
        (part / WEIGHTS).write_bytes(content)
        about = {"name": name, "sha256": hashlib.sha256(content).hexdigest(), "metrics": dict(fitted.metrics)}
        if fitted.calibration is not None:
            about["calibration"] = fitted.calibration.model_dump(mode="json")
        write_json(part / KEPT, about)


def kept(folder: Path, name: str) -> Fitted | None:
    """Return the fit of this name that is kept, without its curves; None if there is none, or if it is damaged."""
    try:
        about = json.loads((folder / KEPT).read_bytes())
        content = (folder / WEIGHTS).read_bytes()
        if (about["name"], about["sha256"]) != (name, hashlib.sha256(content).hexdigest()):
            return None
        told = about.get("calibration")
        calibration = None if told is None else Calibration.model_validate_json(json.dumps(told))
        return Fitted(weights_of(content), about["metrics"], (), calibration)
    except (OSError, ValueError, LookupError, TypeError, ModelError):
        return None


def weights_of(content: bytes) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of a file of weights; raise ModelError if it is damaged."""
    try:
        _check_header(content[:8])
        return load_weights(content)
    except WRONG as error:
        raise ModelError("the model's weights can't be read", got=error, hint="fetch or make it again") from error


def _check_header(begin: bytes) -> None:
    """Raise ValueError if the list of arrays is too large; the library checks the rest."""
    if int.from_bytes(begin, "little") > HEADER:
        raise ValueError(f"a list of arrays of more than {HEADER} bytes")
