"""What both floors share: classes, image and label files, drawing, the bundle, metrics, panoptic maps, progress and
errors."""

__version__ = "0.1.0"
