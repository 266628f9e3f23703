"""A new project of one's own, made by looking at images and labels: ``quadrat init``."""
