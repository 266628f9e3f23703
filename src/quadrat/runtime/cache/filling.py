"""Fills the shared cache with a part of a stage's scenes, and leaves the workspace as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, TypeVar

from quadrat.errors import SharedCacheError
from quadrat.runtime.cache.hashes import Hashed, Hashes
from quadrat.runtime.cache.shared_cache import SharedCache
from quadrat.runtime.files import remove
from quadrat.runtime.parallel import Threads, results
from quadrat.runtime.run import Part, Run

Item = TypeVar("Item")

ASKING = 16
"""Units that are asked for at once."""


@dataclass
class Filling:
    """A context manager around the work; ``folder`` is where units are made before they are stored."""

    shared: SharedCache
    part: Part
    force: bool
    _inputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run, stage: str) -> Self:
        """Return what fills the cache of ``stage``; raise SharedCacheError if the run has none."""
        shared = run.shared(stage)
        if shared is None or run.part is None:
            raise SharedCacheError(
                "a part of the scenes goes to the cache that machines share, and there is none",
                hint="set QUADRAT_CACHE to a folder that all see, or to a URL such as s3://bucket/folder",
            )
        return cls(shared, run.part, run.force)

    def __enter__(self) -> Self:
        """Make the folder."""
        self._temporary = TemporaryDirectory(prefix="quadrat-part-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name) / "units"
        self.hashes = Hashes(Path(self._temporary.name) / "hashes.json")
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self._temporary.cleanup()

    def mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part's share of the items."""
        return self.part.of(items)

    def lacking(self, inputs: Mapping[str, str]) -> list[str]:
        """Return the units that the shared cache lacks, in order; ``inputs`` are their identities by name."""
        self._inputs |= inputs
        if self.force:
            return list(inputs)
        missing = results(Threads(ASKING).map(self.shared.lacks, inputs.values()))
        return [name for name, lacks in zip(inputs, missing, strict=True) if lacks]

    def store(self, name: str, files: Mapping[str, Hashed]) -> None:
        """Store a unit, the result of ``files_of``, and remove its files; raise SharedCacheError if that fails."""
        contents = {file: found for file, (_, found) in files.items()}
        self.shared.store(self._inputs[name], self.folder / name, contents)
        for file in contents:
            remove(self.folder / name / file)
