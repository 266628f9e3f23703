"""A model that is ready to predict: its parameters are checked, and it is loaded once for all images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from pydantic_core import to_jsonable_python

from quadrat.bundle.loading import OpenBundle, Runtime
from quadrat.errors import BundleError, ImageError, ParamsError
from quadrat.models import Predictor
from quadrat.models.common.model import DevicePredictor
from quadrat.prediction.sliding_window import Predict, at_once, predict_scene
from quadrat.runtime.files import ANY, replaced
from quadrat.runtime.formats.yaml import check
from quadrat.runtime.parallel import cores
from quadrat.runtime.process import sole_writer
from quadrat.runtime.provenance.origin import digest, tags, unknown
from quadrat.scenes.input_files import input_files
from quadrat.serving.folder_models import FolderModel
from quadrat.serving.new_images import Offered, Reading
from quadrat.tasks.common.parts import layers_of

GSD_TOLERANCE = 1.2
"""Largest ratio of the ground sample distances of an image and the training scenes without a warning."""

LARGEST = 4096
"""Largest window of a bundle, px; an option may ask for larger ones."""

VALUES = 1 << 28
"""Most values of bands and classes in such a window."""

LOOKS = 32
"""Most windows of a bundle that overlap a pixel in one direction."""


@dataclass(frozen=True)
class Plan:
    """How to run a bundle, and changes of its section ``predict``; None keeps the bundle's value."""

    runtime: Runtime | None = None
    """None takes the runtime of the stage predict on this machine, or onnxruntime where its library isn't installed."""
    batch: int | None = None
    size: int | None = None
    stride: int | None = None
    layers: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the task's ``predict.layers`` and their values."""


@dataclass(frozen=True)
class Ready:
    """A bundle, or a model folder, and how it predicts. The model is loaded when it is first needed."""

    bundle: OpenBundle | FolderModel
    plan: Plan
    predict: Predict

    @classmethod
    def of(cls, bundle: OpenBundle | FolderModel, plan: Plan) -> Self:
        """Return the bundle with its section ``predict`` as planned; raise ParamsError if it doesn't fit the model."""
        return cls(bundle, plan, _predict(bundle, plan))

    def resampled(self, one: Offered, reading: Reading) -> Offered:
        """Return the image in pixels of the size that ``reading`` asks for; raise ImageError if its own isn't known."""
        if reading.resolution is not None and not reading.sized:
            raise ImageError("the size of its pixels isn't known, so it can't be brought to another", one.id)
        card = self.bundle.card
        return one.brought_to(reading.resolution, card.inputs, card.gsd)

    def warnings(self, one: Offered, reading: Reading) -> list[str]:
        """Return warnings about an image; raise ImageError or ModelError if its bands or units are not the model's."""
        with one.open(self.bundle.card.inputs) as scene:
            here, learnt = scene.grid.gsd_of(scene.area), self.bundle.card.gsd
            known = scene.grid.crs is not None
        noted = [] if reading.unchecked else one.check(self.bundle.card.inputs)
        if reading.sized and not 1 / GSD_TOLERANCE <= here / learnt <= GSD_TOLERANCE:
            size = f"has pixels of {here:.3g} m" if known else "has no CRS, so the size of its pixels isn't known"
            way = (
                "--resolution model brings images to its pixels"
                if known
                else "--resolution SIDE brings images to others"
            )
            noted.append(f"{one.id} {size}, the model learnt from {learnt:.3g} m: it knows sizes in px; {way}")
        return noted

    def write(self, one: Offered, folder: Path) -> None:
        """Write the layers of the stage predict to ``folder``, completely or not at all.

        Raises InputError if a file of the image is changed meanwhile, and BusyError if another command writes there.
        """
        lock = folder.with_name(f".lock-{folder.name}")
        predictor, batch = self.loaded
        card, (files,) = self.bundle.card, input_files([one.scene])
        with (
            sole_writer("apply", folder, lock),
            replaced(folder, ANY) as part,
            files.unchanged(),
            one.open(card.inputs, self._readers) as scene,
        ):
            write = partial(predict_scene, tags=self._tags, calibration=card.calibration)
            write(scene, predictor, card.task, self.predict, part, batch)

    def load(self) -> None:
        """Load the model and its origin now; raise BundleError if it is damaged, or no runtime for it is installed."""
        _ = self.loaded, self._tags

    def with_layers(self, layers: Mapping[str, Any]) -> Self:
        """Return the same model with other layers, keys of ``predict.layers``; it is not loaded again."""
        plan = changed(self.plan, layers={**self.plan.layers, **layers})
        other = type(self)(self.bundle, plan, _predict(self.bundle, plan))
        vars(other)["loaded"] = self.loaded
        return other

    @cached_property
    def loaded(self) -> tuple[Predictor, int | None]:
        """The model, and how many windows go through it at once (None: what suits the device)."""
        runtime = self.plan.runtime
        try:
            predictor = self.bundle.predictor(runtime)
        except BundleError as error:
            if runtime is not None or not isinstance(error.__cause__, ModuleNotFoundError):
                raise
            runtime = "onnx"
            predictor = self.bundle.predictor(runtime)
        few = at_once(self.predict.window_size) if runtime == "onnx" else None  # torch may be missing
        return predictor, self.plan.batch or few

    @property
    def images_at_once(self) -> int:
        """How many images ``write`` is to have under way: several on a GPU, which works on one at a time."""
        if not isinstance(self.loaded[0], DevicePredictor):
            return 1
        from quadrat.models.common.devices import scenes_at_once

        return scenes_at_once()

    @property
    def _readers(self) -> int:
        """How many threads read an image, as in the stage predict."""
        if not isinstance(self.loaded[0], DevicePredictor):
            return min(cores(), 2)
        from quadrat.models.common.devices import readers

        return readers()

    @cached_property
    def _tags(self) -> Mapping[str, str]:
        """The origin of the layers: the bundle, and nothing of the current folder."""
        parameters = {"predict": digest(to_jsonable_python(self.predict, by_alias=True))}
        return tags(unknown("apply").model_copy(update={"parameters": parameters, "parent": self.bundle.parent()}))


def _predict(opened: OpenBundle | FolderModel, plan: Plan) -> Predict:
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
    layers_of(task, opened.card.calibration).check(predict.layers)
    return predict


def _check_windows(opened: OpenBundle | FolderModel, predict: Predict, plan: Plan) -> None:
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
