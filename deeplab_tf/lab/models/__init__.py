"""DeepLabV3+ and its parts, as Keras functional models."""
