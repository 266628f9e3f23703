"""The live server: a bundle behind the routes of a tile server. It decides no result."""
