"""Finds links in HDF5 files (netCDF-4 is HDF5): to other files, and cycles of groups.

The HDF5 library looks for them in a separate process that runs only this file, because a damaged file may crash it.
"""

import ctypes
import subprocess
import sys
from pathlib import Path

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The signature, which stands at byte 0, 512, 1024, 2048 and so on."""

SECONDS = 10
"""Time limit of the process, s."""

MOST_LINKS = 10_000
"""Largest number of groups and datasets in a file, because GDAL compares each with all others."""

LEAST_BLOCK = 512
HARD, SOFT = 0, 1
GROUP, DATASET = 2, 5
VIRTUAL = 3
ADDRESS = 8
"""Constants of HDF5's C interface: kinds of links, objects and layouts, and the offset of an object's address."""


def outward(file: Path, library: str) -> str | None:
    """Return the problem of a file, or None; ``library`` is a library that HDF5 is linked with."""
    if not _begins(file):
        return None
    try:
        found = subprocess.run(  # noqa: S603 (this file)
            [sys.executable, "-I", "-S", __file__, library, str(file)],
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"its content can't be listed within {SECONDS} s"
    told = found.stdout.decode(errors="replace")
    return told or (f"it crashes the library ({found.returncode})" if found.returncode else None)


def _begins(file: Path) -> bool:
    size, at = file.stat().st_size, 0
    with file.open("rb") as content:
        while at < size:
            content.seek(at)
            if content.read(len(SIGNATURE)) == SIGNATURE:
                return True
            at = max(LEAST_BLOCK, 2 * at)
    return False


def _told(library: str, file: str) -> str | None:  # noqa: C901 (one walk)
    hdf5 = ctypes.CDLL(library)
    identifier, number = ctypes.c_int64, ctypes.c_int
    visit = ctypes.CFUNCTYPE(number, identifier, ctypes.c_char_p, ctypes.POINTER(number), ctypes.c_void_p)
    for name, gives, *takes in (
        ("H5Eset_auto2", number, identifier, ctypes.c_void_p, ctypes.c_void_p),
        ("H5Fopen", identifier, ctypes.c_char_p, ctypes.c_uint, identifier),
        ("H5Lvisit1", number, identifier, number, number, visit, ctypes.c_void_p),
        ("H5Oopen", identifier, identifier, ctypes.c_char_p, identifier),
        ("H5Oclose", number, identifier),
        ("H5Iget_type", number, identifier),
        ("H5Oget_info1", number, identifier, ctypes.c_void_p),
        ("H5Dget_create_plist", identifier, identifier),
        ("H5Pget_external_count", number, identifier),
        ("H5Pget_layout", number, identifier),
        ("H5Pclose", number, identifier),
    ):
        call = getattr(hdf5, name)
        call.restype, call.argtypes = gives, takes
    hdf5.H5open()
    hdf5.H5Eset_auto2(0, None, None)
    whole = hdf5.H5Fopen(file.encode(), 0, 0)
    if whole < 0:
        return None  # not HDF5: GDAL, which uses the same library, reports the problem
    groups, wrong, links = set[int](), list[str](), 0

    def address(one: int) -> int:
        told = ctypes.create_string_buffer(4096)
        return -1 if hdf5.H5Oget_info1(one, told) < 0 else ctypes.c_uint64.from_buffer(told, ADDRESS).value

    def look(_: int, name: bytes, about: "ctypes._Pointer[ctypes.c_int]", __: object) -> int:
        nonlocal links
        links += 1
        kind, told = about[0], name.decode(errors="replace")[:200]
        if kind not in {HARD, SOFT}:
            wrong.append(f"{told} is a link to another file")
        elif links > MOST_LINKS:
            wrong.append(f"more than {MOST_LINKS} names")
        else:
            wrong.extend(judge(name, told, soft=kind == SOFT))
        return 1 if wrong else 0

    def judge(name: bytes, told: str, *, soft: bool) -> list[str]:
        one = hdf5.H5Oopen(whole, name, 0)
        if one < 0:  # a soft link may lead nowhere
            return [] if soft else [f"{told} can't be opened"]
        found, kind = list[str](), hdf5.H5Iget_type(one)
        if kind == GROUP:
            place = address(one)
            if place in groups:
                found.append(f"the group {told} lies in several groups, or in itself")
            groups.add(place)
        elif kind == DATASET:
            plan = hdf5.H5Dget_create_plist(one)
            if hdf5.H5Pget_external_count(plan) != 0 or hdf5.H5Pget_layout(plan) == VIRTUAL:
                found.append(f"the values of {told} lie in another file")
            hdf5.H5Pclose(plan)
        hdf5.H5Oclose(one)
        return found

    root = hdf5.H5Oopen(whole, b"/", 0)
    groups.add(address(root))
    if hdf5.H5Lvisit1(root, 0, 2, visit(look), None) < 0 and not wrong:
        wrong.append("its content can't be listed")
    return wrong[0] if wrong else None


if __name__ == "__main__":
    sys.stdout.write(_told(*sys.argv[1:3]) or "")
