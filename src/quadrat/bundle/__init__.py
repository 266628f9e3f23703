"""The bundle: a zip file with a trained model that runs anywhere, and a sample that verifies it."""
