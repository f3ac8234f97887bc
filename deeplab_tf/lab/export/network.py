"""Read a Keras network into nodes for inference: batch normalization folded, dropout removed.

Every export is written from these nodes, so a tensor has one name (that of its Keras layer) and one range everywhere.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from deeplab_tf.core.bundle import INSTANCE_OUTPUTS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.fold import fold
from deeplab_tf.lab.export.nodes import Network, Node
from deeplab_tf.lab.models.attention_layers import Attention, PositionEmbedding, SpaceToDepth, WindowAttention
from deeplab_tf.lab.models.custom_layers import (
    BatchNormalization,
    BlockDiagonalConv,
    DepthwiseConv2D,
    LinearAttention,
    Upsample,
    block_diagonal,
)
from deeplab_tf.lab.models.layer_graph import layer_inputs, output_layer


def constant_weights(layer: keras.layers.Layer) -> list[np.ndarray]:
    """Return a layer's present weights, in float64."""
    return [np.asarray(value, np.float64) for value in layer.get_weights()]


def read_network(model: keras.Model, weights: Callable[[keras.layers.Layer], list] = constant_weights) -> Network:
    """Return the nodes of a Keras functional model for its `logits` and, of a panoptic network, `center` and `offset`.

    Args:
        model: trained, one of `deeplab_tf.lab.models`.
        weights: returns a layer's weights, in the order of `layer.weights` and in float64; if they are tensors, so are
            those of the nodes.

    Raises:
        DeepLabError: the model has a layer that cannot be exported; it is named.
    """
    nodes: list[Node] = []
    names: dict[str, str] = {}  # the node with the output of each layer
    instances = [name for name in INSTANCE_OUTPUTS if name in model.output]
    parents = layer_inputs(model)
    for layer in _layers_to([output_layer(model, name) for name in (*instances, "logits")], parents):
        inputs = tuple(names[parent.name] for parent in parents[layer.name])
        reader = _READERS.get(type(layer))
        if reader is None:
            known = ", ".join(sorted({kind.__name__ for kind in _READERS}))
            raise DeepLabError(
                f"The layer {layer.name} is a {type(layer).__name__}, which cannot be exported. These can: {known}."
            )
        made = reader(layer, inputs, weights(layer))
        names[layer.name] = made[-1].name if made else inputs[0]
        nodes += made
    return fold(Network(tuple(nodes), tuple(output_layer(model, name).name for name in instances)))


def _layers_to(ends, parents):
    """Return the layers that some layers depend on, each after its inputs; what only the last one needs comes last."""
    done, order = set(), []
    waiting = [(layer, False) for layer in reversed(ends)]
    while waiting:
        layer, ready = waiting.pop()
        if ready:
            order.append(layer)
        elif layer.name not in done:
            done.add(layer.name)
            waiting.append((layer, True))
            waiting += [(parent, False) for parent in reversed(parents[layer.name])]
    return order


def _read_normalization(layer, inputs, _):
    std = np.maximum(np.sqrt(np.asarray(layer.variance, np.float64)), keras.backend.epsilon()).reshape(-1)
    mean = np.asarray(layer.mean, np.float64).reshape(-1)
    return [Node(layer.name, "affine", inputs, {}, {"scale": 1 / std, "shift": -mean / std})]


def _read_batch_normalization(layer, inputs, weights):
    gamma, beta, mean, variance = weights
    scale = gamma / (variance + layer.epsilon) ** 0.5
    return [Node(layer.name, "affine", inputs, {}, {"scale": scale, "shift": beta - mean * scale})]


def _read_convolution(layer, inputs, weights):
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    channels = weights[0].shape[2 if depthwise else 3]
    attributes = {"stride": layer.strides[0], "rate": layer.dilation_rate[0], "padding": _padding(layer)}
    if not depthwise and layer.groups > 1 or depthwise and layer.depth_multiplier > 1:
        raise DeepLabError(
            f"The layer {layer.name} has groups or a depth multiplier above 1, which cannot be exported."
        )
    if layer.activation is not keras.activations.linear and layer.activation is not keras.activations.relu:
        raise DeepLabError(
            f"The layer {layer.name} has an activation, which cannot be exported; make it a layer of its own."
        )
    bias = weights[1] if layer.use_bias else np.zeros(channels)
    op = "depthwise" if depthwise else "conv"
    made = [Node(layer.name, op, inputs, attributes, {"kernel": weights[0], "bias": bias})]
    if layer.activation is keras.activations.relu:
        made.append(Node(f"{layer.name}_relu", "relu", (layer.name,)))
    return made


