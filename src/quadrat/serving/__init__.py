"""A bundle at work on new images, away from the project that made it."""
