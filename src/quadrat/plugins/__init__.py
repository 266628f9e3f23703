"""Code of the user's own that parameters name: how it is found, checked and called."""
