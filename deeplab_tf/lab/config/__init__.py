"""Recipes: YAML files that are checked strictly and resolved to a Config, with every default filled in."""

from deeplab_tf.lab.config.reading import load, load_run, resolve
from deeplab_tf.lab.config.sections import Config, Distillation, Loss, Optimizer, Quantization, Training

__all__ = ["Config", "Distillation", "Loss", "Optimizer", "Quantization", "Training", "load", "load_run", "resolve"]