def _read_block_diagonal(layer, inputs, weights):
    kernel = block_diagonal(tf.convert_to_tensor(weights[0]))
    kernel = kernel.numpy() if isinstance(weights[0], np.ndarray) else kernel
    attributes = {"stride": 1, "rate": 1, "padding": "same"}
    return [Node(layer.name, "conv", inputs, attributes, {"kernel": kernel, "bias": np.zeros(kernel.shape[3])})]


def _padding(layer):
    return "same" if layer.padding == "same" else ((0, 0), (0, 0))


def _read_pool(layer, inputs, _):
    op = "max_pool" if isinstance(layer, layers.MaxPooling2D) else "avg_pool"
    attributes = {"size": layer.pool_size[0], "stride": layer.strides[0], "padding": _padding(layer)}
    return [Node(layer.name, op, inputs, attributes)]


def _plain(op, **attributes):
    """Return a reader of a layer without weights; `attributes` are those of the node, by attribute of the layer."""

    def read(layer, inputs, _):
        return [Node(layer.name, op, inputs, {key: getattr(layer, name) for key, name in attributes.items()})]

    return read


def _read_nothing(layer, inputs, _):
    return []


def _read_relu(layer, inputs, _):
    if layer.max_value not in (None, 6) or layer.negative_slope or layer.threshold:
        raise DeepLabError(
            f"The layer {layer.name} is a ReLU with a slope, or a limit other than 6, which cannot be exported."
        )
    return [Node(layer.name, "relu" if layer.max_value is None else "relu6", inputs)]


_ACTIVATIONS = {
    keras.activations.sigmoid: "sigmoid",
    keras.activations.hard_sigmoid: "hard_sigmoid",
    keras.activations.hard_silu: "hard_swish",
    keras.activations.gelu: "gelu",
}


def _read_activation(layer, inputs, _):
    if layer.activation not in _ACTIVATIONS:
        known = ", ".join(sorted(activation.__name__ for activation in _ACTIVATIONS))
        raise DeepLabError(
            f"The layer {layer.name} has the activation {layer.activation.__name__}, which cannot be exported. "
            f"These can: {known}."
        )
    return [Node(layer.name, _ACTIVATIONS[layer.activation], inputs)]


def _read_layer_norm(layer, inputs, weights):
    weights = dict(zip(("scale", "shift"), weights))
    return [Node(layer.name, "layer_norm", inputs, {"epsilon": layer.epsilon}, weights)]


def _read_window_attention(layer, inputs, weights):
    attributes = {"heads": layer.heads, "window": layer.window, "shift": layer.shift}
    return [Node(layer.name, "window_attention", inputs, attributes, dict(zip(("bias", "relative_bias"), weights)))]


def _read_position(layer, inputs, weights):
    return [Node(layer.name, "position", inputs, {}, {"embedding": weights[0]})]


def _read_mean(layer, inputs, _):
    if not layer.keepdims:
        raise DeepLabError(
            f"The layer {layer.name} drops height and width, which cannot be exported; make it with keepdims=True."
        )
    return [Node(layer.name, "mean", inputs)]


_READERS: dict[type, Callable] = {
    layers.InputLayer: _plain("input"),
    layers.Normalization: _read_normalization,
    layers.BatchNormalization: _read_batch_normalization,
    BatchNormalization: _read_batch_normalization,
    layers.Conv2D: _read_convolution,
    layers.DepthwiseConv2D: _read_convolution,
    DepthwiseConv2D: _read_convolution,
    layers.ZeroPadding2D: _plain("pad", padding="padding"),
    layers.MaxPooling2D: _read_pool,
    layers.AveragePooling2D: _read_pool,
    layers.ReLU: _read_relu,
    layers.Activation: _read_activation,
    layers.Add: _plain("add"),
    layers.Multiply: _plain("multiply"),
    layers.Concatenate: _plain("concat"),
    layers.GlobalAveragePooling2D: _read_mean,
    layers.Dropout: _read_nothing,
    Upsample: _plain("upsample", factor="factor"),
    LinearAttention: _plain("linear_attention", dim="dim"),
    BlockDiagonalConv: _read_block_diagonal,
    layers.LayerNormalization: _read_layer_norm,
    Attention: _plain("attention", heads="heads"),
    WindowAttention: _read_window_attention,
    PositionEmbedding: _read_position,
    SpaceToDepth: _plain("space_to_depth", before="before"),
}
