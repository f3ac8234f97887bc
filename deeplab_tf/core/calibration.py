"""The calibration methods, by name; `deeplab_tf.lab.export.calibration_methods` has a function for each."""

METHODS = ("min-max", "percentile", "entropy")
