"""A bundle as a STAC Item with the extension MLM, by which catalogs describe models."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import normalize

from quadrat.geo.sources.bands import Band, dates_of
from quadrat.models.model_folder import ModelCard
from quadrat.tasks.common.parts import loss_of

STAC = "1.1.0"
MLM = "https://stac-extensions.github.io/mlm/v1.5.1/schema.json"

AXES = {"window": "batch", "y": "height", "x": "width"}
"""MLM's names of axes."""

ALWAYS = ("1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
"""The time of a model that learnt from images of unknown dates, as MLM recommends."""

Bounds = tuple[float, float, float, float]
"""West, south, east, north; west is larger than east across 180°."""


def stac_item(title: str, card: ModelCard, ground: Bounds | None) -> dict[str, Any]:
    """Return the Item; ``ground`` holds all training chips, None where they have no place on Earth."""
    loss = loss_of(card.task)
    dates = dates_of(card.bands)
    start, end = (f"{dates[0]}T00:00:00Z", f"{dates[-1]}T00:00:00Z") if _are_days(dates) else ALWAYS
    return {
        "type": "Feature",
        "stac_version": STAC,
        "stac_extensions": [MLM],
        "id": slug(title),
        "geometry": None if ground is None else _area(ground),
        **({} if ground is None else {"bbox": list(ground)}),
        "properties": {
            "title": title,
            "datetime": None,
            "start_datetime": start,
            "end_datetime": end,
            "bands": [_band(band) for band in card.bands],
            "mlm:name": slug(title),
            "mlm:architecture": architecture(card),
            "mlm:tasks": [loss.stac],
            "mlm:input": [_input(card)],
            "mlm:output": [_output(card, name, axes) for name, axes in loss.signature().axes.items()],
        },
        "links": [],
        "assets": _assets(card),
    }


def slug(title: str) -> str:
    """Return a title as a name of letters, digits and hyphens that begins with a letter."""
    plain = normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return name if re.match("[a-z]..", name) else f"model-{name}".strip("-")


def architecture(card: ModelCard) -> str:
    """Return what the model is, e.g. ``unet resnet18``; its kind if it has no architecture."""
    named = (getattr(card.model, name, None) for name in ("architecture", "encoder"))
    return " ".join(part for part in named if isinstance(part, str)) or card.model.kind


def _are_days(dates: Sequence[str]) -> bool:
    return (
        bool(dates) and all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates) and list(dates) == sorted(dates)
    )


def _area(ground: Bounds) -> dict[str, Any]:
    west, south, east, north = ground
    if west <= east:
        return {"type": "Polygon", "coordinates": [_ring(ground)]}
    parts = (west, south, 180.0, north), (-180.0, south, east, north)
    return {"type": "MultiPolygon", "coordinates": [[_ring(part)] for part in parts]}


def _ring(ground: Bounds) -> list[list[float]]:
    west, south, east, north = ground
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _name(band: Band) -> str:
    return band.name if band.date is None else f"{band.name} {band.date}"


def _band(band: Band) -> dict[str, Any]:
    said = {"name": _name(band), "data_type": band.dtype, "unit": band.unit, "nodata": band.nodata}
    scaling = {"raster:scale": band.scale, "raster:offset": band.offset}
    return {name: value for name, value in (said | scaling).items() if value is not None}


def _input(card: ModelCard) -> dict[str, Any]:
    values = "Raw values as stored; normalisation is inside. Nodata or NaN where a band has no value."
    return {
        "name": "pixels",
        "description": f"{values} Height and width are multiples of {card.model.divisor} px.",
        "bands": [_name(band) for band in card.bands],
        "input": {
            "shape": [-1, len(card.bands), -1, -1],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": None,
        "resize_type": None,
    }


def _output(card: ModelCard, name: str, axes: Sequence[int | str]) -> dict[str, Any]:
    """Return an output; an axis as long as there are classes is theirs."""
    classes = len(card.task.classes)
    of_classes = next((at for at, axis in enumerate(axes) if axis == classes and name == "scores"), None)
    order = [_axis(at, axis, of_classes) for at, axis in enumerate(axes)]
    told: dict[str, Any] = {
        "name": name,
        "description": loss_of(card.task).signature().outputs[name],
        "tasks": [loss_of(card.task).stac],
        "result": {
            "shape": [axis if isinstance(axis, int) else -1 for axis in axes],
            "dim_order": order,
            "data_type": "float32",
        },
    }
    if of_classes is not None:
        told["classification:classes"] = [
            {"value": number, "name": slug(one.name), "description": one.name, "color_hint": one.color[1:].upper()}
            for number, one in enumerate(card.task.classes)
        ]
    return told


def _axis(at: int, axis: int | str, of_classes: int | None) -> str:
    if at == of_classes:
        return "class"
    return AXES.get(axis, axis) if isinstance(axis, str) else "coordinate" if axis == 4 else "channel"


def _assets(card: ModelCard) -> Mapping[str, Any]:
    octets = "application/octet-stream"
    model = {"roles": ["mlm:model", "mlm:weights"], "type": octets}
    return {
        "onnx": {
            "href": "./model.onnx",
            "title": "The model as a graph",
            **model,
            "type": f"{octets}; framework=onnx",
            "mlm:artifact_type": "onnx",
            "bands": [{"name": _name(band)} for band in card.bands],  # STAC wants those of the properties in an asset
        },
        "weights": {
            "href": "./model.safetensors",
            "title": "The weights, for quadrat",
            **model,
            "mlm:artifact_type": "safetensors.torch.save_file",
        },
        "card": {"href": "./model.json", "title": "The model card", "type": "application/json", "roles": ["metadata"]},
        "metrics": {"href": "./metrics.json", "title": "Metrics", "type": "application/json", "roles": ["metadata"]},
        "readme": {"href": "./README.md", "title": "How to run it", "type": "text/markdown", "roles": ["overview"]},
    }
