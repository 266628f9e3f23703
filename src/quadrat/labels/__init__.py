"""Labels of every sort (vector, raster, STAC) as class ids or objects on a scene's grid."""
