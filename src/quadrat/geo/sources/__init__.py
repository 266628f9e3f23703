"""What the catalog and STAC items say of an image's files: bands, units, dates and paths. Opens nothing."""
