"""Choose how many channels each group keeps: greedily the least important go for what they cost."""

import heapq
from collections.abc import Callable

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.budget.workload import Layer
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.layer_costs import network_layers
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network
from deeplab_tf.lab.pruning.channel_graph import ChannelGraph

MULTIPLE = 8
"""Channels are kept in multiples of this, as tensor cores and vector units compute, and at least so many."""


class PrunedLayers:
    """The layers of a network, as `budget` counts them, for any numbers of channels in its groups."""

    def __init__(self, model, graph: ChannelGraph, size: tuple[int, int]):
        """`size`: height, width of the image for which layers are counted."""
        self._network, self._size = with_head(read_network(model)), size
        group_of = np.full(graph.num_units, len(graph.groups))
        for index, group in enumerate(graph.groups):
            group_of[group.units] = index
        self._parts = {
            node.name: [
                np.bincount(group_of[units[node.name]], minlength=len(graph.groups) + 1)
                for units in (graph.reads, graph.writes)
            ]
            for node in self._network.nodes
            if node.op in CONVOLUTIONS
        }
        self._full = np.array([len(group.units) for group in graph.groups] + [1])

    def layers(self, counts: np.ndarray) -> list[Layer]:
        """Return the layers where each group has `counts` (groups,) channels."""
        share = np.append(counts, 1) / self._full
        nodes = [self._resized(node, share) if node.op in CONVOLUTIONS else node for node in self._network.nodes]
        return network_layers(Network(tuple(nodes), self._network.instances), self._size)

    def _resized(self, node, share):
        """Return the node with kernels of other shapes, and without their values."""
        inputs, outputs = (int(round(float(part @ share))) for part in self._parts[node.name])
        rows, columns = node.weights["kernel"].shape[:2]
        shape = (rows, columns, inputs, 1 if node.op == "depthwise" else outputs)
        weights = {"kernel": np.broadcast_to(np.float32(0), shape), "bias": np.broadcast_to(np.float32(0), (outputs,))}
        return node._replace(weights=weights)


def choose_units(
    graph: ChannelGraph, importance: np.ndarray, cost: Callable[[np.ndarray], float], limit: float
) -> np.ndarray:
    """Choose the units that stay, so that the cost is at most `limit`; return (units,) bool.

    In each group the least important go first, as many at a time as bring its count down to the next multiple of 8. Of
    all groups that one is next which loses the least importance for what is saved. The saving of a step only falls as
    others are taken, so an earlier saving is a bound, and only the leading group is computed again.

    Args:
        graph: the units.
        importance: (units,) of each unit; comparable between groups.
        cost: the number of channels of every group -> what the network costs.
        limit: the highest cost.

    Raises:
        Unreachable: the smallest possible network costs more.
    """
    check_reachable(graph, cost, limit)
    counts = np.array([len(group.units) for group in graph.groups])
    least = np.minimum(counts, MULTIPLE)
    order = [group.units[np.argsort(importance[group.units], kind="stable")] for group in graph.groups]
    now = cost(counts)

    def step(index):
        """Return the next step in a group: importance lost per cost saved, the cost after it, and the count."""
        fewer = counts.copy()
        fewer[index] = max(least[index], (counts[index] - 1) // MULTIPLE * MULTIPLE)
        gone = order[index][len(order[index]) - counts[index] : len(order[index]) - fewer[index]]
        after = cost(fewer)
        return importance[gone].sum() / max(now - after, 1e-30), after, int(fewer[index])

    queue = [(step(index)[0], index) for index in range(len(counts)) if counts[index] > least[index]]
    heapq.heapify(queue)
    while now > limit:
        _, index = heapq.heappop(queue)
        price, after, count = step(index)
        if queue and price > queue[0][0]:
            heapq.heappush(queue, (price, index))
            continue
        counts[index], now = count, after
        if count > least[index]:
            heapq.heappush(queue, (step(index)[0], index))
    keep = np.ones(graph.num_units, bool)
    for index, units in enumerate(order):
        keep[units[: len(units) - counts[index]]] = False
    return keep


def check_reachable(graph: ChannelGraph, cost: Callable[[np.ndarray], float], limit: float) -> None:
    """Raise Unreachable where the smallest possible network costs more than `limit`."""
    smallest = cost(np.array([min(len(group.units), MULTIPLE) for group in graph.groups]))
    if smallest > limit:
        raise Unreachable(smallest)


class Unreachable(DeepLabError):
    """The limit is below `args[0]`, the cost of the smallest possible network."""
