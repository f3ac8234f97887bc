"""Which channels stand or fall together, read off the graph of a network.

A unit is what can be removed as one: a channel of a convolution, with everything that lives off it alone (its batch
normalisation, its depthwise kernel). Sums and products tie the channels of their inputs, position by position, into
common units: all blocks of a residual stage put out the same ones. Nothing here goes by names.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.custom_layers import Upsample

DENSE = (layers.Conv2D, layers.Dense)
"""Layers whose every output channel reads every input channel: here units end and begin. (A depthwise convolution is no
Conv2D.)"""

_TIES = (layers.Add, layers.Multiply, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum)
_REARRANGES = (layers.Reshape, layers.Flatten, layers.Permute, layers.Lambda)


class Group(NamedTuple):
    """Units that the same layers make, such as all that a residual stage puts out."""

    makers: tuple[str, ...]
    units: np.ndarray


class Wiring(NamedTuple):
    """The units of a network.

    Attributes:
        reads: for each layer the unit of every channel that goes in; for a layer with several inputs, not there.
        makes: for each layer the unit of every channel that comes out.
        groups: what may be pruned. Units of the image and of the network's outputs are in none.
        count: of all units.
    """

    reads: dict[str, np.ndarray]
    makes: dict[str, np.ndarray]
    groups: tuple[Group, ...]
    count: int


def read_units(model: keras.Model) -> Wiring:
    """Walks a functional model from its image to its outputs.

    Raises:
        DeepLabError: a layer whose channels cannot be followed; it is named.
    """
    channels = _Channels()
    reads, makes = {}, {}
    for layer in model.layers:
        inputs = (
            [channels.of[id(tensor)] for tensor in _list(layer.input)]
            if not isinstance(layer, layers.InputLayer)
            else []
        )
        if len(inputs) == 1 or isinstance(layer, Upsample):
            reads[layer.name] = inputs[0]
        channels.of[id(layer.output)] = makes[layer.name] = _follow(layer, inputs, channels)
    fixed = [makes[layer.name] for layer in model.layers if isinstance(layer, layers.InputLayer)]
    fixed += [channels.of[id(tensor)] for tensor in model.output.values()]
    units = channels.units()
    reads, makes = ({name: units[ids] for name, ids in found.items()} for found in (reads, makes))
    makers = [layer.name for layer in model.layers if isinstance(layer, DENSE)]
    groups = _groups(
        {name: makes[name] for name in makers}, set(np.concatenate([units[ids] for ids in fixed]).tolist())
    )
    return Wiring(reads, makes, groups, int(units.max()) + 1)


class _Channels:
    """Numbers for the channels of all tensors, and which of them have been tied (union-find)."""

    def __init__(self):
        self.of, self._parent = {}, []

    def new(self, count: int) -> np.ndarray:
        first = len(self._parent)
        self._parent += range(first, first + count)
        return np.arange(first, first + count)

    def tie(self, some: np.ndarray, others: np.ndarray) -> None:
        for a, b in zip(some.tolist(), others.tolist()):
            a, b = self._root(a), self._root(b)
            self._parent[max(a, b)] = min(a, b)

    def units(self) -> np.ndarray:
        """The unit of each channel, numbered from 0 in the order of their first channels."""
        return np.unique([self._root(channel) for channel in range(len(self._parent))], return_inverse=True)[1]

    def _root(self, channel):
        while self._parent[channel] != channel:
            self._parent[channel] = channel = self._parent[self._parent[channel]]
        return channel


def _follow(layer, inputs, channels):
    """The channels that a layer puts out."""
    if isinstance(layer, (layers.InputLayer, *DENSE)):
        if getattr(layer, "groups", 1) != 1:
            raise DeepLabError(f"The layer {layer.name} is a grouped convolution, whose channels cannot be pruned.")
        return channels.new(layer.output.shape[-1])
    if isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3):
        return np.concatenate(inputs)
    if isinstance(layer, _TIES) and len({len(ids) for ids in inputs}) == 1:
        for others in inputs[1:]:
            channels.tie(inputs[0], others)
        return inputs[0]
    passes = len(inputs) == 1 and layer.output.shape[-1] == len(inputs[0]) and not isinstance(layer, _REARRANGES)
    weights = (
        isinstance(layer, (layers.BatchNormalization, layers.Normalization, layers.DepthwiseConv2D))
        or not layer.weights
    )
    if isinstance(layer, Upsample) or passes and weights:
        return inputs[0]
    raise DeepLabError(
        f"The layer {layer.name} is a {type(layer).__name__}, through which channels cannot be followed for pruning."
    )


def _groups(makes, fixed):
    makers = {}
    for name, units in makes.items():
        for unit in units.tolist():
            makers.setdefault(unit, []).append(name)
    groups = {}
    for unit, names in makers.items():
        if unit not in fixed:
            groups.setdefault(tuple(names), []).append(unit)
    return tuple(Group(names, np.array(units)) for names, units in groups.items())


def _list(tensors):
    return tensors if isinstance(tensors, (list, tuple)) else [tensors]
