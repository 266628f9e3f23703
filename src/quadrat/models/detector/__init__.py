"""The model kind ``detector``: boxes from FCOS, RetinaNet or Faster R-CNN over a feature pyramid."""
