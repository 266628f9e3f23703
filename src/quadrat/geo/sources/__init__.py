"""An image's files in the catalog and STAC items: bands, units, dates and paths. Opens nothing."""
