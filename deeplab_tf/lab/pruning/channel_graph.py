"""Coupled channels: which channels must be pruned together, read off a network's graph and not off names.

A unit is the smallest set of coupled channels: a channel of a convolution, and what depends on it alone (its batch
normalization, its depthwise kernel). Sums and products couple the channels of their inputs, position by position:
all blocks of a residual stage write the same units.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.custom_layers import Upsample
from deeplab_tf.lab.models.layer_graph import is_input, layer_inputs, output_layer

DENSE = (layers.Conv2D, layers.Dense)
"""Layers whose every output channel reads every input channel: units end and begin here. (A depthwise convolution is
no Conv2D.)"""
_COUPLING = (layers.Add, layers.Multiply, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum)
_REARRANGING = (layers.Reshape, layers.Flatten, layers.Permute, layers.Lambda)
_PER_CHANNEL = (layers.BatchNormalization, layers.Normalization, layers.DepthwiseConv2D)


class ChannelGroup(NamedTuple):
    """Units that the same dense layers write, such as the output of a residual stage."""

    layers: tuple[str, ...]
    units: np.ndarray


class ChannelGraph(NamedTuple):
    """The units of a network.

    Attributes:
        reads: by layer the unit of each input channel; layers with several inputs are missing.
        writes: by layer the unit of each output channel.
        groups: what may be pruned: all units but those of the image and of the network's outputs.
        num_units: of all units.
    """

    reads: dict[str, np.ndarray]
    writes: dict[str, np.ndarray]
    groups: tuple[ChannelGroup, ...]
    num_units: int


def read_channel_graph(model: keras.Model) -> ChannelGraph:
    """Read the units of a functional model.

    Raises:
        DeepLabError: a layer whose channels cannot be followed; it is named.
    """
    channels, parents = _Channels(), layer_inputs(model)
    reads: dict[str, np.ndarray] = {}
    writes: dict[str, np.ndarray] = {}
    for layer in model.operations:
        inputs = [writes[parent.name] for parent in parents[layer.name]]
        if len(inputs) == 1 or isinstance(layer, Upsample):
            reads[layer.name] = inputs[0]
        writes[layer.name] = _follow(layer, inputs, channels)
    ends = [layer for layer in model.operations if is_input(layer)] + [
        output_layer(model, name) for name in model.output
    ]
    units = channels.units()
    fixed = set(np.concatenate([units[writes[layer.name]] for layer in ends]).tolist())
    reads, writes = ({name: units[ids] for name, ids in found.items()} for found in (reads, writes))
    dense = [layer.name for layer in model.layers if isinstance(layer, DENSE)]
    groups = _groups({name: writes[name] for name in dense}, fixed)
    return ChannelGraph(reads, writes, groups, int(units.max()) + 1)


class _Channels:
    """Numbers for the channels of all tensors, and which of them are coupled (union-find)."""

    def __init__(self):
        self._parent: list[int] = []

    def new(self, count: int) -> np.ndarray:
        first = len(self._parent)
        self._parent += range(first, first + count)
        return np.arange(first, first + count)

    def couple(self, some: np.ndarray, others: np.ndarray) -> None:
        for a, b in zip(some.tolist(), others.tolist()):
            a, b = self._root(a), self._root(b)
            self._parent[max(a, b)] = min(a, b)

    def units(self) -> np.ndarray:
        """Return the unit of each channel, numbered from 0 in the order of their first channels."""
        return np.unique([self._root(channel) for channel in range(len(self._parent))], return_inverse=True)[1]

    def _root(self, channel):
        while self._parent[channel] != channel:
            self._parent[channel] = channel = self._parent[self._parent[channel]]
        return channel


def _follow(layer, inputs, channels):
    """Return the channels that a layer writes."""
    if is_input(layer) or isinstance(layer, DENSE):
        if getattr(layer, "groups", 1) != 1:
            raise DeepLabError(f"The layer {layer.name} is a grouped convolution, whose channels cannot be pruned.")
        return channels.new(layer.output.shape[-1])
    if isinstance(layer, layers.Concatenate) and layer.axis in (-1, 3):
        return np.concatenate(inputs)
    if isinstance(layer, _COUPLING) and len({len(ids) for ids in inputs}) == 1:
        for others in inputs[1:]:
            channels.couple(inputs[0], others)
        return inputs[0]
    passes = len(inputs) == 1 and layer.output.shape[-1] == len(inputs[0]) and not isinstance(layer, _REARRANGING)
    if isinstance(layer, Upsample) or passes and (isinstance(layer, _PER_CHANNEL) or not getattr(layer, "weights", ())):
        return inputs[0]
    if isinstance(layer, layers.LayerNormalization):
        raise DeepLabError(
            f"A Transformer cannot be pruned: {layer.name} normalizes its channels together, so that without one the "
            "others change."
        )
    raise DeepLabError(
        f"The layer {layer.name} is a {type(layer).__name__}, through which channels cannot be followed for pruning."
    )


def _groups(writes, fixed):
    writers: dict[int, list[str]] = {}
    for name, units in writes.items():
        for unit in units.tolist():
            writers.setdefault(unit, []).append(name)
    groups: dict[tuple[str, ...], list[int]] = {}
    for unit, names in writers.items():
        if unit not in fixed:
            groups.setdefault(tuple(names), []).append(unit)
    return tuple(ChannelGroup(names, np.array(units)) for names, units in groups.items())
