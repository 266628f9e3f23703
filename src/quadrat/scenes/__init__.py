"""What is on the ground: grids, images, labels, areas of interest, and the scenes they make up."""
