"""The catalog: ``scenes.yaml``, typed, and the scenes that it names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from quadrat.errors import CatalogError
from quadrat.scenes.image import Image
from quadrat.scenes.scene import Scene, Split
from quadrat.scenes.vector import LabelSource
from quadrat.section import Section
from quadrat.yaml import load


class SceneEntry(Section):
    """A scene of the catalog: names of an image and of labels, and the file of its area of interest."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its name in all outputs."""
    split: Split
    """What it serves: to learn from, to choose weights by, to be scored on, or to be predicted alone."""
    image: str
    """Name of an image of the catalog."""
    labels: str | None = None
    """Name of labels of the catalog; only a scene of split ``predict`` may do without."""
    aoi: str | None = None
    """File of its area of interest, from the project's root; left out: the whole image."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.split != "predict" and self.labels is None:
            raise ValueError(f"a scene of split '{self.split}' needs labels; without labels its split is 'predict'")
        return self


class Catalog(Section):
    """Images and labels by name, and the scenes that use them. Paths start at the project's root."""

    images: Mapping[str, Image]
    """Images, by names that scenes use."""
    labels: Mapping[str, LabelSource] = {}
    """Labels, by names that scenes use."""
    scenes: tuple[SceneEntry, ...] = Field(min_length=1)
    """The scenes; one image may serve several, with different areas of interest."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [entry.id for entry in self.scenes]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"each scene needs an id of its own, but these stand twice: {', '.join(twice)}")
        for entry in self.scenes:
            for what, name, known in (("image", entry.image, self.images), ("labels", entry.labels, self.labels)):
                if name is not None and name not in known:
                    raise ValueError(f"scene {entry.id} names {what} '{name}'; the catalog has {', '.join(known)}")
        return self

    def resolve(self) -> tuple[Scene, ...]:
        """Return the scenes, in the catalog's order."""
        return tuple(
            Scene(
                entry.id,
                entry.split,
                self.images[entry.image],
                None if entry.labels is None else self.labels[entry.labels],
                entry.aoi,
            )
            for entry in self.scenes
        )


def read_catalog(path: Path) -> tuple[Scene, ...]:
    """Return the scenes of the catalog at ``path``; raise CatalogError naming the file and the key."""
    return load(path, Catalog, CatalogError).resolve()
