"""bundle: pack the model so that it runs anywhere, with its origin and metrics."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic_core import to_jsonable_python

from quadrat.bundle.front_matter import front_matter
from quadrat.bundle.loading import agreement, check_sample, in_float32
from quadrat.bundle.readme import readme
from quadrat.bundle.stac_item import stac_item
from quadrat.chips.store import ground_of, open_chips
from quadrat.errors import BundleError, ModelError
from quadrat.evaluation.score_tables import read_scores
from quadrat.geo.sources.bands import names_of
from quadrat.models import Baseline, Model, Train
from quadrat.models.common.bundle_zip import write_bundle
from quadrat.models.common.onnx_graphs import CPU, probable, runner
from quadrat.models.model_folder import ModelCard, parent, read_model
from quadrat.plugins.finding import versions
from quadrat.plugins.section import plugins_in
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.formats.npy import as_npy
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import dumped, read
from quadrat.runtime.progress import console
from quadrat.runtime.provenance.origin import Origin, unknown
from quadrat.runtime.run import Paths, Run
from quadrat.tasks import Task
from quadrat.tasks.common.parts import loss_of


class Bundle(Section):
    """How a bundle describes itself."""

    title: str = Field(min_length=1)
    """One line that says what the model does."""


@dataclass(frozen=True)
class BundleParams:
    """All sections but folds, because a bundle contains the parameters that made it."""

    scenes: Path
    raw: Path
    aoi: Path
    seed: int
    task: Task
    bands: tuple[str, ...]
    analyze: Section
    chip: Section
    model: Model
    baseline: Baseline | None
    lr: float
    epochs: int
    batch_size: int
    train: Train
    predict: Section
    eval: Section
    bundle: Bundle


def bundle(params: BundleParams, paths: Paths, run: Run) -> None:
    """Write the bundle; raise BundleError if the exported graph gives other outputs than the model.

    Raises InputError if the model, chips or metrics are changed meanwhile.
    """
    begun = Snapshot.of(paths.model_folder, paths.chips, paths.train_metrics, paths.eval_metrics, paths.class_scores)
    task = params.task
    parameters = to_jsonable_python({each.name: getattr(params, each.name) for each in fields(params)}, by_alias=True)
    archive = read_model(paths.model_folder)
    card = archive.card
    _check_current(card, paths.model_folder, task=task, model=params.model)
    _check_plugins(card, paths)
    sample = _sample(paths.chips, task, params.bands)
    graph = probable(params.model.onnx(archive.weights, task, card.inputs), card.calibration, loss_of(task).class_axis)
    graph = _described(graph, card, parameters)
    expected = runner(graph, [CPU])(sample)
    made = run.origin or unknown("bundle")
    check_sample(paths.bundle_file, card, sample, expected)
    restored = params.model.restore(archive.weights, task, card.inputs)
    with in_float32():
        plain = restored(sample)
    found = agreement(task, expected, card.probabilities(plain), "torch")
    if not found.good:
        raise BundleError(
            "the model and its ONNX graph give different outputs for the sample", file=paths.model_folder, got=found
        )
    title, measured = params.bundle.title, _measured(paths)
    members = {
        "model.safetensors": (paths.model_folder / "model.safetensors").read_bytes(),
        "model.json": (paths.model_folder / "model.json").read_bytes(),
        "model.onnx": graph,
        "params.yaml": dumped(parameters),
        "metrics.json": _dumped(measured),
        "provenance.json": _dumped(_provenance(made, paths)),
        "sample/pixels.npy": as_npy(sample),
        **{f"sample/{name}.npy": as_npy(values) for name, values in expected.items()},
        "README.md": (
            front_matter(title, card, measured["eval"])
            + readme(title, card, parameters["predict"]["window_size"], made.git)
        ).encode(),
        "stac.json": _dumped(stac_item(title, card, ground_of(paths.chips, "train"))),
    }
    begun.check()
    write_bundle(paths.bundle_file, members)
    console.print(
        f"bundle: {paths.bundle_file}; torch and onnx: {found}", markup=False, highlight=False, soft_wrap=True
    )


def _check_current(card: ModelCard, folder: Path, **expected: Section) -> None:
    for what, section in expected.items():
        if getattr(card, what) != section:
            raise ModelError(
                f"the model folder is of another {what}",
                file=folder,
                expected=section,
                got=getattr(card, what),
                hint="run the stage 'train' again",
            )


def _check_plugins(card: ModelCard, paths: Paths) -> None:
    for name, version in versions(plugins_in(card.model), paths.plugins).items():
        if card.versions.get(name) != version:
            raise ModelError(
                f"the model was trained with another version of the plugin {name}",
                file=paths.model_folder,
                expected=version,
                got=card.versions.get(name),
                hint="run the stage 'train' again",
            )


def _sample(folder: Path, task: Task, bands: Sequence[str]) -> NDArray[Any]:
    """Return the pixels (1, band, y, x) of the validation chip with most classes, then most labels."""
    chips = open_chips(folder, "validation", task.columns, bands)
    labels = chips.index[task.columns].to_numpy()
    best = np.lexsort((-labels.sum(1), -(labels > 0).sum(1)))[:1]
    return chips.read(best.astype(np.intp))[0]


def _described(graph: bytes, card: ModelCard, parameters: Mapping[str, Any]) -> bytes:
    """Return the graph with properties that describe its inputs, and those that Deepness needs.

    Deepness (0.6 or newer) divides pixels by 255 and then by ``standardization_std``; with 1/255 it uses raw values.
    It sets scores below ``seg_thresh`` to 0 before it takes the largest; 0 keeps them. It takes the tile size from the
    graph, where it must be fixed first (the bundle's README explains it).
    """
    import onnx

    model = onnx.load_from_string(graph)
    window = parameters["predict"]
    properties: dict[str, Any] = {"bands": list(names_of(card.bands))}
    if card.inputs.dates:
        properties["dates"] = card.inputs.dates
    deepness = loss_of(card.task).deepness
    if deepness:
        properties |= {
            "model_type": deepness,
            "class_names": dict(enumerate(card.task.names)),
            "resolution": float(f"{100 * card.gsd:.4g}"),  # the projection's scale would make it resample
            "tile_size": window["window_size"],
            "tiles_overlap": round(100 - 100 * window["stride"] / window["window_size"]),
            "standardization_mean": [0.0] * len(card.bands),
            "standardization_std": [1 / 255] * len(card.bands),
            "seg_thresh": 0.0,
            "seg_small_segment": 0,
        }
    for name, value in properties.items():
        model.metadata_props.add(key=name, value=json.dumps(value))
    serialised: bytes = model.SerializeToString()
    return serialised


def _provenance(origin: Origin, paths: Paths) -> dict[str, Any]:
    """Return the origin of the bundle and its model, and under ``dvc`` the hashes of all earlier stages."""
    told = origin.model_copy(update={"parent": parent(paths.model_folder)})
    return {**told.model_dump(mode="json"), "dvc": _lock(Path("dvc.lock"), paths.bundle_file)}


def _lock(path: Path, bundle_file: Path) -> dict[str, Any] | None:
    """Return DVC's hashes of each stage's inputs and outputs; the stage bundle is left out, because it is running."""
    if not path.exists():
        return None
    stages = read(path, BundleError).get("stages", {})
    found = {
        name: {
            side: {entry["path"]: entry.get("md5") or entry.get("etag") for entry in stage.get(side, ())}
            for side in ("deps", "outs")
        }
        for name, stage in sorted(stages.items())
    }
    return {name: hashes for name, hashes in found.items() if bundle_file.as_posix() not in hashes["outs"]}


def _measured(paths: Paths) -> dict[str, Any]:
    fit, overall = (_read(path, json.loads) for path in (paths.train_metrics, paths.eval_metrics))
    return {"train": fit, "eval": {**overall, "per_class": _read(paths.class_scores, read_scores)}}


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        hint = "run the stages 'train' and 'eval'"
        raise BundleError("metrics are missing or can't be read", file=path, got=error, hint=hint) from error


def _dumped(content: Any) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
