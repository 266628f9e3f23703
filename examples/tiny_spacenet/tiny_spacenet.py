"""Buildings in two images of Las Vegas: Raster Vision's quickstart, composed in Python.

``quadrat configure examples/tiny_spacenet/tiny_spacenet.py`` writes params.yaml and scenes.yaml beside this file.
"""

from pathlib import Path

from quadrat.params import (
    Analyze,
    Augment,
    Bundle,
    Catalog,
    Chip,
    Class,
    Eval,
    Forest,
    Image,
    Params,
    Pictures,
    Predict,
    Random,
    RightAngled,
    SceneEntry,
    SegmentationLayers,
    SegmentationLoss,
    Segmenter,
    SemanticSegmentation,
    Source,
    Train,
    VectorLabels,
)

ROOT = "https://s3.amazonaws.com/azavea-research-public-data/raster-vision/examples/spacenet"
TILES = ("img205", "img25")
BANDS = ("red", "green", "blue")
CATALOG = Path("examples/tiny_spacenet/scenes.yaml")


def configure() -> tuple[Params, Catalog]:
    """Return all that changes a result, and the scenes."""
    return parameters(), catalog()


def catalog() -> Catalog:
    """Return two scenes: what no footprint covers is background."""
    return Catalog(
        images={tile: image(f"{ROOT}/RGB-PanSharpen_AOI_2_Vegas_{tile}.tif") for tile in TILES},
        labels={tile: footprints(f"{ROOT}/buildings_AOI_2_Vegas_{tile}.geojson") for tile in TILES},
        scenes=(
            SceneEntry(id="img205", split="train", image="img205", labels="img205"),
            SceneEntry(id="img25", split="validation", image="img25", labels="img25"),
        ),
    )


def image(path: str) -> Image:
    """Return an image whose values are the numbers in the file."""
    source = Source(path=path, bands=BANDS, unit="DN", scale=1.0, offset=0.0)
    return Image(grid="red", sources=(source,))


def footprints(path: str) -> VectorLabels:
    """Return labels of which each polygon is a building, whatever its fields say."""
    return VectorLabels(kind="vector", path=path, default="building", background="background")


def parameters() -> Params:
    """Return the parameters; without data below the project, the catalog is all that DVC can watch."""
    return Params(
        scenes=CATALOG,
        raw=CATALOG,
        aoi=CATALOG,
        seed=1,
        task=SemanticSegmentation(
            kind="semantic_segmentation",
            classes=(
                Class(name="building", color="#e6553a", aliases=()),
                Class(name="background", color="#2b2b2b", aliases=()),
            ),
            all_touched=False,
        ),
        bands=BANDS,
        analyze=Analyze(percentiles=(1.0, 25.0, 50.0, 75.0, 99.0), histogram_bins=64),
        chip=Chip(
            chip_size=256,
            windows=Random(kind="random", count=100, padding=0),
            min_valid_fraction=0.5,
            target_classes=None,
            min_targets=0,
            negatives=None,
        ),
        model=Segmenter(
            kind="segmenter",
            architecture="unet",
            encoder="resnet18",
            depth=4,
            decoder={"decoder_channels": [128, 64, 32, 32]},
            dropout=0.1,
            dates=None,
        ),
        baseline=Forest(kind="forest", trees=50, radius=4, max_depth=None, min_samples_leaf=1, samples=100_000),
        lr=0.001,
        epochs=20,
        batch_size=8,
        train=Train(
            loss=SegmentationLoss(kind="semantic_segmentation", dice=0.5, label_smoothing=0.0, class_balance=0.0),
            augment=Augment(flip_rotate=True, gain=0.1, offset=0.1),
            weight_decay=0.05,
            warmup=0.1,
            gradient_clip_norm=1.0,
            ema_decay=0.95,
            patience=20,
        ),
        predict=Predict(
            window_size=256,
            stride=128,
            layers=SegmentationLayers(
                kind="semantic_segmentation",
                scores=False,
                confidence=True,
                polygons="buildings.parquet",
                min_pixels=50,
                polygon_classes=("building",),
                max_hole_pixels=50,
                outlines=RightAngled(kind="right_angled", tolerance=3.0),
            ),
        ),
        eval=Eval(match=None, pictures=Pictures(longest_side=650, bands=BANDS, stretch=(2.0, 98.0))),
        bundle=Bundle(title="Buildings in Las Vegas from WorldView-3"),
    )
