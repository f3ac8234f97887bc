"""A trained Keras network as a list of nodes, ready for inference: batch normalisation folded, dropout gone.

Every export is written from these nodes, so that a tensor has one name (that of its Keras layer) and one range
everywhere.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from deeplab_tf.core.bundle import INSTANCE_OUTPUTS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.fold import fold
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network, Node
from deeplab_tf.lab.models.custom_layers import BatchNormalization, DepthwiseConv2D, Upsample
from deeplab_tf.lab.models.layer_graph import layer_inputs, output_layer


def numbers(layer: keras.layers.Layer) -> list[np.ndarray]:
    """A layer's weights as they are now, in float64."""
    return [np.asarray(value, np.float64) for value in layer.get_weights()]


def read_network(model: keras.Model, weights: Callable[[keras.layers.Layer], list] = numbers) -> Network:
    """The nodes of a Keras functional model that lead to its `logits` and, where it has them, its `center` and
    `offset`.

    Args:
        model: from `deeplab_v3_plus` or `panoptic_deeplab`, trained.
        weights: gives a layer's weights, in the order of `layer.weights` and in float64; if they are tensors, so are
            those of the nodes.

    Raises:
        DeepLabError: the model has a layer that cannot be exported; it is named.
    """
    nodes, names = [], {}  # names: which tensor stands for a layer's output
    instances = [name for name in INSTANCE_OUTPUTS if name in model.output]
    parents = layer_inputs(model)
    for layer in _layers_to([output_layer(model, name) for name in (*instances, "logits")], parents):
        inputs = tuple(names[parent.name] for parent in parents[layer.name])
        reader = _READERS.get(type(layer))
        if reader is None:
            raise DeepLabError(
                f"The layer {layer.name} is a {type(layer).__name__}, which cannot be exported; exported are: "
                f"{_known()}."
            )
        made = reader(layer, inputs, weights(layer))
        names[layer.name] = made[-1].name if made else inputs[0]
        nodes += made
    return fold(Network(tuple(nodes), tuple(output_layer(model, name).name for name in instances)))


def with_head(network: Network, *, label_stride: int = 1, output: str = "labels") -> Network:
    """The network with another end.

    Args:
        network: each of whose outputs is an `upsample` to the image's size.
        label_stride: one of `label_strides`: 1 keeps that; the `upsample`'s own factor leaves it out; twice that also
            computes the outputs at every second position only.
        output: "labels" appends an argmax, "logits" does not.

    Raises:
        DeepLabError: the network's scores have no such stride.
    """
    possible = label_strides(network)
    if label_stride not in possible:
        *others, last = map(str, possible)
        raise DeepLabError(
            f"This network's labels can have a stride of {', '.join(others)} or {last}. Got {label_stride} instead."
        )
    ends, nodes = [network[name] for name in network.outputs.values()], list(network.nodes)
    if label_stride > 1:
        for end in ends:
            nodes.remove(end)
            small = network[end.inputs[0]]
            if label_stride > end.attributes["factor"]:
                stride = small.attributes["stride"] * label_stride // end.attributes["factor"]
                nodes[nodes.index(small)] = small._replace(attributes={**small.attributes, "stride": stride})
        ends = [network[end.inputs[0]] for end in ends]
    if output == "labels":
        nodes.append(Node("labels", "argmax", (ends[0].name,)))
    return Network(tuple(nodes), tuple(end.name for end in ends[1:]))


def label_strides(network: Network) -> tuple[int, ...]:
    """The label strides that a network can have: 1, the stride of its scores, and twice that where they come straight
    from a convolution.

    Raises:
        DeepLabError: it does not end by upsampling.
    """
    ends = [network[name] for name in network.outputs.values()]
    for end in ends:
        if end.op != "upsample":
            raise DeepLabError(
                f"Expected a network that ends by upsampling what it gives; this one ends with {end.name} ({end.op})."
            )
    factor = ends[0].attributes["factor"]
    thinned = all(network[end.inputs[0]].op in CONVOLUTIONS for end in ends)
    return (1, factor, 2 * factor) if thinned else (1, factor)


def _layers_to(ends, parents):
    """The layers that some layers depend on, each after those it reads; what the last one alone needs comes last."""
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


def _known():
    return ", ".join(sorted({layer.__name__ for layer in _READERS}))


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
            f"The layer {layer.name} has an activation of its own; make it a layer after it, so that it can be "
            "exported."
        )
    bias = weights[1] if layer.use_bias else np.zeros(channels)
    made = [
        Node(layer.name, "depthwise" if depthwise else "conv", inputs, attributes, {"kernel": weights[0], "bias": bias})
    ]
    if layer.activation is keras.activations.relu:
        made.append(Node(f"{layer.name}_relu", "relu", (layer.name,)))
    return made


def _padding(layer):
    return "same" if layer.padding == "same" else ((0, 0), (0, 0))


def _read_pool(layer, inputs, _):
    op = "max_pool" if isinstance(layer, layers.MaxPooling2D) else "avg_pool"
    return [
        Node(
            layer.name, op, inputs, {"size": layer.pool_size[0], "stride": layer.strides[0], "padding": _padding(layer)}
        )
    ]


def _simple(op, **attributes):
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
}


def _read_activation(layer, inputs, _):
    if layer.activation not in _ACTIVATIONS:
        known = ", ".join(sorted(activation.__name__ for activation in _ACTIVATIONS))
        raise DeepLabError(
            f"The layer {layer.name} has the activation {layer.activation.__name__}, which cannot be exported; "
            f"{known} can."
        )
    return [Node(layer.name, _ACTIVATIONS[layer.activation], inputs)]


def _read_mean(layer, inputs, _):
    if not layer.keepdims:
        raise DeepLabError(
            f"The layer {layer.name} drops height and width; make it with keepdims=True, so that it can be exported."
        )
    return [Node(layer.name, "mean", inputs)]


_READERS = {
    layers.InputLayer: _simple("input"),
    layers.Normalization: _read_normalization,
    layers.BatchNormalization: _read_batch_normalization,
    BatchNormalization: _read_batch_normalization,
    layers.Conv2D: _read_convolution,
    layers.DepthwiseConv2D: _read_convolution,
    DepthwiseConv2D: _read_convolution,
    layers.ZeroPadding2D: _simple("pad", padding="padding"),
    layers.MaxPooling2D: _read_pool,
    layers.AveragePooling2D: _read_pool,
    layers.ReLU: _read_relu,
    layers.Activation: _read_activation,
    layers.Add: _simple("add"),
    layers.Multiply: _simple("multiply"),
    layers.Concatenate: _simple("concat"),
    layers.GlobalAveragePooling2D: _read_mean,
    layers.Dropout: _read_nothing,
    Upsample: _simple("upsample", factor="factor"),
}
