"""The model kind ``classifier``: one class, or several, for a whole window."""
