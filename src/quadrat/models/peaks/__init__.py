"""The baseline of object detection: boxes of the mean size on local maxima."""
