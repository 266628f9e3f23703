"""Answers with pictures and rasters of a layer."""

import warnings
from collections.abc import Sequence

import numpy as np
from fastapi import HTTPException, Response
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from quadrat.server.drawing.canvas import Drawn
from quadrat.server.drawing.warp import Target, shown
from quadrat.server.routes.asked import Asked, placed
from quadrat.server.service import Service

KEPT = "private, max-age=60"
"""How long browsers keep pictures: files and models change."""


SEEN = 1024
"""Px of a box, by side, whose size in px of the image is looked up."""


def drawn(service: Service, what: Asked, target: Target) -> Drawn | None:
    """Draw a layer; None where the image isn't."""
    return service.canvas.draw(what.served, what.layer, what.band, target)


def picture(found: Drawn | None) -> Response:
    """Return a picture as an answer; 404 where the image isn't."""
    if found is None:
        raise HTTPException(404, "the image isn't there")
    headers = {"Cache-Control": KEPT, **({} if found.hint is None else {"X-Quadrat-Hint": found.hint})}
    return Response(found.content, media_type="image/png", headers=headers)


def whole(service: Service, what: Asked, most: int) -> Drawn | None:
    """Draw the whole image on its own grid, in at most ``most`` px."""
    grid = what.served.grid
    height, width = grid.shape
    scale = max(1.0, max(height, width) / most)
    rows, cols = max(1, round(height / scale)), max(1, round(width / scale))
    transform = grid.transform @ grid.transform.scale(width / cols, height / rows)
    return drawn(service, what, Target(grid.crs, transform, rows, cols))


def box_of(what: Asked, bounds: Sequence[float], crs: CRS, most: int) -> Target:
    """Return the grid of a box: in the image's own resolution, unless it has more than ``most`` px."""
    placed(what.served)
    seen = shown(what.served.grid, Target.of(crs, bounds, SEEN, SEEN))
    if seen is None:
        raise HTTPException(404, "the image isn't there")
    across, down = SEEN * seen.across, SEEN * seen.down
    scale = max(1.0, across / most, down / most)
    return Target.of(crs, bounds, max(1, round(down / scale)), max(1, round(across / scale)))


def of_box(service: Service, what: Asked, target: Target, form: str) -> Response:
    """Return a box as a picture, or as a GeoTIFF of stored values."""
    if form == "png":
        return picture(drawn(service, what, target))
    values = service.canvas.values(what.served, what.layer, target)
    if values is None:
        raise HTTPException(413, "the box is too large: ask for a smaller one, or POST the image to /predict")
    return Response(geotiff(service, what, values, target), media_type="image/tiff; application=geotiff")


def geotiff(service: Service, what: Asked, values: np.ndarray, target: Target) -> bytes:
    """Return stored values (band, y, x) as a GeoTIFF."""
    layer = what.layer
    nodata = layer.written.nodata if layer.written is not None else None if layer.kind == "image" else 255
    shape = {"count": len(values), "height": target.height, "width": target.width, "dtype": values.dtype}
    place = {"crs": target.crs, "transform": target.transform, "nodata": nodata}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(driver="GTiff", compress="deflate", **shape, **place) as file:
            file.write(values)
            if layer.bands:
                file.descriptions = layer.bands
            if layer.written is not None and layer.written.scale != 1:
                file.scales = [layer.written.scale] * len(values)
            if layer.kind in {"classes", "features"}:
                file.write_colormap(1, {number: (*c.rgb, 255) for number, c in enumerate(service.task.classes)})
        return bytes(memory.read())
