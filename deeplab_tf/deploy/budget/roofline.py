"""The roofline model: the time of a layer is max(compute time, memory time) (Williams et al., CACM 2009)."""

from typing import List, NamedTuple, Optional, Sequence

from deeplab_tf.deploy.budget.devices import EFFICIENCIES, Device, Efficiency
from deeplab_tf.deploy.budget.workload import Layer


class LayerTime(NamedTuple):
    """Seconds of a layer on a device: the longer of `compute` and `memory`, and `launch`."""

    layer: Layer
    compute: float
    memory: float
    launch: float

    @property
    def seconds(self) -> float:
        return max(self.compute, self.memory) + self.launch


def upper_bound(layers: Sequence[Layer], device: Device, precision: str) -> List[LayerTime]:
    """Return the times at full peak and bandwidth: a bound, unless fewer multiplications are done than counted."""
    peak = device.peak[precision]
    return [LayerTime(each, 2 * each.macs / peak, each.traffic(precision) / device.bandwidth, 0.0) for each in layers]


def estimate(
    layers: Sequence[Layer], device: Device, precision: str, efficiency: Optional[Efficiency] = None
) -> List[LayerTime]:
    """Return the times at the efficiency that networks were measured to attain: the device's, unless one is given."""
    attained, times = efficiency or EFFICIENCIES[device.efficiency], []
    for layer in layers:
        rate = getattr(attained, layer.kind, 1.0) * device.peak[precision]
        memory = layer.traffic(precision) / (attained.memory * device.bandwidth)
        times.append(LayerTime(layer, 2 * layer.macs / rate, memory, attained.launch))
    return times


def seconds(times: Sequence[LayerTime]) -> float:
    """Return the seconds per frame."""
    return sum(time.seconds for time in times)


def fps(times: Sequence[LayerTime]) -> float:
    """Return the frames/s."""
    return 1.0 / seconds(times)
