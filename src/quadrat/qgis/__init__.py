"""The run in the workspace as a project of QGIS."""
