"""The typed catalog, ``scenes.yaml``, and its scenes."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from quadrat.errors import CatalogError
from quadrat.labels.labels import LabelSource
from quadrat.runtime.formats.section import Section
from quadrat.runtime.formats.yaml import dumped, load
from quadrat.scenes.image import Image
from quadrat.scenes.scene import LONGEST_ID, Scene, Split

S = TypeVar("S", bound=Section)

TAKEN = ("chips.json", "index.parquet")
"""Names that no scene may have, because the folder of scenes has such files."""

Design = Literal["random", "stratified"]

Names = Annotated[tuple[str, ...], Field(min_length=1)]


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

PLACE = "{id}"
"""What stands for a scene's id in paths."""

BESIDE = re.compile(r"[*?\]]\{id\}|\{id\}[*?\[]")
"""A pattern that an id touches, by which t1 would have the files of t10."""

PATHS = ("path", "stac", "item")
"""Keys of sources and labels in which it may stand."""


class SceneEntry(Section):
    """A scene of the catalog, or many alike: names of an image and of labels, and files of the area of interest."""

    id: Id = ""
    """Its name in all outputs, of at most 244 characters. In paths of its image, labels and area of interest, ``{id}``
    stands for it."""
    ids: tuple[Id, ...] = ()
    """Instead of ``id``, those of many scenes whose paths differ by ``{id}``."""
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
        if bool(self.id) == bool(self.ids):
            raise ValueError("a scene has an 'id', or many alike have 'ids', and not both")
        for each in self.named:
            if len(each) > LONGEST_ID:
                raise ValueError(
                    f"scene {each[:20]}…: files are named after scenes, so an id has at most {LONGEST_ID} characters; "
                    f"this one has {len(each)}"
                )
            if each in TAKEN:
                raise ValueError(f"scene {each}: the store of chips has a file of that name")
        if self.split != "predict" and self.labels is None:
            raise ValueError(f"a scene of split '{self.split}' needs labels; without labels its split is 'predict'")
        for key, names in (("labels", self.label_names), ("aoi", self.aoi_files)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"scene {self.named[0]} names {key} twice: {', '.join(twice)}")
        return self

    @property
    def named(self) -> tuple[str, ...]:
        """Its id, or all of many."""
        return self.ids or (self.id,)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of its labels, in order of priority."""
        return _listed(self.labels)

    @property
    def aoi_files(self) -> tuple[str, ...]:
        """The files of its area of interest."""
        return _listed(self.aoi)

    def aoi_of(self, scene: str) -> tuple[str, ...]:
        """Return those of one of its scenes."""
        return tuple(path.replace(PLACE, scene) for path in self.aoi_files)


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
        for key, sections in (("images", self.images), ("labels", self.labels)):
            _check_places(key, sections)
        ids = [each for entry in self.scenes for each in entry.named]
        twice = sorted(i for i, count in Counter(ids).items() if count > 1)
        if twice:
            raise ValueError(f"each scene needs its own id, but these occur twice: {', '.join(twice)}")
        for entry in self.scenes:
            named = [("image", entry.image, self.images), *(("labels", n, self.labels) for n in entry.label_names)]
            for what, name, known in named:
                if name not in known:
                    raise ValueError(
                        f"scene {entry.named[0]} names {what} '{name}'; the catalog has {', '.join(known)}"
                    )
            if len(entry.ids) > 1 and not self._differ(entry):
                raise ValueError(
                    f"scenes {', '.join(entry.ids[:2])}, … would be the same: let {PLACE} stand for each in the path "
                    "of their image or area of interest"
                )
            closed = next((n for n in entry.label_names[:-1] if self.labels[n].background is not None), None)
            if closed is not None:
                raise ValueError(
                    f"scene {entry.named[0]}: labels '{closed}' give a class to all pixels ('background'), so none is "
                    "left to those after them: name them last"
                )
        return self

    def _differ(self, entry: SceneEntry) -> bool:
        """Return whether the image or the area of interest of many scenes is another for each."""
        image = self.images[entry.image]
        return _filled(image, "") is not image or entry.aoi_of("") != entry.aoi_files

    def resolve(self) -> tuple[Scene, ...]:
        """Return the scenes, in the catalog's order."""
        return tuple(
            Scene(
                each,
                entry.split,
                _filled(self.images[entry.image], each),
                tuple(_filled(self.labels[name], each) for name in entry.label_names),
                entry.aoi_of(each),
            )
            for entry in self.scenes
            for each in entry.named
        )

    def spelt_out(self) -> Self:
        """Return the same catalog with an entry, and where they differ an image and labels, for each scene."""
        images, labels, entries = dict(self.images), dict(self.labels), list[SceneEntry]()
        for entry in self.scenes:
            for each in entry.named:
                image = _named_by_scene(images, entry.image, each)
                sources = tuple(_named_by_scene(labels, name, each) for name in entry.label_names) or None
                changed = {"id": each, "ids": (), "image": image, "labels": sources, "aoi": entry.aoi_of(each) or None}
                entries.append(entry.model_copy(update=changed))
        return self.model_copy(update={"images": images, "labels": labels, "scenes": tuple(entries)})


def read_catalog(path: Path) -> tuple[Scene, ...]:
    """Return the scenes of the catalog at ``path``; raise CatalogError naming the file and the key."""
    return load_catalog(path).resolve()


def load_catalog(path: Path) -> Catalog:
    """Return the catalog at ``path``; raise CatalogError naming the file and the key."""
    return load(path, Catalog, CatalogError)


def written(catalog: Catalog) -> bytes:
    """Return ``catalog`` as bytes that ``read_catalog`` reads, without neutral values."""
    return dumped(catalog.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def _filled(section: S, scene: str) -> S:
    """Return an image or labels with a scene's id in the place of ``{id}``: itself if it stands nowhere."""
    if isinstance(section, Image):
        sources = tuple(_filled(source, scene) for source in section.sources)
        same = all(one is other for one, other in zip(sources, section.sources, strict=True))
        return section if same else section.model_copy(update={"sources": sources})
    found: dict[str, str | tuple[str, ...]] = {}
    for key in PATHS:
        value = getattr(section, key, None)
        if isinstance(value, str) and PLACE in value:
            found[key] = value.replace(PLACE, scene)
        elif isinstance(value, tuple) and any(PLACE in path for path in value):
            found[key] = tuple(path.replace(PLACE, scene) for path in value)
    return section.model_copy(update=found) if found else section


def _check_places(key: str, sections: Mapping[str, Section]) -> None:
    """Raise ValueError where ``{id}`` stands in another key of images or labels than those in which it is filled."""
    for name, section in sections.items():
        text = section.model_dump_json()
        if PLACE in text and PLACE in _filled(section, "").model_dump_json():
            raise ValueError(f"{key}.{name}: {PLACE} stands for a scene's id in {', '.join(PATHS)}, and nowhere else")
        if beside := BESIDE.search(text):
            raise ValueError(f"{key}.{name}: {beside[0]} would be files of other scenes, too, whose ids are longer")


def _named_by_scene(sections: dict[str, S], name: str, scene: str) -> str:
    """Return the name of the section called ``name`` as it is for a scene, and add it if that is another."""
    own = _filled(sections[name], scene)
    if own is sections[name]:
        return name
    new = f"{name} of {scene}"
    while sections.get(new, own) != own:
        new += "_"  # the user's own catalog has the name
    sections[new] = own
    return new


def _listed(names: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else names
