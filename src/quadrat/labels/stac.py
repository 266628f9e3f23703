"""Labels of a STAC Item with the label extension (v1.0.1), or of ml-aoi v0.2."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self

from pydantic import model_validator

from quadrat.errors import LabelError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.sources.stac import Item, read_items
from quadrat.labels.class_mapping import ClassMapping
from quadrat.labels.vector import LabelledAreas, VectorLabels

ROLES = {"labels", "labels-vector"}
"""Roles of assets that hold vector labels."""


class StacLabels(VectorLabels):
    """Vector labels in an asset of a STAC Item, which names the field of the classes.

    The rest is as for the kind ``vector``.
    """

    kind: Literal["stac"]  # type: ignore[assignment] # the tag of another kind
    path: str
    """The Item, or an ItemCollection with ``item``: a JSON file, from the project's root, or an address."""
    layer: str | None = None
    """The layer of an asset with several; left out: the only one with geometries."""
    field: str | None = None
    """The field whose values name the classes; left out: the only one of the item's ``label:properties``, or
    ``default`` is the class of all."""
    item: str | None = None
    """The id of an item of an ItemCollection; left out: the only one."""
    asset: str | None = None
    """The key of the asset; left out: the one whose role is labels, or that is called ``labels``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.field is not None and self.default is not None:
            raise ValueError("labels take 'field' or 'default', and not both")
        return self

    def files(self) -> Iterator[str]:
        """Yield the paths of the item and of its asset."""
        yield self.path
        yield self._found(None).path

    @contextmanager
    def open(self, grid: Grid, class_mapping: ClassMapping, scene: str) -> Iterator[LabelledAreas]:
        """Read the features near the grid, and return the labels; see ``VectorLabels.open``.

        Also raises LabelError if the item does not name the asset or the field, or has rasters.
        """
        with self._found(scene).open(grid, class_mapping, scene) as labels:
            yield labels

    def _found(self, scene: str | None) -> VectorLabels:
        """Return the labels as if the catalog named file and field."""
        item = self._item(scene)
        key, path = self._asset(item, scene)
        if item.properties.get("label:type") == "raster":
            raise LabelError(
                "the item's labels are a raster",
                scene,
                f"{self.path}, item {item.id}",
                expected="label:type vector",
                got=f"label:type raster, asset {key}: {path}",
                hint="name the file itself in the catalog, as labels of the kind 'raster'",
            )
        field = self.field if self.default is not None or self.field is not None else self._field(item, scene)
        content = {name: getattr(self, name) for name in VectorLabels.model_fields}
        return VectorLabels.model_validate({**content, "kind": "vector", "path": path, "field": field})

    def _item(self, scene: str | None) -> Item:
        items = read_items(self.path, LabelError)
        chosen = [one for one in items if self.item in {None, one.id}]
        if len(chosen) != 1:
            raise LabelError(
                "the file has no such item, or several items",
                scene,
                self.path,
                expected="one item" if self.item is None else f"one item {self.item}",
                got=", ".join(one.id for one in items),
                hint="name it under 'item' of the labels in the catalog",
            )
        return chosen[0]

    def _asset(self, item: Item, scene: str | None) -> tuple[str, str]:
        """Return the key and the file of the asset that holds the labels."""
        assets = item.assets
        if self.asset is None:
            keys = [
                key
                for key, asset in assets.items()
                if ROLES & {*item.roles(key)} or asset.get("ml-aoi:role") == "label"
            ] or [key for key in assets if key == "labels"]
        else:
            keys = [key for key in assets if key == self.asset]
        if len(keys) != 1:
            raise LabelError(
                "the item does not name the asset with the labels" if self.asset is None else "there is no such asset",
                scene,
                f"{self.path}, item {item.id}",
                expected=self.asset or "one asset with the role or the key 'labels'",
                got=", ".join(keys or assets) or "no assets",
                hint="name it under 'asset' of the labels in the catalog",
            )
        return keys[0], item.file(keys[0])

    def _field(self, item: Item, scene: str | None) -> str:
        names = item.texts(item.properties, "label:properties", "properties.")
        if len(names) != 1:
            raise LabelError(
                "the item does not name the field with the classes",
                scene,
                f"{self.path}, item {item.id}",
                expected="one field in label:properties",
                got=", ".join(names) or "none",
                hint="set 'field', or 'default', of the labels in the catalog",
            )
        return names[0]
