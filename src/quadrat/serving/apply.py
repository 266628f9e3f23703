"""quadrat apply and quadrat verify: run a bundle on new images, and on its sample."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python
from rich.markup import escape
from rich.table import Table

from quadrat.bundle.loading import RUNTIMES, Agreement, OpenBundle, Runtime, agreement, read_bundle
from quadrat.errors import BundleError, ImageError, ParamsError
from quadrat.models import Inputs
from quadrat.prediction.sliding_window import Predict, at_once, predict_scene
from quadrat.runtime.formats.yaml import check
from quadrat.runtime.progress import console
from quadrat.runtime.provenance.origin import Origin, digest, tags, unknown
from quadrat.serving.new_images import Offered, Reading, offered
from quadrat.tasks.common.outputs import VectorLayer
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.common.section import TaskSection

GSD_TOLERANCE = 1.2
"""Largest ratio of the ground sample distances of an image and the training scenes without a warning."""

LARGEST = 4096
"""Largest window of a bundle, px; an option may ask for larger ones."""

VALUES = 1 << 28
"""Most values of bands and classes in such a window."""

LOOKS = 32
"""Most windows of a bundle that overlap a pixel in one direction."""

WAITING = 5.0
"""Seconds for a sample by onnxruntime, plus SLOWER times the seconds of torch."""

SLOWER = 20.0

SIDECAR = ".aux.xml"
"""Ending of the file beside a raster with its class names."""


@dataclass(frozen=True)
class Plan:
    """How to run a bundle, and changes of its section ``predict``; None keeps the bundle's value."""

    runtime: Runtime | None = None
    """None takes the runtime of the stage predict on this machine."""
    batch: int | None = None
    size: int | None = None
    stride: int | None = None
    layers: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the task's ``predict.layers`` and their values."""


def apply(bundle: Path, images: Sequence[str], out: Path, reading: Reading, plan: Plan) -> None:
    """Write the layers of the stage predict to ``out``/<name>/ for each image, completely or not at all.

    All images are checked before the first is predicted.
    """
    opened = read_bundle(bundle)
    predict = _predict(opened, plan)
    inputs, task = opened.card.inputs, opened.card.task
    found = [one for image in images for one in offered(image, opened.card.bands, reading)]
    found = [one.brought_to(reading.resolution, inputs, opened.card.gsd) for one in found]
    _check_folders(found, out, task, predict)
    for one in found:
        _check(one, inputs, opened.card.gsd, reading)
    batch = plan.batch or (at_once(predict.window_size) if plan.runtime == "onnx" else None)  # torch may be missing
    predictor, told = opened.predictor(plan.runtime), tags(_origin(opened, predict))
    for one in found:
        with one.open(inputs) as scene:
            predict_scene(scene, predictor, task, predict, out / one.id, batch, tags=told)


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
    found = agreement(opened.card.task, opened.expected, predictor(opened.sample), runtime)
    seconds = time.perf_counter() - started
    table.add_row(runtime, f"{found.difference:.2g}", f"{found.equal} of {found.pixels}", f"{seconds:.2f}")
    return found, seconds


def _predict(opened: OpenBundle, plan: Plan) -> Predict:
    """Return the bundle's section ``predict`` with the changes of the plan."""
    path = opened.path / "params.yaml"
    section = opened.params.get("predict")
    layers = section.get("layers") if isinstance(section, dict) else None
    if not isinstance(section, dict) or not isinstance(layers, dict):
        raise ParamsError("the section 'predict' or its layers are missing", file=path, hint="make the bundle again")
    windows = {"window_size": plan.size, "stride": plan.stride}
    changed = {
        **section,
        "layers": {**layers, **plan.layers},
        **{name: value for name, value in windows.items() if value is not None},
    }
    predict, task = check(changed, Predict, ParamsError, path), opened.card.task
    unknown = sorted(set(predict.layers.named()) - set(task.names))
    if predict.layers.kind != task.kind or unknown:
        raise ParamsError(
            "predict.layers are of another task, or of other classes",
            file=path,
            expected=f"{task.kind}: {', '.join(task.names)}",
            got=f"{predict.layers.kind}: {', '.join(unknown)}",
        )
    _check_windows(opened, predict, plan)
    return predict


def _check_windows(opened: OpenBundle, predict: Predict, plan: Plan) -> None:
    """Raise ParamsError for windows that the model can't take, and for those of a bundle that cost too much."""
    card = opened.card
    size, stride, divisor, least = predict.window_size, predict.stride, card.model.divisor, card.task.labelled_size
    each = len(card.bands) + len(card.task.names)
    for fits, expected in (
        (size % divisor == 0, f"a multiple of {divisor} px"),
        (size >= least(size), f"at least {least(size)} px"),
        (stride <= least(size), f"a stride of at most {least(size)} px"),
    ):
        if not fits:
            raise ParamsError("the window doesn't fit the model", expected=expected, got=f"{size}, by {stride}")
    for fits, expected, option in (
        (bool(plan.size) or size <= LARGEST, f"windows of {LARGEST} px at most", "--size"),
        (
            bool(plan.size) or size**2 * each <= VALUES,
            f"windows of {VALUES} values, of {each} bands and classes",
            "--size",
        ),
        (bool(plan.stride) or size <= LOOKS * stride, f"a stride of at least {-(-size // LOOKS)} px", "--stride"),
    ):
        if not fits:
            raise ParamsError(
                "the bundle's windows would take too much memory or time",
                file=opened.path / "params.yaml",
                expected=expected,
                got=f"{size}, by {stride}",
                hint=f"set {option}",
            )


def _origin(opened: OpenBundle, predict: Predict) -> Origin:
    """Return the origin of the layers: the bundle, and nothing of the current folder."""
    parameters = {"predict": digest(to_jsonable_python(predict, by_alias=True))}
    return unknown("apply").model_copy(update={"parameters": parameters, "parent": opened.parent()})


def _check_folders(found: Sequence[Offered], out: Path, task: TaskSection, predict: Predict) -> None:
    """Raise ImageError if two images would share a folder, or a folder holds an image or other files."""
    ids = [one.id for one in found]
    for one in found:
        if ids.count(one.id) > 1:
            raise ImageError(
                "two images would be written to one folder",
                file=next(one.image.files()),
                got=out / one.id,
                hint="rename one of the files, or apply the bundle to them one by one with different --out",
            )
        others = [file.name for file in _files(out / one.id) if not _is_layer(file.name, task, predict)]
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
    if not folder.exists():
        return []
    return list(folder.iterdir()) if folder.is_dir() else [folder]


def _is_layer(name: str, task: TaskSection, predict: Predict) -> bool:
    layers = layers_of(task).written(predict.layers.full())
    files = {layer.file if isinstance(layer, VectorLayer) else f"{layer.name}.tif" for layer in layers}
    return name.removesuffix(SIDECAR) in files


def _check(one: Offered, inputs: Inputs, gsd: float, reading: Reading) -> None:
    with one.open(inputs) as scene:
        here = scene.grid.gsd_of(scene.area)
    noted = [] if reading.unchecked else one.check(inputs)
    if not 1 / GSD_TOLERANCE <= here / gsd <= GSD_TOLERANCE:
        noted.append(
            f"{one.id} has pixels of {here:.3g} m, the model learnt from {gsd:.3g} m: it knows sizes in px; "
            "--resolution model brings images to its pixels"
        )
    for line in noted:
        console.print(f"[yellow]warning[/]: {escape(line)}", highlight=False, soft_wrap=True)
