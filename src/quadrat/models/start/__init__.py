"""What a network starts from: the weights of a bundle, a file or timm, matched by names of layers, bands and classes."""
