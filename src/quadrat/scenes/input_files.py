"""Hashes of the input files of scenes, and of the files that belong to them."""

from collections.abc import Iterable, Mapping

from quadrat.geo.sources.channel import is_remote
from quadrat.runtime.cache.hashes import Hashes
from quadrat.scenes.companion_files import Belongings


def contents(scenes: Iterable[Iterable[str]], hashes: Hashes, pinned: Mapping[str, str]) -> list[dict[str, str]]:
    """Return for each scene's paths the hashes of local files, and the ``pinned`` stamps of remote ones.

    It includes the files that belong to them, by ``Belongings``.
    """
    belongings = Belongings()
    named = [sorted({*paths}) for paths in scenes]
    listed = [
        sorted({file for path in paths if not is_remote(path) for file in belongings.of(path)}) for paths in named
    ]
    known = hashes.of_all(file for files in listed for file in files)
    return [
        {file.as_posix(): known[file] for file in files} | {path: pinned[path] for path in paths if is_remote(path)}
        for paths, files in zip(named, listed, strict=True)
    ]
