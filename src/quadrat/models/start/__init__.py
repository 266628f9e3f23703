"""What a network starts from: weights of a bundle, a file or timm, matched by names of layers, bands and classes."""
