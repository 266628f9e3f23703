"""Small pieces of ground for tests: rasters, polygons, catalogs."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import rasterio.features
from affine import Affine
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from quadrat.geo.reading.open_image import Raster
from quadrat.scenes.image import Image, Source
from quadrat.tasks import ChipClassification, ObjectDetection, PixelRegression, SemanticSegmentation

UTM = "EPSG:32633"
NORTH_UP = Affine(10.0, 0.0, 330_000.0, 0.0, -10.0, 5_822_040.0)


def write_raster(
    path: Path,
    pixels: np.ndarray,
    transform: Affine = NORTH_UP,
    crs: str | None = UTM,
    nodata: float | None = None,
    **profile: Any,
) -> Path:
    """Write (band, y, x) as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = pixels.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", transform=transform, crs=crs, nodata=nodata, **shape, **profile
    ) as file:
        file.write(pixels)
    return path


def write_areas(
    path: Path,
    areas: Sequence[BaseGeometry],
    fields: Mapping[str, Sequence[Any]] | None = None,
    crs: str | None = UTM,
    to_crs: str | None = None,
) -> Path:
    """Write geometries, given in ``crs``, to a vector file in ``to_crs``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = geopandas.GeoDataFrame(dict(fields or {}), geometry=list(areas), crs=crs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # a photo's labels have none
        (frame if to_crs is None else frame.to_crs(to_crs)).to_file(path)
    return path


def pixel_box(col: float, row: float, right: float, bottom: float, transform: Affine = NORTH_UP) -> BaseGeometry:
    """Return the area of columns ``col`` … ``right`` and rows ``row`` … ``bottom`` (exclusive) on the ground."""
    left, top = transform @ (col, row)
    east, south = transform @ (right, bottom)
    return box(min(left, east), min(top, south), max(left, east), max(top, south))


def image(path: Path | str | tuple[str, ...], bands: Sequence[str] = ("a",), **options: Any) -> Image:
    """Return a catalog image of one file."""
    about = {"unit": "DN", "scale": 1.0, "offset": 0.0, "resampling": "bilinear", **options}
    return Image(
        grid=bands[0],
        sources=(Source(path=path if isinstance(path, tuple) else str(path), bands=tuple(bands), **about),),
    )


def opened(path: Path | str, bands: Sequence[str] = ("a",), **options: Any) -> Raster:
    """Open a file as an image."""
    return image(path, bands, **options).open(bands)


def segmentation(*names: str, **options: Any) -> SemanticSegmentation:
    """Return a task of classes that are called as the labels' field calls them."""
    content = {"kind": "semantic_segmentation", "classes": classes(names), "all_touched": False, **options}
    return SemanticSegmentation.model_validate(content, strict=False)


def detection(*names: str, **options: Any) -> ObjectDetection:
    """Return a task of detecting objects of classes that are called as the labels' field calls them."""
    content = {
        "kind": "object_detection",
        "classes": classes(names),
        "min_inside_fraction": 0.8,
        "partial": "clip",
        **options,
    }
    return ObjectDetection.model_validate(content, strict=False)


def cells(*names: str, **options: Any) -> ChipClassification:
    """Return a task of cells of 16 px, of classes that are called as the labels' field calls them."""
    rule = {"share_of": "cell", "min_share": 0.5, "choose": "largest"}
    own = {"kind": "chip_classification", "cell_size": 16, "rule": rule, "multi_label": False}
    return ChipClassification.model_validate({**own, "classes": classes(names), **options}, strict=False)


def regression(name: str, **options: Any) -> PixelRegression:
    """Return a task of values from 0 to 40."""
    content = {"kind": "pixel_regression", "classes": classes([name]), "range": [0.0, 40.0], **options}
    return PixelRegression.model_validate(content, strict=False)


def classes(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return classes that are called as the labels' field calls them."""
    colors = [f"#{(37 * n) % 256:02x}{(91 * n) % 256:02x}{(153 * n) % 256:02x}" for n in range(1, len(names) + 1)]
    return [{"name": n, "color": c, "from": [n]} for n, c in zip(names, colors, strict=True)]


def legend(**aliases: Sequence[str]) -> SemanticSegmentation:
    """Return a task whose classes take the values that are given for each."""
    classes = [{"name": name, "color": "#000000", "from": list(values)} for name, values in aliases.items()]
    return segmentation("a", "b", classes=classes)


def smooth(shape: tuple[int, int], seed: int = 0, scale: int = 8) -> np.ndarray:
    """Return a smooth random field (y, x) in 0 … 1."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).random(shape), scale)
    return (field - field.min()) / np.ptp(field)


BANDS = ("B1", "B2", "B3")


def write_world(root: Path, **scenes: Any) -> Path:
    """Write an image of 3 bands, 120 × 200 px, with labels and three AOIs side by side, and its catalog.

    ``scenes`` replaces entries of the catalog's scenes by id; None takes one out. Returns the catalog's path.
    """
    wood, lake = smooth((120, 200), 1) > 0.5, smooth((120, 200), 2) > 0.6
    base = np.where(lake, 300, np.where(wood, 900, 1800))
    noise = np.random.default_rng(5).normal(0, 60, (3, 120, 200))
    pixels = np.clip(base + np.array([0, 200, 500])[:, None, None] + noise, 1, 9999).astype(np.uint16)
    write_raster(root / "image.tif", pixels, nodata=0)
    kinds = np.where(lake, 2, np.where(wood, 1, 3)).astype(np.uint8)
    shapes = [(shape(g), int(v)) for g, v in rasterio.features.shapes(kinds, kinds > 0, transform=NORTH_UP)]
    names = {1: "wood", 2: "lake", 3: "field"}
    write_areas(root / "labels.gpkg", [g for g, _ in shapes], {"kind": [names[v] for _, v in shapes]})
    entries = {}
    for name, split, left, right in (("w", "train", 0, 110), ("m", "validation", 115, 155), ("e", "test", 160, 200)):
        write_areas(root / f"{name}.geojson", [pixel_box(left, 0, right, 120)], to_crs="EPSG:4326")
        entries[name] = {"id": name, "split": split, "image": "i", "labels": "l", "aoi": str(root / f"{name}.geojson")}
    entries["all"] = {"id": "all", "split": "predict", "image": "i"}
    for name, entry in scenes.items():
        entries[name] = entry if entry is None else {**entries.get(name, {"id": name}), **entry}
    source = {"path": str(root / "image.tif"), "bands": list(BANDS), "resampling": "nearest", **REFLECTANCE}
    catalog = {
        "images": {"i": {"grid": "B1", "sources": [source]}},
        "labels": {"l": {"kind": "vector", "path": str(root / "labels.gpkg"), "field": "kind"}},
        "scenes": [entry for entry in entries.values() if entry is not None],
    }
    (root / "scenes.yaml").write_text(json.dumps(catalog))  # JSON is YAML
    return root / "scenes.yaml"


REFLECTANCE = {"unit": "reflectance", "scale": 0.0001, "offset": 0.0}
KINDS = ("wood", "lake", "field")
COLUMNS = tuple(f"px_{kind}" for kind in KINDS)


def kept(root: Path, stage: str) -> dict[str, Any]:
    """Return what a stage that makes anew only what changed takes for that: ``chip`` or ``prediction``."""
    return {f"{stage}_manifest": root / f"{stage}.json", "hashes": root / "hashes.json", "force": False}
