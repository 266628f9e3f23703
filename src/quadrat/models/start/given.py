"""Reads weights to start from: arrays by name, and the bands and classes that they know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from safetensors.torch import load
from torch import Tensor

from quadrat.errors import ModelError
from quadrat.geo.sources.bands import Band, names_of
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models.common.bundle_zip import checked
from quadrat.models.common.devices import forked
from quadrat.models.common.encoders import DESCRIPTION, Encoder
from quadrat.models.common.model import Inputs
from quadrat.models.start.renaming import in_names_of_timm
from quadrat.models.start.section import BundleStart, FileStart, TimmStart
from quadrat.models.start.weight_files import WRONG, arrays_of, bytes_of, missing, unreadable

OWN = {"mean", "std", "nodata", DESCRIPTION}
"""Arrays of a model of quadrat that are not learnt."""


MODEL = "a bundle or a model folder of quadrat"
"""What is expected of the file of a model to start from."""


@dataclass(frozen=True)
class Given:
    """Weights to start from."""

    source: str
    """What an error or a table calls them."""
    tensors: Mapping[str, Tensor]
    bands: tuple[str, ...]
    """What this project calls the bands of their first layer, in order."""
    classes: tuple[str, ...] | None = None
    """The classes of their last layer, in order; None if unknown."""
    prefix: str | None = None
    """What the names of the encoder's weights begin with; None to find it."""
    notes: tuple[str, ...] = ()
    """What to tell of how they were read."""


def read_given(start: TimmStart | FileStart | BundleStart, encoder: Encoder) -> Given:
    """Read the weights that ``start`` names; raise ModelError where they can't be read.

    ``encoder`` is that of the network, whose weights timm gives.
    """
    if isinstance(start, BundleStart):
        return _of_bundle(start)
    if isinstance(start, FileStart):
        content, notes = arrays_of(start.path)
        named = in_names_of_timm(content, encoder) if encoder.of_timm else content
        prefix = f"{start.prefix.removesuffix('.')}." if start.prefix else start.prefix
        return Given(str(start.path), named, start.bands, start.classes, prefix, tuple(notes))
    return Given(f"timm's weights of {encoder.name}", _of_timm(encoder), start.bands)


def inherited(start: TimmStart | FileStart | BundleStart, inputs: Inputs) -> Inputs:
    """Return ``inputs`` with the means and deviations that the weights learnt with, of the bands that they know.

    Raises ModelError where a band's values mean something else here, for then they are no such means.
    """
    if not isinstance(start, BundleStart):
        kept = _listed(start)
    elif start.normaliser == "new":
        kept = {}
    else:
        card = _card(_reader(start.path), start.path)
        called = _called(start, card)
        _check_meaning(start.path, [band.model_copy(update={"name": called[band.name]}) for band in card.bands], inputs)
        kept = {called[one.band]: (one.mean, one.std) for one in card.statistics}
    return Inputs(inputs.bands, tuple(_replaced(one, kept.get(one.band)) for one in inputs.statistics))


def _check_meaning(path: Path, bands: Sequence[Band], inputs: Inputs) -> None:
    mine = {band.name: band for band in inputs.bands}
    for theirs in bands:
        own = mine.get(theirs.name, theirs)
        expected, got = ((one.dtype, one.unit, one.scale, one.offset) for one in (theirs, own))
        if expected != got:
            raise ModelError(
                f"the weights to start from learnt with other values of the band {theirs.name}",
                file=path,
                expected="dtype {}, unit {}, scale {:g}, offset {:g}".format(*expected),
                got="dtype {}, unit {}, scale {:g}, offset {:g}".format(*got),
                hint="set model.start.normaliser to new, or give the images the unit of the weights",
            )


def _replaced(own: BandStatistics, kept: tuple[float, float] | None) -> BandStatistics:
    return own if kept is None else own.model_copy(update={"mean": kept[0], "std": kept[1]})


def _listed(start: TimmStart | FileStart) -> dict[str, tuple[float, float]]:
    """Return the mean and deviation of each band that a section lists."""
    if start.mean is None and start.std is None:
        return {}
    lengths = {0 if values is None else len(values) for values in (start.bands, start.mean, start.std)}
    if len(lengths) > 1:
        raise ModelError(
            "model.start: bands, mean and std differ in length",
            expected="a mean and a std for each of the bands",
            got=f"bands {start.bands}, mean {start.mean}, std {start.std}",
            hint="give all three, in the order of the weights' bands, or neither mean nor std",
        )
    return dict(zip(start.bands, zip(start.mean or (), start.std or (), strict=True), strict=True))


class _Named(BaseModel):
    name: str


class _Task(BaseModel):
    classes: tuple[_Named, ...]


class _Card(BaseModel):
    """What is taken of a model's card; its task and kind may be any."""

    task: _Task
    bands: tuple[Band, ...]
    statistics: tuple[BandStatistics, ...]


def _of_bundle(start: BundleStart) -> Given:
    read = _reader(start.path)
    card, content = _card(read, start.path), read("model.safetensors")
    try:
        tensors = {name: tensor for name, tensor in load(content).items() if name not in OWN}
    except WRONG as error:
        raise unreadable(start.path, MODEL, error) from error
    bands = tuple(_called(start, card).values())
    return Given(str(start.path), tensors, bands, tuple(one.name for one in card.task.classes))


def _card(read: Callable[[str], bytes], path: Path) -> _Card:
    try:
        return _Card.model_validate_json(read("model.json"))
    except ValidationError as error:
        raise unreadable(path, MODEL, error) from error


def _reader(path: Path) -> Callable[[str], bytes]:
    """Return what reads the files of a model folder, or of a bundle, whose checksums are right."""
    if not path.exists():
        raise missing(path)
    return (lambda name: bytes_of(path / name)) if path.is_dir() else checked(path).read


def _called(start: BundleStart, card: _Card) -> dict[str, str]:
    """Return what this project calls each band of a model, in the model's order."""
    names = names_of(card.bands)
    bands = start.bands or names
    if len(bands) != len(names):
        raise ModelError(
            "model.start.bands does not name as many bands as the model has",
            file=start.path,
            expected=f"{len(names)} bands, for {', '.join(names)}",
            got=", ".join(bands),
            hint="name each of them in the model's order, or set it to null",
        )
    return dict(zip(names, bands, strict=True))


def _of_timm(encoder: Encoder) -> dict[str, Tensor]:
    """Return timm's weights of ``encoder``, as timm names them."""
    import timm

    try:
        with forked():
            body: Any = timm.create_model(encoder.name, pretrained=True, **encoder.arguments)
    except (AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            "timm can't give the weights of the encoder",
            expected=f"weights of {encoder.name}",
            got=f"{type(error).__name__}: {error}"[:1000],
            hint="fetch them where there is a network, name a folder (local-dir:), or set model.start to {kind: none}",
        ) from error
    return dict(body.state_dict())
