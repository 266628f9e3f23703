"""What requests name: an image, a layer, a band; and how they are looked up."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from fastapi import Depends, HTTPException, Path, Query
from morecantile import Tile, TileMatrixSet
from morecantile import tms as matrix_sets
from rasterio.crs import CRS

from quadrat.server.blocks.gallery import Served
from quadrat.server.drawing.layers import MapLayer
from quadrat.server.drawing.warp import Target
from quadrat.server.service import Service

ImageName = Annotated[str | None, Query(max_length=250, description="Name of an image; left out: the first.")]
Matrices = Literal["WebMercatorQuad", "WorldCRS84Quad", "WGS1984Quad", "WorldMercatorWGS84Quad"]
MatrixName = Annotated[Matrices, Path(alias="tms", description="The tile matrix set.")]
FAR = 1e9
"""Units of a CRS from its origin where there is nothing."""

Zoom = Annotated[int, Path(ge=0, le=24)]
Number = Annotated[int, Path(ge=0, le=1 << 25)]
TileSize = Annotated[Literal["256", "512"], Query(description="Side of the tile, px.")]
MaxSize = Annotated[int, Query(ge=1, le=2048, description="Largest side, px.")]
Form = Literal["png", "tif"]
System = Annotated[str, Query(pattern=r"^EPSG:[0-9]{4,6}$", description="A CRS by its EPSG code.")]


PNG: dict[int | str, dict[str, object]] = {
    200: {"content": {"image/png": {}}, "description": "A picture."},
    204: {"description": "The image isn't there."},
}


@dataclass(frozen=True)
class Named:
    """What a request names."""

    image: str | None = None
    layer: str | None = None
    band: str | None = None


async def named(
    image: ImageName = None,
    layer: Annotated[
        str | None, Query(max_length=50, description="image, or a layer of /info; left out: the first prediction.")
    ] = None,
    band: Annotated[
        str | None, Query(alias="class", max_length=200, description="Of scores, whose; left out: the first class.")
    ] = None,
) -> Named:
    """Return what a request names; a coroutine, as FastAPI calls others in threads."""
    return Named(image, layer, band)


Names = Annotated[Named, Depends(named)]


@dataclass(frozen=True)
class Box:
    """A box of a CRS."""

    west: float
    south: float
    east: float
    north: float
    coord_crs: System = "EPSG:4326"

    @property
    def crs(self) -> CRS:
        """The CRS."""
        return system(self.coord_crs)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top; answers 422 for what is no box."""
        found = self.west, self.south, self.east, self.north
        if not (max(map(abs, found)) < FAR and self.west < self.east and self.south < self.north):
            raise HTTPException(422, "a box has west,south,east,north: the smaller ones first")
        return found


BoxOf = Annotated[Box, Depends()]


@dataclass(frozen=True)
class Asked:
    """An image, a layer and the number of its band."""

    served: Served
    layer: MapLayer
    band: int

    @property
    def query(self) -> str:
        """It as the query of an address."""
        from urllib.parse import urlencode

        named = {"image": self.served.id, "layer": self.layer.name}
        if len(self.layer.bands) > 1:
            named["class"] = self.layer.bands[self.band]
        return urlencode(named)


def image_of(service: Service, name: str | None) -> Served:
    """Return an image by name, or the first; answer 404 if it isn't served."""
    first = service.first()
    wanted = name if name is not None else first.id if first else None
    if wanted is None or wanted not in service.gallery.names:
        raise HTTPException(404, "no such image is served: see /images")
    return service.gallery.get(wanted)


def asked(service: Service, names: Named, served: Served | None = None) -> Asked:
    """Return what is asked for; answer 404 for what there isn't."""
    served, band = served or image_of(service, names.image), names.band
    name = names.layer if names.layer is not None else list(service.layers)[1]
    if name not in service.layers:
        raise HTTPException(404, f"there is no such layer, but {', '.join(service.layers)}")
    found = service.layers[name]
    if band is not None and band not in found.bands:
        raise HTTPException(404, f"the layer has no such class, but {', '.join(found.bands) or 'none'}")
    return Asked(served, found, 0 if band is None else found.bands.index(band))


def known(service: Service, names: Named) -> Served | None:
    """Return the image if it has just been looked at, without waiting for files."""
    first = service.first()
    name = names.image if names.image is not None else first.id if first else None
    return None if name is None else service.gallery.fresh(name)


def placed(served: Served) -> CRS:
    """Return the image's CRS; answer 404 if it has no place on Earth."""
    if served.bounds is None or served.grid.crs is None:
        raise HTTPException(404, "the image has no place on Earth: ask for /preview")
    return served.grid.crs


@lru_cache(64)
def system(code: str) -> CRS:
    """Return a CRS by its code; answer 422 for an unknown one."""
    from rasterio.errors import CRSError

    try:
        return CRS.from_string(code)
    except CRSError:
        raise HTTPException(422, "there is no such CRS") from None


@lru_cache(8)
def matrices(name: str) -> TileMatrixSet:
    """Return a tile matrix set; morecantile makes a copy each time."""
    return matrix_sets.get(name)


@lru_cache(1 << 14)
def tile_target(name: str, tile: tuple[int, int, int], side: int) -> Target:
    """Return the grid of a tile: its column, row and zoom."""
    return Target.of(matrix_system(name), matrices(name).xy_bounds(Tile(*tile)), side, side)


@lru_cache(8)
def matrix_system(name: str) -> CRS:
    """Return the CRS of a tile matrix set."""
    found: CRS = matrices(name).rasterio_crs
    return found
