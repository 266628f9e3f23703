"""The tree of errors, with details and hints for the user, and how names are printed.

QuadratError
├── ParamsError     params.yaml: an unknown key, a wrong type, a value out of range
├── PluginError     code of one's own that parameters name: broken, or called with wrong arguments
│   └── MissingPluginError  it is not in the project's folder, and no installed package declares it
├── CatalogError    scenes.yaml: the same, and scenes that contradict each other
├── ImageError      an image: missing, corrupt, without a band, on another grid than declared
├── LabelError      labels: missing, unreadable, off the image, of a class that the task does not have
├── AOIError        an area of interest: missing, unreadable, off the image, empty
├── PinError       a remote object: not pinned, gone, or different from its pin
├── InputError      an input that was changed while a stage read it
├── AnalysisError   outputs of analyze: missing, damaged, or of another task
├── ChipError       the chip store: missing, incomplete, made for another task or other bands
├── ModelError      a model folder: missing, incomplete, or it does not fit the image
├── PredictionError a prediction: missing, damaged, on another grid than its scene, or of other classes
├── BundleError     a bundle: not one, damaged, or with unexpected outputs
├── OverlapError    train and held-out areas overlap
├── OriginError     a file without an origin
├── DiskError       a file that can't be written: full disk, quota, or limit of file sizes
├── OutputError     an output folder or file that holds what quadrat did not make
├── BusyError       another command writes to the same workspace or folder
├── SharedCacheError the cache that machines share: no such place, no server, or no permission
├── ClusterError    a cluster: no scheduler, no worker, or workers with other code or another folder
├── WorkerError     a process that worked on a scene, or trained with others, was killed
├── LockError       dvc.yaml, dvc.lock or a commit that DVC or git can't read
├── RemoteError     the DVC remote: no address, no server, no bucket, or no permission
├── ProjectError    a new project that can't be made: files in its folder, no git, no DVC
└── SampleError     sample data that can't be fetched or is damaged
"""

import re
from dataclasses import dataclass

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters by which a name could drive a terminal, begin a line or turn text around, and bytes that are no text."""


def printable(text: str, keep: str = "\n\t") -> str:
    """Return a text with control characters, but those of ``keep``, as the escapes of JSON."""
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else f"\\u{ord(found[0]):04x}", text)


@dataclass(eq=False)
class QuadratError(Exception):
    """A problem, its place, what was expected and got, and a hint; printed one per line."""

    problem: str
    scene: object = None
    file: object = None
    window: object = None
    expected: object = None
    got: object = None
    hint: str | None = None

    def __str__(self) -> str:
        """Return the problem, and each known detail on a line below it, without control characters of names."""
        names, details = ("scene", "file", "window"), ("expected", "got", "hint")
        found = [(name, printable(str(getattr(self, name)), keep="")) for name in names]
        found += [(name, printable(str(getattr(self, name)))) for name in details]
        lines = [f"  {name}: {text}" for name, text in found if getattr(self, name) is not None]
        return "\n".join([printable(self.problem), *lines])

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with all details, for other processes."""
        found = (None if one is None else str(one) for one in (self.expected, self.got))  # may be an error of a library
        return type(self), (self.problem, self.scene, self.file, self.window, *found, self.hint)


class ParamsError(QuadratError):
    """``params.yaml`` is not valid."""


class PluginError(QuadratError):
    """Code of the user's own can't be imported, can't be called, or returns something else than it should."""


class MissingPluginError(PluginError, ModuleNotFoundError):
    """Code of the user's own is not here."""


class CatalogError(QuadratError):
    """The catalog is not valid, or its scenes contradict each other."""


class ImageError(QuadratError):
    """An image can't be read as the catalog says."""


class LabelError(QuadratError):
    """Labels can't be read, or don't fit the image or the task."""


class AOIError(QuadratError):
    """An area of interest can't be read, or does not overlap the image."""


class PinError(QuadratError):
    """A remote object is not pinned, is gone, or differs from its pin."""


class InputError(QuadratError):
    """An input was changed while it was read."""


class AnalysisError(QuadratError):
    """An output of analyze is missing, damaged or of another task."""


class ChipError(QuadratError):
    """The chip store is missing, incomplete or of another task."""


class ModelError(QuadratError):
    """A model folder can't be read, or does not fit its input."""


class PredictionError(QuadratError):
    """A prediction can't be read, or doesn't fit its scene or the task."""


class BundleError(QuadratError):
    """A bundle can't be read, or gives unexpected outputs."""


class OverlapError(QuadratError):
    """Scenes of different splits overlap."""


class OriginError(QuadratError):
    """A file has no origin, or can't be read."""


class DiskError(QuadratError):
    """There is no room for a file."""


class OutputError(QuadratError):
    """An output folder or file holds what quadrat did not make, and would delete."""


class BusyError(QuadratError):
    """Another command writes to the same workspace or folder."""


class SharedCacheError(QuadratError):
    """The cache that machines share can't be reached, or can't be used."""


class ClusterError(QuadratError):
    """A cluster can't be reached, or its workers can't do the work."""


class WorkerError(QuadratError):
    """A process that worked on a scene, or trained with others, was killed."""


class LockError(QuadratError):
    """The pipeline, its lock, or a commit can't be read."""


class RemoteError(QuadratError):
    """The DVC remote is not set, can't be reached, or does not support push and pull."""


class ProjectError(QuadratError):
    """A new project can't be made."""


class SampleError(QuadratError):
    """Sample data can't be fetched, or is damaged."""
