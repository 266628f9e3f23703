"""Arrays of numbers as bytes of ``.npy`` files; sizes in untrusted files are checked."""

import io
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype>[<|][iuf][1248])', 'fortran_order': False, "
    rb"'shape': \((?P<shape>(?:\d{1,12}, ?)*(?:\d{1,12})?)\), \} *\n",
    re.DOTALL,
)
"""The header that ``as_npy`` writes: version 1.0 of the format."""

LONGEST = 1024
"""Largest size of a header, bytes."""


def as_npy(values: NDArray[Any]) -> bytes:
    """Return an array as the content of a ``.npy`` file."""
    written = io.BytesIO()
    np.save(written, np.ascontiguousarray(values), allow_pickle=False)
    return written.getvalue()


def of_npy(content: bytes) -> NDArray[Any]:
    """Return the array that ``as_npy`` made ``content`` of; raise ValueError for anything else."""
    found = HEADER.match(content[:LONGEST])
    if found is None:
        raise ValueError("this is no array of numbers as NumPy writes it")
    try:
        dtype = np.dtype(found["dtype"].decode())
    except TypeError as error:
        raise ValueError(str(error)) from error
    shape = tuple(int(side) for side in found["shape"].replace(b" ", b"").split(b",") if side)
    size, there = math.prod(shape) * dtype.itemsize, len(content) - found.end()
    if size != there:
        raise ValueError(f"an array of {size} bytes, by its shape {shape}, has {there}")
    return np.frombuffer(content, dtype, offset=found.end()).reshape(shape).copy()  # a copy is writable
