"""Labels of all kinds (vector, raster, STAC), as class ids or objects on a scene's grid."""
