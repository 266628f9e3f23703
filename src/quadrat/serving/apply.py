"""quadrat apply and quadrat verify: run a bundle on new images, and on its sample."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from quadrat.bundle.loading import RUNTIMES, Agreement, OpenBundle, Runtime, agreement, in_float32, read_bundle
from quadrat.errors import BundleError, ImageError
from quadrat.prediction.writers import files_of
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.parallel import Threads, results
from quadrat.runtime.process import sole_writer
from quadrat.runtime.progress import console, warn
from quadrat.scenes.scene import LONGEST_ID
from quadrat.serving.new_images import Offered, Reading, offered
from quadrat.serving.ready import Plan, Ready
from quadrat.tasks.common.parts import layers_of

WAITING = 5.0
"""Seconds for a sample by onnxruntime, plus SLOWER times the seconds of torch."""

SLOWER = 20.0


def apply(bundle: Path, images: Sequence[str], out: Path, reading: Reading, plan: Plan) -> None:
    """Write the layers of the stage predict to ``out``/<name>/ for each image, completely or not at all.

    All images are checked before the first is predicted. Raises InputError if the bundle, or an image while it is
    predicted, is changed meanwhile, and BusyError if another ``quadrat apply`` writes to ``out``: layers of two bundles
    would be mixed.
    """
    begun = Snapshot.of(bundle)
    ready = Ready.of(read_bundle(bundle), plan)
    found = [one for image in images for one in offered(image, ready.bundle.card.inputs, reading)]
    found = [ready.resampled(one, reading) for one in found]
    check_folders(found, out, ready)
    for one in found:
        for line in ready.warnings(one, reading):
            warn(line)
    ready.load()
    begun.check()
    with sole_writer("apply", out, out / ".lock"):
        for _ in results(Threads(ready.images_at_once).map(lambda one: ready.write(one, out / one.id), found)):
            pass


def verify(bundle: Path) -> None:
    """Check the bundle's checksums, run its sample through each installed runtime, and print the results.

    Raises BundleError if the bundle is damaged or an output is not the expected one.
    """
    opened = read_bundle(bundle)
    table = Table("runtime", "largest difference", "equal labels", "seconds", title=escape(str(bundle)))
    found: dict[Runtime, Agreement | None] = {}
    seconds = None
    for runtime in RUNTIMES:
        found[runtime], taken = _run(opened, runtime, table, seconds)
        seconds = None if taken is None else WAITING + SLOWER * taken
    console.print(table)
    ran = {runtime: result for runtime, result in found.items() if result is not None}
    wrong = {runtime: str(result) for runtime, result in ran.items() if not result.good}
    if wrong or not ran:
        raise BundleError(
            "the sample's outputs are not the expected ones" if wrong else "no runtime is installed",
            file=bundle,
            got="; ".join(f"{runtime}: {result}" for runtime, result in wrong.items()) or None,
            hint="update that runtime, or make the bundle again" if wrong else "install onnxruntime",
        )


def _run(
    opened: OpenBundle, runtime: Runtime, table: Table, most: float | None
) -> tuple[Agreement | None, float | None]:
    """Run the sample; return the agreement and the seconds, or None, None if the runtime is missing."""
    try:
        predictor = opened.predictor(runtime, most)
    except BundleError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        table.add_row(runtime, f"skipped: {error.expected} isn't installed", "", "")
        return None, None
    started = time.perf_counter()
    with in_float32():
        outputs = opened.card.probabilities(predictor(opened.sample))
    found = agreement(opened.card.task, opened.expected, outputs, runtime)
    seconds = time.perf_counter() - started
    table.add_row(runtime, f"{found.difference:.2g}", f"{found.equal} of {found.pixels}", f"{seconds:.2f}")
    return found, seconds


def check_folders(found: Sequence[Offered], out: Path, ready: Ready) -> None:
    """Raise ImageError if two images would share a folder, or a folder holds an image or other files."""
    ids = Counter(one.id for one in found)
    for one in found:
        if len(os.fsencode(one.id)) > LONGEST_ID:
            raise ImageError(
                "the name of the image is too long for the folder of its layers",
                file=next(one.image.files()),
                expected=f"at most {LONGEST_ID} bytes without the ending",
                got=f"{len(os.fsencode(one.id))} bytes",
                hint="rename the file, or link to it by a shorter name",
            )
        if ids[one.id] > 1:
            raise ImageError(
                "two images would be written to one folder",
                file=next(one.image.files()),
                got=out / one.id,
                hint="rename one of the files, or apply the bundle to them one by one with different --out",
            )
        others = [file.name for file in _files(out / one.id) if not _is_layer(file.name, ready)]
        if others:
            raise ImageError(
                "the output folder holds other files, which would be lost",
                file=out / one.id,
                expected="no folder, or an earlier output",
                got=", ".join(sorted(others)[:5]),
                hint="give another --out",
            )
        within = [file for file in one.image.files() if Path(file).resolve().is_relative_to((out / one.id).resolve())]
        if within:
            raise ImageError(
                "the image is in the folder that its layers replace",
                file=within[0],
                got=out / one.id,
                hint="give another --out",
            )


def _files(folder: Path) -> list[Path]:
    if folder.is_dir() and not folder.is_symlink():
        return list(folder.iterdir())
    return [folder] if os.path.lexists(folder) else []


def _is_layer(name: str, ready: Ready) -> bool:
    layers = layers_of(ready.bundle.card.task).written(ready.predict.layers.full())
    return any(name in files_of(layer) for layer in layers)
