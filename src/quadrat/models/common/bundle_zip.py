"""The zip file of a bundle.

Its members:

    model.safetensors, model.json   the model folder
    model.onnx                      the same model as a graph: raw values in, outputs out
    params.yaml                     the parameters that made it
    metrics.json                    the metrics of train and eval
    provenance.json                 its origin: commit, hashes of DVC's outputs, versions
    sample/pixels.npy               an input, raw
    sample/<output>.npy             the expected outputs, by name
    README.md                       how to use it without this package, and what Hugging Face reads of it
    stac.json                       the model as a STAC Item with the extension MLM; earlier bundles have none
    SHA256SUMS                      the checksums of all others, as ``sha256sum --check`` reads them

A bundle has no other members. It is untrusted: nothing is unpacked to disk, and each member's declared size must be
below the limit of its name and fit into the file. Members are not compressed, so none grows when it is read.
"""

import hashlib
import io
import re
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quadrat.errors import BundleError
from quadrat.runtime.files import replaced

SUMS = "SHA256SUMS"

MEMBERS = (
    "README.md",
    "metrics.json",
    "model.json",
    "model.onnx",
    "model.safetensors",
    "params.yaml",
    "provenance.json",
    "sample/pixels.npy",
)
"""Members of every bundle, beside the checksums and the sample's outputs."""

LIMITS = {
    rf"{SUMS}|params\.yaml": 1 << 16,
    r"README\.md": 1 << 20,
    r"model\.json": 1 << 21,
    r"stac\.json": 1 << 23,
    r"(metrics|provenance)\.json": 1 << 24,
    r"sample/[a-z]{1,32}\.npy": 1 << 29,
    r"model\.(onnx|safetensors)": 1 << 31,
}
"""Most bytes of each member; ONNX files end at 2 GiB."""

MOST_MEMBERS = 64

DIRECTORY = 1 << 17
"""Most bytes of a zip's list of members."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member, so that equal content gives equal bytes."""

ENCRYPTED = 0x1
"""The bit of a member's flags for encryption."""

WRONG = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    LookupError,
)
"""Errors that Python's zipfile raises for damaged files."""


