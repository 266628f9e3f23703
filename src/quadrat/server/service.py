"""The parts of a server, put together: bundle, images, blocks, canvas, jobs."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic_core import to_jsonable_python

from quadrat.bundle.loading import OpenBundle
from quadrat.geo.sources.bands import Band
from quadrat.runtime.cache.surroundings import surroundings
from quadrat.runtime.provenance.origin import versions
from quadrat.server.blocks.blocks import Blocks
from quadrat.server.blocks.cache import BlockCache
from quadrat.server.blocks.gallery import Gallery, Served, collected
from quadrat.server.blocks.look import Look
from quadrat.server.blocks.making import Maker
from quadrat.server.drawing.canvas import Canvas
from quadrat.server.drawing.layers import MapLayer, map_layers
from quadrat.server.jobs.runner import Jobs, Runs
from quadrat.server.limits import Limits, Place
from quadrat.server.metering import Meters
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Ready
from quadrat.tasks.common.section import TaskSection


@dataclass(frozen=True)
class Service:
    """What the routes use."""

    ready: Ready
    """The bundle as it predicts what maps show."""
    gallery: Gallery
    blocks: Blocks
    canvas: Canvas
    layers: Mapping[str, MapLayer]
    jobs: Jobs
    limits: Limits
    meters: Meters
    md5: str
    """Hash of the bundle."""

    @classmethod
    def of(cls, ready: Ready, images: str | None, reading: Reading, place: Place, limits: Limits) -> Self:
        """Load the model, check the images, and open cache and jobs; raise QuadratError if one of them is not good."""
        ready.load()
        bundle, meters = ready.bundle, Meters()
        assert isinstance(bundle, OpenBundle)
        predict = ready.predict.model_copy(update={"layers": ready.predict.layers.shown()})
        look = Look.of(bundle.params, bundle.card.bands)
        gallery = Gallery(collected(images, ready, reading), ready, reading)
        md5, plan = bundle.files.md5(), ready.plan
        told = (
            md5,
            to_jsonable_python(predict, by_alias=True),
            plan.runtime,
            look.places,
            versions(),
            surroundings(),
            os.environ.get("QUADRAT_PRECISION"),
        )
        digest = hashlib.sha256(repr((told, look.percentiles)).encode()).hexdigest()
        cache = BlockCache(place.cache, place.cache_bytes)
        blocks = Blocks(lambda: Maker(ready, predict, look), predict.window_size, digest, cache, meters)
        canvas = Canvas(blocks, bundle.card.task.classes, least_shown(bundle.params))
        layers = map_layers(bundle.card.task, predict.layers)
        options = [f"--{name}={value}" for name, value in (("runtime", plan.runtime), ("batch", plan.batch)) if value]
        jobs = Jobs(place.jobs, Runs(bundle.path.resolve(), md5, tuple(options)), limits)
        return cls(ready, gallery, blocks, canvas, layers, jobs, limits, meters, md5)

    @property
    def bundle(self) -> OpenBundle:
        """The bundle."""
        assert isinstance(self.ready.bundle, OpenBundle)
        return self.ready.bundle

    @property
    def task(self) -> TaskSection:
        """Its task."""
        return self.bundle.card.task

    @property
    def bands(self) -> tuple[Band, ...]:
        """What it takes."""
        return self.bundle.card.bands

    @cached_property
    def title(self) -> str:
        """The bundle's title, or the name of its file."""
        section = self.bundle.params.get("bundle")
        title = section.get("title") if isinstance(section, dict) else None
        return title if isinstance(title, str) and title else self.bundle.path.stem

    def first(self) -> Served | None:
        """Return the first image, if there is one."""
        return next(iter(self.gallery), None)

    def start(self) -> None:
        """Begin to work on jobs."""
        self.jobs.start()

    def close(self) -> None:
        """Let what runs end, within the limit of time; jobs go on when the server starts again."""
        self.jobs.close()
        self.blocks.close(self.limits.ending)

    def measured(self) -> Any:
        """Return the meters, read now."""
        for kind, worker in self.blocks.workers.items():
            self.meters.waiting.labels(kind).set(len(worker))
        self.meters.kept.set(self.blocks.cache.size)
        for status, count in self.jobs.counts().items():
            self.meters.jobs.labels(status).set(count)
        return self.meters.registry


def least_shown(params: Mapping[str, Any]) -> float:
    """Return the score from which detections count in ``eval.match`` of parameters; 0 if it says nothing."""
    section: Any = params.get("eval")
    match = section.get("match") if isinstance(section, dict) else None
    score = match.get("score") if isinstance(match, dict) else None
    return float(score) if isinstance(score, int | float) else 0.0


def default_place(cache: Path | None, cache_bytes: int) -> Place:
    """Return the folders of a server: below ``cache``, or in the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache or home / "quadrat" / "serve"
    return Place(folder / "blocks", folder / "jobs", cache_bytes)
