"""How many channels each group keeps: greedily those go whose loss is the cheapest for what they cost."""

import heapq
from collections.abc import Callable

import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.budget.workload import Layer
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.layer_costs import network_layers
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network
from deeplab_tf.lab.pruning.units import Wiring

MULTIPLE = 8
"""Counts of channels are multiples of this, which is what tensor cores and vector units take, and at least this."""


class Costs:
    """The layers of a network, as `budget` counts them, for any numbers of channels in its groups."""

    def __init__(self, model, wiring: Wiring, size: tuple[int, int]):
        """`size`: height, width of the image that is counted."""
        self._network, self._size = with_head(read_network(model)), size
        group_of = np.full(wiring.count, len(wiring.groups))
        for index, group in enumerate(wiring.groups):
            group_of[group.units] = index
        self._parts = {
            node.name: [
                np.bincount(group_of[units[node.name]], minlength=len(wiring.groups) + 1)
                for units in (wiring.reads, wiring.makes)
            ]
            for node in self._network.nodes
            if node.op in CONVOLUTIONS
        }
        self._full = np.array([len(group.units) for group in wiring.groups] + [1])

    def layers(self, counts: np.ndarray) -> list[Layer]:
        """The layers where each group has `counts` (groups,) channels."""
        share = np.append(counts, 1) / self._full
        nodes = [self._resized(node, share) if node.op in CONVOLUTIONS else node for node in self._network.nodes]
        return network_layers(Network(tuple(nodes), self._network.instances), self._size)

    def _resized(self, node, share):
        """The node with kernels of other shapes, of which only the shape is real."""
        inputs, outputs = (int(round(float(part @ share))) for part in self._parts[node.name])
        rows, columns = node.weights["kernel"].shape[:2]
        shape = (rows, columns, inputs, 1 if node.op == "depthwise" else outputs)
        weights = {"kernel": np.broadcast_to(np.float32(0), shape), "bias": np.broadcast_to(np.float32(0), (outputs,))}
        return node._replace(weights=weights)


def choose(wiring: Wiring, importance: np.ndarray, cost: Callable[[np.ndarray], float], target: float) -> np.ndarray:
    """(units,) bool: which units stay, so that the cost is at most `target`.

    In each group the least important go first, as many at a time as bring its count down to the next multiple of 8. Of
    all groups that one is next which loses the least importance for what is saved. What a step saves only falls as
    others are taken, so a saving computed before is a bound, and only the group that leads is computed anew.

    Args:
        importance: (units,) of each unit; comparable between groups.
        cost: the number of channels of every group -> what the network costs.

    Raises:
        Unreachable: the smallest network that can be left costs more than `target`.
    """
    check_reachable(wiring, cost, target)
    counts = np.array([len(group.units) for group in wiring.groups])
    least = np.minimum(counts, MULTIPLE)
    order = [group.units[np.argsort(importance[group.units], kind="stable")] for group in wiring.groups]
    now = cost(counts)

    def step(index):
        """(loss of importance for each unit of cost, cost after it) of the next step in a group."""
        fewer = counts.copy()
        fewer[index] = max(least[index], (counts[index] - 1) // MULTIPLE * MULTIPLE)
        gone = order[index][len(order[index]) - counts[index] : len(order[index]) - fewer[index]]
        after = cost(fewer)
        return importance[gone].sum() / max(now - after, 1e-30), after, int(fewer[index])

    queue = [(step(index)[0], index) for index in range(len(counts)) if counts[index] > least[index]]
    heapq.heapify(queue)
    while now > target:
        _, index = heapq.heappop(queue)
        price, after, count = step(index)
        if queue and price > queue[0][0]:
            heapq.heappush(queue, (price, index))
            continue
        counts[index], now = count, after
        if count > least[index]:
            heapq.heappush(queue, (step(index)[0], index))
    keep = np.ones(wiring.count, bool)
    for index, units in enumerate(order):
        keep[units[: len(units) - counts[index]]] = False
    return keep


def check_reachable(wiring: Wiring, cost: Callable[[np.ndarray], float], target: float) -> None:
    """Raises Unreachable where the smallest network that can be left costs more than `target`."""
    smallest = cost(np.array([min(len(group.units), MULTIPLE) for group in wiring.groups]))
    if smallest > target:
        raise Unreachable(smallest)


class Unreachable(DeepLabError):
    """The target is below `args[0]`, the cost of the smallest network that can be left."""
