"""Seconds a frame, layer by layer: the longer of computing and moving bytes (Williams et al., CACM 2009, the
roofline)."""

from typing import List, NamedTuple, Optional, Sequence

from deeplab_tf.deploy.budget.devices import GAINS, Device, Gains
from deeplab_tf.deploy.budget.layers import Layer


class Cost(NamedTuple):
    """What one layer takes on a device, in seconds; it takes the longer of the first two."""

    layer: Layer
    computing: float
    moving: float
    start: float

    @property
    def seconds(self) -> float:
        return max(self.computing, self.moving) + self.start


def ceiling(layers: Sequence[Layer], device: Device, precision: str) -> List[Cost]:
    """Peak and bandwidth in full, nothing for starting: the most, unless fewer multiplications are computed than are
    counted."""
    peak = device.peak[precision]
    return [Cost(layer, 2 * layer.macs / peak, layer.traffic(precision) / device.bandwidth, 0.0) for layer in layers]


def expected(layers: Sequence[Layer], device: Device, precision: str, gains: Optional[Gains] = None) -> List[Cost]:
    """With the shares that networks have been measured to get: the device's own, unless others are given."""
    gains, costs = gains or GAINS[device.gains], []
    for layer in layers:
        share = getattr(gains, layer.kind, 1.0)
        moving = layer.traffic(precision) / (gains.memory * device.bandwidth)
        costs.append(Cost(layer, 2 * layer.macs / (share * device.peak[precision]), moving, gains.start))
    return costs


def fps(costs: Sequence[Cost]) -> float:
    """Frames a second."""
    return 1.0 / sum(cost.seconds for cost in costs)
