"""Changes geometries in well-known binary (OGC 06-103r4) in place."""

import struct

POINT, LINE, POLYGON, TRIANGLE = 1, 2, 3, 17
COLLECTIONS = {4, 5, 6, 7, 15, 16}
PLAIN = {15: 6, 16: 6, TRIANGLE: POLYGON}
"""Polyhedral surfaces and TINs have the layout of multipolygons, triangles that of polygons."""

WITH_Z, WITH_M, WITH_SRID = 0x80000000, 0x40000000, 0x20000000
"""Flags of a type beside ISO's thousands, as PostGIS and older GDAL write them."""


def of_polygons(wkb: bytes) -> bytes:
    """Return a geometry with the patches of surfaces as polygons; raise ValueError if the bytes end too early."""
    plain = bytearray(wkb)
    try:
        _retype(plain, 0)
    except (struct.error, IndexError) as cause:
        raise ValueError(f"a geometry is cut short: {cause}") from cause
    return bytes(plain)


def _retype(wkb: bytearray, start: int) -> int:
    """Change the types of the geometry at ``start`` and of its parts; return where it ends."""
    order = "<" if wkb[start] else ">"
    code: int
    (code,) = struct.unpack_from(f"{order}I", wkb, start + 1)
    thousands, kind = divmod(code & 0x0FFFFFFF, 1000)
    struct.pack_into(f"{order}I", wkb, start + 1, code - kind + PLAIN.get(kind, kind))
    axes = 2 + (thousands in {1, 3} or bool(code & WITH_Z)) + (thousands in {2, 3} or bool(code & WITH_M))
    at = start + 5 + 4 * bool(code & WITH_SRID)
    if kind == POINT:
        return at + 8 * axes
    count: int
    (count,) = struct.unpack_from(f"{order}I", wkb, at)
    at += 4
    if kind == LINE:
        return at + 8 * axes * count
    for _ in range(count):
        if kind in {POLYGON, TRIANGLE}:  # rings
            points: int
            (points,) = struct.unpack_from(f"{order}I", wkb, at)
            at += 4 + 8 * axes * points
        elif kind in COLLECTIONS:
            at = _retype(wkb, at)
        else:
            raise ValueError(f"a geometry of the unknown type {kind}")
    return at
