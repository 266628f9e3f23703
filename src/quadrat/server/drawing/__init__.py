"""From blocks to tiles: warping, colours and files."""
