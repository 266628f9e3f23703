"""What labels of a new project hold: classes, by features or pixels, and where they lie on images."""
