"""quadrat: reproducible deep learning on satellite, aerial and drone imagery."""
