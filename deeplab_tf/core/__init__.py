"""Shared by all packages: classes, image and label files, drawing, bundles, metrics, panoptic maps, errors."""

__version__ = "0.2.0"
