"""The task object detection: a box and a class for every object."""
