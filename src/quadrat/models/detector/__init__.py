"""What detectors are made of: features, anchors, what they are taught, and the architectures."""
