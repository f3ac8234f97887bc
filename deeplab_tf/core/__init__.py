"""Shared by deploy floor and lab: classes, image and label files, drawing, bundles, metrics, panoptic maps, errors."""
