"""The weights of EfficientViT that its authors publish (github.com/mit-han-lab/efficientvit)."""

import keras
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.torch_file import read_tensors

EPSILON = 1e-5
"""Of their batch normalization."""
_BLOCK = {"inverted_conv": "1", "depth_conv": "2", "point_conv": "3"}
_ATTENTION = {"qkv": "qkv", "near": "aggreg.0", "project": "proj"}
_HEAD = {"head.input_ops.0.op_list.0": "decoder_res5", "head.input_ops.1.op_list.0": "decoder_res4"}
_HEAD.update({"head.input_ops.2": "decoder_res3", "head.output_ops.0.op_list.0": "decoder_last"})


def load_efficientvit_weights(model: keras.Model, path: str) -> None:
    """Load a PyTorch file into the layers of `efficientvit`: the backbone's and, from one of a segmentation network,
    the head's; of the logits where it has as many classes.

    Raises:
        DeepLabError: the network has another activation than these weights were trained with, or the file holds other
            tensors than such a network has.
    """
    if not any(isinstance(layer, keras.layers.Activation) for layer in model.layers):
        raise DeepLabError(f"The weights in {path} were trained with hard swish; set model.activation to hard_swish.")
    tensors = {name: value for name, value in read_tensors(path).items() if not name.endswith("num_batches_tracked")}
    segments = any(name.startswith("head.input_ops.") for name in tensors)
    if not segments:  # an image classifier's head is left out
        tensors = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
    reader = _Reader(tensors, path)
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    logits = layers.pop("logits_conv")
    for name, layer in layers.items():
        if segments or not name.startswith("decoder"):
            values = reader.values(layer)
            _set(layer, values, path)
    theirs = "head.output_ops.0.op_list.1.conv"
    if segments:
        kernel, bias = reader.take(f"{theirs}.weight"), reader.take(f"{theirs}.bias")
        if len(bias) == logits.filters:
            _set(logits, [kernel.transpose(2, 3, 1, 0), bias], path)
    if reader.unused:
        raise DeepLabError(f"{path} has {min(reader.unused)}, which this network does not have; check model.variant.")


def _set(layer, values, path):
    wanted = [tuple(weight.shape) for weight in layer.weights]
    if [value.shape for value in values] != wanted:
        raise DeepLabError(
            f"{path} has weights of shape {values[0].shape} for {layer.name}, whose shape is {wanted[0]}; check "
            "model.variant."
        )
    layer.set_weights(values)


class _Reader:
    """Takes each tensor of a file once."""

    def __init__(self, tensors: dict[str, np.ndarray], path: str):
        self.tensors, self.path, self.unused = tensors, path, set(tensors)

    def take(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise DeepLabError(f"{self.path} has no {name}, which the network needs; check model.variant.")
        self.unused.discard(name)
        return self.tensors[name]

    def values(self, layer: keras.Layer) -> list[np.ndarray]:
        """Return the weights of a layer as Keras has them."""
        place, kind = layer.name.rsplit("_", 1)
        theirs = _theirs(place)
        if place.endswith("_attention_near"):
            return [self._near(theirs, kind, layer)]
        if kind == "bn":
            return self._norm(theirs, layer)
        kernel = self.take(f"{theirs}.conv.weight")
        return [kernel.transpose(2, 3, 0, 1) if kind == "depthwise" else kernel.transpose(2, 3, 1, 0)]

    def _norm(self, theirs, layer):
        """A block of an attending stage has biases in place of two of its batch normalizations."""
        if f"{theirs}.conv.bias" in self.tensors:
            bias = self.take(f"{theirs}.conv.bias")
            return [np.ones_like(bias), bias, np.zeros_like(bias), np.full_like(bias, 1 - layer.epsilon)]
        *values, variance = (
            self.take(f"{theirs}.norm.{part}") for part in ("weight", "bias", "running_mean", "running_var")
        )
        return [*values, variance + np.float32(EPSILON - layer.epsilon)]

    def _near(self, theirs, kind, layer):
        if kind == "depthwise":
            return self.take(f"{theirs}.0.weight").transpose(2, 3, 0, 1)
        kernel = self.take(f"{theirs}.1.weight")[:, :, 0, 0]  # (channels, group): of each output its group's inputs
        return kernel.reshape(-1, layer.group, layer.group).transpose(0, 2, 1)


def _theirs(place: str) -> str:
    """Return the name there of what is `place` here: of "res2_block1_2" it is
    "backbone.stages.0.op_list.0.main.depth_conv"."""
    if place == "conv1":
        return "backbone.input_stem.op_list.0"
    for theirs, ours in _HEAD.items():
        if place == ours:
            return theirs
    stage, block, *rest = place.split("_")
    number = int(block.removeprefix("block"))
    if stage == "decoder":
        where = f"head.middle.op_list.{number - 1}"
    elif stage == "res1":
        where = f"backbone.input_stem.op_list.{number}"
    else:
        where = f"backbone.stages.{int(stage[3]) - 2}.op_list.{number - 1}"
    attends = stage in ("res4", "res5") and number > 1
    if rest[0] == "attention":
        return f"{where}.context_module.main.{_ATTENTION[rest[1]]}"
    module = f"{where}.local_module.main" if attends else f"{where}.main"
    return f"{module}.{next(theirs for theirs, ours in _BLOCK.items() if ours == rest[0])}"
