"""Images that are sent: received to disk, and looked at before a pixel is read."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import HTTPException, Request
from python_multipart.multipart import parse_options_header
from rasterio.enums import Interleaving
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from quadrat.errors import DiskError, ImageError
from quadrat.geo.files.opening import TIFF, Opener
from quadrat.geo.files.raster_files import TROUBLE
from quadrat.runtime.files import FULL
from quadrat.server.limits import Limits

BODIES = ("image/tiff", "application/octet-stream", "application/x-www-form-urlencoded", "")
"""Media types of a body that is an image; the third is what curl says unless told."""

PIECE = 1 << 20
"""Bytes that are copied at once."""

STEM = re.compile(r"[^A-Za-z0-9_-]+")
"""What names of files have that an image's name doesn't keep."""


async def received(request: Request, folder: Path) -> Path:
    """Write the image of a request to ``folder``; answer 400 or 415 for a request without one.

    Raises DiskError where there is no room for it.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    media = kind.decode("latin-1").lower()
    try:
        if media == "multipart/form-data" and b"boundary" in options:
            return await _of_form(request, folder)
        if media.partition(";")[0] not in BODIES:
            raise HTTPException(415, "send a GeoTIFF as the body, or as the part 'file' of multipart/form-data")
        file = folder / "image.tif"
        with file.open("wb") as target:
            async for piece in request.stream():
                target.write(piece)
    except ClientDisconnect:
        raise HTTPException(400, "the request was broken off") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskError("there is no room for the image", got=error.strerror, hint="send it again later") from error
    return file


async def _of_form(request: Request, folder: Path) -> Path:
    try:
        form = await request.form(max_files=1, max_fields=16, max_part_size=1 << 12)
    except (MultiPartException, HTTPException):
        raise HTTPException(400, "the form can't be read") from None
    try:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise HTTPException(400, "the form has no part 'file'")
        stem = STEM.sub("-", (part.filename or "").rpartition("/")[2].rpartition(".")[0])[:60].strip("-")
        file = folder / f"{stem or 'image'}.tif"
        with file.open("wb") as target:
            while piece := await part.read(PIECE):
                target.write(piece)
        return file
    finally:
        await form.close()


def looked_at(file: Path, limits: Limits) -> int:
    """Return how many px an image has; raise ImageError for what is no GeoTIFF, or too large. No pixel is read."""
    with file.open("rb") as opened:
        start = opened.read(4)
    if start not in TIFF:
        raise ImageError("the file is no GeoTIFF", file=file, expected="a TIFF, from its first bytes", got=repr(start))
    try:
        with Opener(formats=("GTiff",)).open(str(file)) as dataset:
            found: Any = dataset
            return _measured(found, file, limits)
    except TROUBLE as error:
        raise ImageError("the image can't be opened", file=file, got=error) from error


def _measured(dataset: Any, file: Path, limits: Limits) -> int:
    height, width = dataset.shape
    rows, cols = dataset.block_shapes[0]
    each = np.dtype("complex128" if "complex" in dataset.dtypes[0] else dataset.dtypes[0]).itemsize
    block = rows * cols * each * (dataset.count if dataset.interleaving == Interleaving.pixel else 1)
    for wrong, problem, expected, got in (
        (dataset.count > limits.bands, "the image has too many bands", limits.bands, dataset.count),
        (height * width > limits.pixels, "the image is too large", f"{limits.pixels} px", f"{width} × {height} px"),
        (block > limits.block, "the image's blocks are too large", f"{limits.block >> 20} MB", f"{block >> 20} MB"),
        (any("complex" in dtype for dtype in dataset.dtypes), "the image has complex values", "numbers", "complex"),
    ):
        if wrong:
            raise ImageError(problem, file=file, expected=f"at most {expected}", got=got)
    return int(height * width)
