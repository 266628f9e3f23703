"""The sample ``trees``: aerial images of four woods, with a box around each tree's crown."""

from quadrat.samples.boxes import Boxes
from quadrat.samples.sample import Copy, Sample

ABOUT = """\
# Tree crowns in four woods of the United States

Aerial photographs of the National Ecological Observatory Network (NEON), with boxes that people drew around the crowns
of trees, standing dead ones included.

| image | px | boxes | what it shows |
|---|---|---|---|
| 2019_YELL_2_528000_4978000_image_crop2.png | 2299 x 2472 | 574 | Yellowstone: open conifer wood on a meadow, 2019 |
| 2019_YELL_2_541000_4977000_image_crop.png | 1249 x 1035 | 279 | Yellowstone: dense conifer wood along a road, 2019 |
| OSBS_029.tif | 400 x 400 | 61 | Ordway-Swisher, Florida: pines and oaks on sand |
| SOAP_061.png | 400 x 400 | 37 | Soaproot Saddle, California: dead and living trees above shrubs |

- **Images**: red, green and blue as uint8, pixels of 0.1 m. OSBS_029.tif is in EPSG:32617; the others have no place.
  OSBS_029.tif declares 255 to be nodata, but 255 there is sand in full sun.
- **Boxes**: one GeoPackage for each image, with the field `label`: Tree, or in SOAP_061.gpkg Dead and Alive. They are
  in the image's CRS, or in px where it has none: x = column, y = row, from the upper left corner of the upper left
  pixel.
  Not every crown has a box: in the second image some among others lack one.

## Licence and citation

- Images: National Ecological Observatory Network, high-resolution orthorectified camera imagery (DP3.30010.001). NEON
  gives its data freely and asks to be cited. NEON is a program of the U.S. National Science Foundation.
- Boxes: by the makers of *DeepForest* (version 2.1.0, MIT licence, copyright 2019 Ben Weinstein), which carries all of
  this. Please cite: Weinstein, B. G., Marconi, S., Aubry-Kientz, M., Vincent, G., Senyondo, H., White, E. P. (2020):
  DeepForest: A Python package for RGB deep learning tree crown delineation. Methods in Ecology and Evolution 11(12),
  1743-1751, https://doi.org/10.1111/2041-210X.13472
- The GeoPackages alone are no files of the wheel: they were made of its Pascal VOC files, which count px from 1, and
  where right and bottom are the last px within.
"""

FOLDER = "deepforest/data"

IMAGES = (
    "2019_YELL_2_528000_4978000_image_crop2.png",
    "2019_YELL_2_541000_4977000_image_crop.png",
    "OSBS_029.tif",
    "SOAP_061.png",
)


def _boxes(image: str) -> Boxes:
    stem = image.rsplit(".", 1)[0]
    return Boxes(f"{stem}.gpkg", f"{FOLDER}/{stem}.xml", image)


TREES = Sample(
    "deepforest==2.1.0",
    "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
    (*(Copy(image, f"{FOLDER}/{image}") for image in IMAGES), *(_boxes(image) for image in IMAGES)),
    "95ea5c5207228aa66011e82c0d13778b2d5d1e5f3549d2abd57cc6a6e16b533f",
    ABOUT,
)
