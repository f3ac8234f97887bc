"""Networks and backbones as Keras functional models: one file each, named in a recipe by its file's name."""
