"""Statistics of bands: exact sums, histograms and percentiles, added up strip by strip."""
