"""What both floors share: classes, image and label files, drawing, the bundle, metrics, panoptic maps, progress and
errors."""
