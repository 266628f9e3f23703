"""Results of predictions as files: which there are, and which a request asks for."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from quadrat.server.service import Service
from quadrat.tasks.common.outputs import RasterLayer, VectorLayer
from quadrat.tasks.common.parts import layers_of

TYPES = {
    "zip": "application/zip",
    "tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    "geojson": "application/geo+json",
    "parquet": "application/vnd.apache.parquet",
    "gpkg": "application/geopackage+sqlite3",
}
"""Media types of the forms of a result."""

ACCEPTED = {"image/tiff": "tif", "application/json": "geojson"} | {
    media.partition(";")[0]: form for form, media in TYPES.items()
}
"""Forms by what ``Accept`` says."""

VECTORS = ("polygons", "detections", "cells")
"""Keys of ``predict.layers`` that name a vector file, and their layers."""


@dataclass(frozen=True)
class Wanted:
    """What a request wants: a ``form``, and of it one ``layer``, or all for zip."""

    form: str
    layer: str | None


def forms(service: Service) -> list[str]:
    """Return the forms that results of the bundle's task have."""
    raster = any(isinstance(layer, RasterLayer) for layer in _written(service))
    return ["zip", *["tif"] * raster, *["geojson", "parquet", "gpkg"] * (_vector(service) is not None)]


def wanted(service: Service, form: str | None, layer: str | None, accept: str) -> Wanted:
    """Return what is wanted; answer 406 or 422 for what there isn't."""
    if form is None:
        named = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
        form = next((ACCEPTED[each] for each in named if each in ACCEPTED), "zip")
    if form not in forms(service):
        raise HTTPException(406, f"{service.task.kind} gives {', '.join(forms(service))}")
    if form == "zip":
        return Wanted("zip", None)
    if form != "tif":
        return Wanted(form, _vector(service))
    rasters = [one.name for one in _written(service) if isinstance(one, RasterLayer)]
    if layer is not None and layer not in rasters:
        raise HTTPException(422, f"there is no such raster, but {', '.join(rasters)}")
    return Wanted("tif", layer or rasters[0])


def layer_options(service: Service, want: Wanted) -> dict[str, Any]:
    """Return the keys of ``predict.layers`` for what is wanted."""
    section = service.ready.predict.layers.shown()
    known = type(section).model_fields
    options: dict[str, Any] = {name: getattr(section, name) for name in ("scores", "uncertainty") if name in known}
    vector = _vector(service)
    if vector is not None:
        drawn = want.form not in {"zip", "tif"} or vector != "polygons" or getattr(service.ready.predict.layers, vector)
        form = want.form if want.form not in {"zip", "tif"} else "parquet"
        options[vector] = f"{vector}.{form}" if drawn else None
    return options


def result(service: Service, want: Wanted, folder: Path) -> Path:
    """Return the file of a result in the ``folder`` of an image's layers; a zip is made."""
    if want.form == "zip":
        packed = folder.parent / "result.zip"
        if not packed.exists():
            _zipped(folder, packed)
        return packed
    layers = _written(service)
    name = want.layer or ""
    raster = any(isinstance(layer, RasterLayer) and layer.name == name for layer in layers)
    return folder / (f"{name}.tif" if raster else f"{name}.{want.form}")


def _zipped(folder: Path, to: Path) -> None:
    part = to.with_name(f".part-{to.name}")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for file in _files(folder):
            archive.write(file, file.name)
    part.replace(to)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith("."))


def _written(service: Service) -> list[RasterLayer | VectorLayer]:
    task = service.task
    return list(layers_of(task).written(service.ready.predict.layers.shown()))


def _vector(service: Service) -> str | None:
    """Return the name of the task's vector layer, if it has one."""
    known = type(service.ready.predict.layers).model_fields
    return next((name for name in VECTORS if name in known), None)
