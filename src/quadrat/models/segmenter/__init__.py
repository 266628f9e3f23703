"""The model kind of dense outputs: an encoder-decoder network with a score for each pixel."""
