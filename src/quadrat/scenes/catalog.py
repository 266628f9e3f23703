"""The typed catalog, ``scenes.yaml``, and its scenes."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from quadrat.errors import CatalogError
from quadrat.labels.labels import LabelSource
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import dumped, load
from quadrat.scenes.image import Image
from quadrat.scenes.scene import LONGEST_ID, Scene, Split

TAKEN = ("chips.json", "index.parquet")
"""Names that no scene may have, because the folder of scenes has such files."""

Design = Literal["random", "stratified"]

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class SceneEntry(Section):
    """A scene of the catalog: names of an image and of labels, and the files of its area of interest."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its name in all outputs, of at most 244 characters."""
    split: Split
    """Its purpose: training, choosing weights, scoring, or prediction only."""
    image: str
    """Name of an image of the catalog."""
    labels: str | Names | None = None
    """Name of labels of the catalog, or several names in order of priority: at each pixel, the first with a value wins.
    Only a scene of split ``predict`` needs none."""
    aoi: str | Names | None = None
    """File of its area of interest, from the project's root, or several, of which the union counts; left out: the
    whole image."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.id) > LONGEST_ID:
            raise ValueError(
                f"scene {self.id[:20]}…: files are named after scenes, so an id has at most {LONGEST_ID} characters; "
                f"this one has {len(self.id)}"
            )
        if self.id in TAKEN:
            raise ValueError(f"scene {self.id}: the store of chips has a file of that name")
        if self.split != "predict" and self.labels is None:
            raise ValueError(f"a scene of split '{self.split}' needs labels; without labels its split is 'predict'")
        for key, names in (("labels", self.label_names), ("aoi", self.aoi_files)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"scene {self.id} names {key} twice: {', '.join(twice)}")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels, in order of priority."""
        return _listed(self.labels)

    @property
    def aoi_files(self) -> tuple[str, ...]:
        """The files of its area of interest."""
        return _listed(self.aoi)


class Catalog(Section):
    """Images and labels by name, and the scenes that use them. Paths start at the project's root."""

    images: Mapping[str, Image]
    """Images, by names that scenes use."""
    labels: Mapping[str, LabelSource] = {}
    """Labels, by names that scenes use."""
    scenes: tuple[SceneEntry, ...] = Field(min_length=1)
    """The scenes; one image may serve several, with different areas of interest."""
    design: Design | None = None
    """How the labelled pixels of the scored scenes were chosen, for areas with intervals: ``random`` on all of their
    ground, or ``stratified``, at random within each class of the map that is scored. Null for other labels, such as
    polygons: their neighbouring pixels are no sample."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [entry.id for entry in self.scenes]
        twice = sorted(i for i, count in Counter(ids).items() if count > 1)
        if twice:
            raise ValueError(f"each scene needs its own id, but these occur twice: {', '.join(twice)}")
        for entry in self.scenes:
            named = [("image", entry.image, self.images), *(("labels", n, self.labels) for n in entry.label_names)]
            for what, name, known in named:
                if name not in known:
                    raise ValueError(f"scene {entry.id} names {what} '{name}'; the catalog has {', '.join(known)}")
            closed = next((n for n in entry.label_names[:-1] if self.labels[n].background is not None), None)
            if closed is not None:
                raise ValueError(
                    f"scene {entry.id}: labels '{closed}' give a class to all pixels ('background'), so none is left "
                    "to those after them: name them last"
                )
        return self

    def resolve(self) -> tuple[Scene, ...]:
        """Return the scenes, in the catalog's order."""
        return tuple(
            Scene(
                entry.id,
                entry.split,
                self.images[entry.image],
                tuple(self.labels[name] for name in entry.label_names),
                entry.aoi_files,
            )
            for entry in self.scenes
        )


def read_catalog(path: Path) -> tuple[Scene, ...]:
    """Return the scenes of the catalog at ``path``; raise CatalogError naming the file and the key."""
    return load_catalog(path).resolve()


def load_catalog(path: Path) -> Catalog:
    """Return the catalog at ``path``; raise CatalogError naming the file and the key."""
    return load(path, Catalog, CatalogError)


def written(catalog: Catalog) -> bytes:
    """Return ``catalog`` as bytes that ``read_catalog`` reads, without neutral values."""
    return dumped(catalog.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def _listed(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else names
