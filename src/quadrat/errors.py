"""What can go wrong, said so that the user can correct it.

QuadratError
├── ParamsError     params.yaml: an unknown key, a wrong type, a value out of range
├── CatalogError    scenes.yaml: the same, and scenes that contradict each other
├── ImageError      an image: missing, corrupt, without a band, on another grid than declared
├── LabelError      labels: missing, unreadable, off the image, of a class the task does not know
├── AOIError        an area of interest: missing, unreadable, off the image, empty
├── PinError       an object elsewhere: not pinned, gone, or another than is pinned
├── AnalysisError   what analyze writes: missing, damaged, or of another task
├── ChipError       the chip store: missing, incomplete, made for another task or other bands
├── ModelError      a model folder: missing, incomplete, or it does not fit the image
├── PredictionError a prediction: missing, damaged, on another grid than its scene, or of other classes
├── BundleError     a bundle: not one, damaged, or its outputs differ from the expected ones
├── OverlapError    train and held-out areas share ground
├── OriginError     a file that doesn't tell where it comes from
├── DiskError       a file that can't be written: the disk is full, or a quota or a limit of file sizes is reached
├── BusyError       another stage runs in the workspace
├── WorkerError     a process that worked on a scene was killed
├── LockError       dvc.yaml, dvc.lock, or a commit: DVC or git can't read it
├── RemoteError     the DVC remote: no address, no server, no bucket, or no permission
└── SampleError     sample data that can't be fetched or is not what it should be
"""

from dataclasses import dataclass


@dataclass(eq=False)
class QuadratError(Exception):
    """A problem, where it is, what was expected and found, and the hint; each on a line of its own."""

    problem: str
    scene: object = None
    file: object = None
    window: object = None
    expected: object = None
    got: object = None
    hint: str | None = None

    def __str__(self) -> str:
        """Return the problem on the first line and each detail that is known below it."""
        details = ("scene", "file", "window", "expected", "got", "hint")
        lines = [f"  {name}: {getattr(self, name)}" for name in details if getattr(self, name) is not None]
        return "\n".join([self.problem, *lines])

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with all details, so that an error crosses processes whole."""
        found = (None if one is None else str(one) for one in (self.expected, self.got))  # may be a library's error
        return type(self), (self.problem, self.scene, self.file, self.window, *found, self.hint)


class ParamsError(QuadratError):
    """``params.yaml`` is not what the program takes."""


class CatalogError(QuadratError):
    """The catalog is not what the program takes, or its scenes contradict each other."""


class ImageError(QuadratError):
    """An image can't be read as the catalog says."""


class LabelError(QuadratError):
    """Labels can't be read, or don't fit the image or the task."""


class AOIError(QuadratError):
    """An area of interest can't be read, or leaves nothing of the image."""


class PinError(QuadratError):
    """An object that isn't on this machine is not pinned, is gone, or is another than is pinned."""


class AnalysisError(QuadratError):
    """What analyze writes is missing, damaged or of another task."""


class ChipError(QuadratError):
    """The chip store is missing, incomplete or of another task."""


class ModelError(QuadratError):
    """A model folder can't be read, or doesn't fit what it is given."""


class PredictionError(QuadratError):
    """A prediction can't be read, or doesn't fit its scene or the task."""


class BundleError(QuadratError):
    """A bundle can't be read, or doesn't give what it promises."""


class OverlapError(QuadratError):
    """Scenes of different splits share ground."""


class OriginError(QuadratError):
    """A file doesn't tell where it comes from, or can't be read."""


class DiskError(QuadratError):
    """There is no room for a file."""


class BusyError(QuadratError):
    """Another stage runs in the workspace."""


class WorkerError(QuadratError):
    """A process that worked on a scene was killed."""


class LockError(QuadratError):
    """The pipeline, its lock, or a commit of them can't be read."""


class RemoteError(QuadratError):
    """The DVC remote is not set, can't be reached, or doesn't do what push and pull need."""


class SampleError(QuadratError):
    """Sample data can't be fetched, or is not what it should be."""
