"""A sample: files from a wheel, or made from them, and their checksums."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import ZipFile

from quadrat.errors import SampleError

README = "README.md"


class Member(Protocol):
    """A file of a sample."""

    @property
    def name(self) -> str:
        """Its file name in the sample's folder."""
        ...

    def write(self, wheel: ZipFile, folder: Path) -> None:
        """Write it to ``folder``, after the members before it."""
        ...

    def content(self, folder: Path) -> bytes:
        """Return its content, equal on all machines; raise SampleError if it can't be read."""
        ...


@dataclass(frozen=True)
class Copy:
    """A copied file: its name in the sample, and its path in the wheel."""

    name: str
    path: str

    def write(self, wheel: ZipFile, folder: Path) -> None:
        """Write it to ``folder``."""
        (folder / self.name).write_bytes(wheel.read(self.path))

    def content(self, folder: Path) -> bytes:
        """Return its bytes."""
        return (folder / self.name).read_bytes()


@dataclass(frozen=True)
class Sample:
    """The members from one wheel of the package index, and the README's text above the list of files."""

    requirement: str
    sha256: str
    """SHA-256 of the wheel."""
    members: tuple[Member, ...]
    digest: str
    """SHA-256 of the list of the SHA-256s of the members' content."""
    about: str
    place: str = "data/raw"
    """The folder of the project in which its own lies."""

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files."""
        return (*(member.name for member in self.members), README)

    def readme(self, folder: Path) -> bytes:
        """Return the README of the files in ``folder``: source, licences and checksums."""
        rows = "".join(
            f"| {member.name} | {_sha256((folder / member.name).read_bytes())} |\n" for member in self.members
        )
        source = f"The bytes are those of the wheel of `{self.requirement}`, SHA-256\n{self.sha256}.\n"
        return f"{self.about}\n## Files\n\n{source}\n| file | SHA-256 |\n|---|---|\n{rows}".encode()

    def whole(self, folder: Path) -> bool:
        """Return whether ``folder`` has the sample: the bytes that its README lists, and the right content."""
        if not all((folder / name).is_file() for name in self.files):
            return False
        try:
            current = (folder / README).read_bytes() == self.readme(folder)
            return current and self.content(folder) == self.digest
        except SampleError:
            return False

    def content(self, folder: Path) -> str:
        """Return the SHA-256 of the list of the SHA-256s of the content of the files in ``folder``."""
        return _sha256("".join(f"{_sha256(member.content(folder))}\n" for member in self.members).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
