"""The run in the workspace on the page with a map."""
