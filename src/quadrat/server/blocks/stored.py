"""A block as bytes: a short header with a checksum, and compressed arrays."""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest

MAGIC = b"QUADRAT BLOCK 1\n"
"""The first bytes; another version is another number."""

LEVEL = 1
"""Of compression: maps of classes become small at any level."""

CHECKSUM = 8
"""Bytes of the checksum of all that follows it."""

_LENGTH = struct.Struct("<I")
"""The length of the list of arrays."""

Arrays = Mapping[str, NDArray[Any]]


def packed(arrays: Arrays) -> bytes:
    """Return arrays as bytes."""
    bodies = {name: zlib.compress(np.ascontiguousarray(values).tobytes(), LEVEL) for name, values in arrays.items()}
    listed = [
        {"name": name, "dtype": values.dtype.str, "shape": values.shape, "bytes": len(bodies[name])}
        for name, values in arrays.items()
    ]
    table = json.dumps(listed).encode()
    rest = b"".join([_LENGTH.pack(len(table)), table, *bodies.values()])
    return MAGIC + xxh3_64_digest(rest) + rest


def unpacked(content: bytes, wanted: Iterable[str] | None = None) -> dict[str, NDArray[Any]] | None:
    """Return the arrays, or only those ``wanted``; None if the bytes are not what ``packed`` has made."""
    start = len(MAGIC) + CHECKSUM
    view = memoryview(content)[start:]
    if content[:start] != MAGIC + xxh3_64_digest(view):
        return None
    names = None if wanted is None else set(wanted)
    found, place = {}, _LENGTH.size + _LENGTH.unpack_from(view)[0]
    for each in json.loads(bytes(view[_LENGTH.size : place])):
        if names is None or each["name"] in names:
            body = zlib.decompress(view[place : place + each["bytes"]])
            found[each["name"]] = np.frombuffer(body, each["dtype"]).reshape(each["shape"])
        place += each["bytes"]
    return found
