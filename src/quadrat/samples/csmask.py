"""The sample ``csmask``: a network that finds clouds and their shadows."""

from quadrat.samples.sample import Copy, Sample

ABOUT = """\
# Clouds and shadows in images of Sentinel-2 and Landsat

Weights to start from (`model.start`): a U-Net over an EfficientNet-B4, as segmentation-models-pytorch builds it, in an
ONNX graph. Six bands of 30 m: blue, green, red, near infrared and two of short-wave infrared (1.6 and 2.2 µm), in
top-of-atmosphere reflectance (Level-1C). Three classes: neither, cloud, shadow of a cloud. In its training, each band
had its mean subtracted and was divided by its deviation:

| | blue | green | red | nir | swir16 | swir22 |
|---|---:|---:|---:|---:|---:|---:|
| mean | 0.2755 | 0.2557 | 0.2698 | 0.3343 | 0.2085 | 0.1583 |
| deviation | 0.2449 | 0.2276 | 0.2537 | 0.2321 | 0.1487 | 0.1260 |

## Licence and citation

- German Aerospace Center (DLR), UKIS; Apache License 2.0 (version 1.0.0, 2025).
- Wieland, Li and Martinis (2019): Multi-sensor cloud and cloud shadow segmentation with a convolutional neural network.
  Remote Sensing of Environment 230. https://doi.org/10.1016/j.rse.2019.05.022
"""

FILE = "model_6b_l1c.onnx"

CSMASK = Sample(
    "ukis-csmask==1.0.0",
    "898d6efe59b3908ec92aabad3f61a56394ff81d997a2ebe5675732503a18d1f1",
    (Copy(FILE, f"ukis_csmask/{FILE}"),),
    "ac46064f87add0ee5b9bad1835fa00f68d4d104fbeee3600b55242ddbb42ebae",
    ABOUT,
    place="data/weights",
)