def write_bundle(path: Path, members: Mapping[str, bytes]) -> None:
    """Write ``members`` with their checksums as a zip, completely or not at all; equal content gives equal bytes.

    Nothing is compressed: weights hardly shrink, and the bytes would depend on the version of zlib. Raises BundleError
    for a member above its limit.
    """
    for name, content in members.items():
        if len(content) > (_most(name) or 0):
            raise BundleError(f"{name} is too large for a bundle", file=path, expected=_most(name), got=len(content))
    sums = "".join(f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in sorted(members))
    with replaced(path, synced=True) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted({**members, SUMS: sums.encode()}.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a plain Unix file on all systems
            file.writestr(entry, content)


@dataclass(frozen=True)
class CheckedBundle:
    """A bundle whose checksums were correct. All that is read of it later has the same checksums."""

    path: Path
    sums: Mapping[str, str]
    """The SHA-256 of each member, by name, without SHA256SUMS itself."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a member; raise BundleError if the file was replaced or changed since it was checked."""
        content = member(self.path, name)
        self._compare(name, hashlib.sha256(content).hexdigest())
        return content

    def md5(self) -> str:
        """Return DVC's hash of the file; raise BundleError if it was replaced or changed since it was checked."""
        with _opened(self.path) as file:
            assert file.fp is not None  # it is open
            file.fp.seek(0)
            found = hashlib.file_digest(file.fp, "md5").hexdigest()  # type: ignore[arg-type]  # typeshed: it is a file
            for name in self.sums:
                self._compare(name, _digest(file, name) if name in file.namelist() else "no such file")
        return found

    def _compare(self, name: str, got: str) -> None:
        if got != self.sums[name]:
            raise BundleError(
                f"{name} in the bundle has changed since the bundle was checked",
                file=self.path,
                expected=self.sums[name],
                got=got,
                hint="run it again; to replace a bundle in use, rename the new one into its place",
            )


def checked(path: Path) -> CheckedBundle:
    """Check all of a bundle and return it; raise BundleError if a member is missing, too large or damaged."""
    with _opened(path) as file:
        names = tuple(file.namelist())
        missing = [name for name in (*MEMBERS, SUMS) if name not in names]
        if missing:
            raise _wrong("the bundle is incomplete", path, ", ".join(missing), _listed(names))
        return CheckedBundle(path, _checked_sums(path, file, names))


def member(path: Path, name: str) -> bytes:
    """Return the bytes of a member of the bundle at ``path``, unchecked; raise BundleError if it can't be read."""
    with _opened(path) as file:
        return file.read(name)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip whose members are plain, within their LIMITS, and not larger than the file.

    Raises BundleError for all others, and for damage that is found while reading.
    """
    try:
        if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
            raise ValueError("not a plain file")  # a pipe or a device may never end
        with _Sparing(path) as content, zipfile.ZipFile(content) as file:
            _check_members(path, file.infolist())
            content.most = sys.maxsize - 1
            yield file
    except FileNotFoundError as error:
        raise BundleError(
            "the bundle is missing", file=path, hint="check the path, or run the stage 'bundle' to make it"
        ) from error
    except (OSError, *WRONG) as error:
        raise _wrong(
            "the file is not a bundle, or is incomplete", path, "a zip that the stage 'bundle' wrote", str(error)[:1000]
        ) from error


class _Sparing(io.FileIO):
    """A file that limits each read until its declared lengths are checked."""

    most: int = DIRECTORY

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes, or the rest; raise ValueError if that is more than ``most``."""
        limit = self.most + 1 if size is None or size < 0 else size
        found = super().read(min(limit, self.most + 1)) or b""
        if len(found) > self.most:
            raise ValueError(f"its list of members has more than {self.most} bytes")
        return found


def _check_members(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(names) > MOST_MEMBERS:
        raise _wrong("the bundle holds too many files", path, f"{MOST_MEMBERS} at most", len(names))
    if len(names) > len(set(names)):
        raise _wrong("the bundle holds a file twice", path, _listed(sorted(set(names))), _listed(names))
    for entry in entries:
        error = _error(entry)
        if error is not None:
            expected, got = error
            raise _wrong(f"{_shown(entry.filename)} in the bundle is not what was written", path, expected, got)


def _error(entry: zipfile.ZipInfo) -> tuple[str, str] | None:
    """Return expected and got of a member that is not allowed; None if it is."""
    most = _most(entry.filename)
    kind = entry.external_attr >> 16
    if most is None:
        return f"no such file, according to {SUMS} and the format", "a file with an unknown name"
    if entry.is_dir() or (kind and stat.S_IFMT(kind) not in {0, stat.S_IFREG}):
        return "a plain file", f"another kind of file (mode {kind:o})"
    if entry.flag_bits & ENCRYPTED:
        return "a file that isn't encrypted", "an encrypted one"
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        return "a file that is stored as it is, as by `zip -0`", f"{entry.file_size} bytes in {entry.compress_size}"
    if entry.file_size > most:
        return f"{most} bytes at most", f"{entry.file_size} bytes"
    return None


def _most(name: str) -> int | None:
    """Return the most bytes of a member; None for an unknown name."""
    return next((most for names, most in LIMITS.items() if re.fullmatch(names, name)), None)


def _checked_sums(path: Path, file: zipfile.ZipFile, names: Sequence[str]) -> dict[str, str]:
    """Return the right checksums of all members; SHA256SUMS is not larger than its limit, as no member is."""
    lines = file.read(SUMS).decode("utf-8", "replace").splitlines()
    if len(lines) > MOST_MEMBERS:
        raise _wrong(
            f"{SUMS} in the bundle is not what was written",
            path,
            f"{MOST_MEMBERS} lines at most",
            f"{len(lines)} lines",
        )
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted({*names, *sums} - {SUMS}):
        got = _digest(file, name) if name in names else "no such file"
        if got != sums.get(name):
            expected = sums.get(name, f"no such file, according to {SUMS}")
            raise _wrong(f"{_shown(name)} in the bundle is not what was written", path, _shown(expected), got)
    return {name: sums[name] for name in names if name != SUMS}


def _digest(file: zipfile.ZipFile, name: str) -> str:
    try:
        with file.open(name) as member:
            return hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed: a zip's member is a file
    except WRONG as error:
        return f"it can't be read: {error}"


def _wrong(problem: str, path: Path, expected: object, got: object) -> BundleError:
    return BundleError(problem, file=path, expected=expected, got=got, hint="fetch or make it again")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_shown, names[:MOST_MEMBERS]))


def _shown(name: str) -> str:
    """Return a name as an error shows it: short, and without control characters."""
    plain = name.encode("unicode_escape").decode()
    return plain if len(plain) <= 100 else plain[:100] + " …"
