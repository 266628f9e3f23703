"""Small pictures of a scene inside the page, each with a text that says what it shows."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from quadrat.evaluation.pictures import Color, Colors, Drawn, Picture, keys, overlays, panels
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.common.classes import Class

if TYPE_CHECKING:
    from PIL import Image

LONGEST = 480
"""Largest side of a panel, px."""

SMALLEST = 240
"""Smaller pictures are shown enlarged by a whole factor to at most this side, px."""

QUALITY = 82
"""Of JPEG."""

MOST_NAMED = 5
"""Most classes that the text of a panel names."""


@dataclass(frozen=True)
class Panel:
    """A picture and a text that says what it shows."""

    name: str
    source: str
    """Its ``data:`` address."""
    size: tuple[int, int]
    """Width and height, px."""
    zoom: int
    """How often each of its pixels is shown beside itself."""
    text: str


@dataclass(frozen=True)
class Thumbnail:
    """The panels of a scene, and the names and colours of their legend."""

    panels: Sequence[Panel]
    legend: Sequence[tuple[str, Color]]


def thumbnail(picture: Picture, classes: Sequence[Class], stretch: tuple[float, float]) -> Thumbnail:
    """Return the panels of ``picture``, no side longer than LONGEST."""
    shown = dict(panels(picture, classes, stretch))
    texts = described(picture, classes)
    step = -(-max(picture.predicted.shape) // LONGEST)
    made = []
    for (name, colors), drawn in zip(shown.items(), overlays(picture, classes, shown), strict=True):
        flat = picture.drawn is None and name != "image"
        image = _flat(colors, step) if flat else _photo(colors, step, drawn)
        zoom = max(1, SMALLEST // max(image.size))
        made.append(Panel(name, _address(image), image.size, zoom, texts[name]))
    return Thumbnail(made, list(keys(picture, classes)))


def described(picture: Picture, classes: Sequence[Class]) -> Mapping[str, str]:
    """Return what each panel of ``picture`` shows, in words: shares of classes, or numbers of objects."""
    texts = {"image": "the image"}
    if picture.drawn is not None:
        labels, found = picture.drawn
        for name, one in (("labels", labels), ("prediction", found)):
            counts = np.bincount(one.class_ids[one.class_ids < len(classes)], minlength=len(classes))
            texts[name] = ", ".join(_named(counts, classes, "{:,.0f}")) or "none"
        wrong, missed = np.count_nonzero(~found.right), np.count_nonzero(~labels.right)
        texts["error"] = f"{len(found.right) - wrong:,} right, {wrong:,} wrong, {missed:,} missed"
        return texts
    inside = picture.inside
    for name, ids in (("labels", picture.truth), ("prediction", picture.predicted)):
        if ids is not None:
            pixels = np.bincount(ids[inside], minlength=IGNORE + 1)[: len(classes)]
            shares = 100 * pixels / np.maximum(pixels.sum(), 1)
            texts[name] = ", ".join(_named(shares, classes, "{:.0f} %")) or "none"
    if picture.truth is not None:
        both = inside & (picture.truth != IGNORE) & (picture.predicted != IGNORE)
        right = np.count_nonzero(picture.truth[both] == picture.predicted[both])
        texts["error"] = f"{100 * right / max(int(both.sum()), 1):.0f} % of the labelled pixels are right"
    return texts


def _named(values: NDArray[np.number], classes: Sequence[Class], form: str) -> Iterator[str]:
    """Yield the classes with the largest values, and how many more there are."""
    order = [int(number) for number in np.argsort(-values, kind="stable") if values[number] > 0]
    yield from (f"{classes[number].name} {form.format(values[number])}" for number in order[:MOST_NAMED])
    if len(order) > MOST_NAMED:
        yield f"{len(order) - MOST_NAMED} other classes"


def _flat(colors: Colors, step: int) -> "Image.Image":
    """Return every ``step``-th pixel with its own colour, as a palette."""
    from PIL import Image

    top, left = (min(step // 2, length - 1) for length in colors.shape[:2])
    some = colors[top::step, left::step].astype(np.uint32)
    packed = some[..., 0] << 16 | some[..., 1] << 8 | some[..., 2]
    values, places = np.unique(packed, return_inverse=True)
    if len(values) > 256:
        return Image.fromarray(np.ascontiguousarray(some.astype(np.uint8)))
    image = Image.fromarray(places.reshape(packed.shape).astype(np.uint8))
    image.putpalette(b"".join(int(value).to_bytes(3, "big") for value in values))
    return image


def _photo(colors: Colors, step: int, drawn: Drawn) -> "Image.Image":
    """Return the means of ``step`` × ``step`` px, with outlines over them."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.ascontiguousarray(colors)).reduce(step)
    pen, wide = ImageDraw.Draw(image), 2 if max(image.size) > SMALLEST else 1
    for outlines, shades in drawn:
        rings, owners = shapely.get_parts(shapely.boundary(outlines.geometry), return_index=True)
        for ring, owner in zip(rings, owners.tolist(), strict=True):
            pen.line(
                [(x, y) for x, y in (shapely.get_coordinates(ring) / step).tolist()], fill=shades[owner], width=wide
            )
    return image


def _address(image: "Image.Image") -> str:
    """Return the image as a ``data:`` address: PNG where it has a palette, else JPEG."""
    content = BytesIO()
    if image.mode == "P":
        image.save(content, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(content, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{b64encode(content.getvalue()).decode()}"
