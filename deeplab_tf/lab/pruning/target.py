"""What a pruned network may cost: multiply-adds, or time per frame on a device."""

from collections.abc import Sequence
from typing import NamedTuple

from deeplab_tf.deploy.budget import roofline
from deeplab_tf.deploy.budget.devices import best_precision, find
from deeplab_tf.deploy.budget.workload import Layer, macs


class GmacTarget(NamedTuple):
    """At most `gmac` billion multiply-adds for a frame of `size` (height, width)."""

    size: tuple[int, int]
    gmac: float

    @property
    def limit(self) -> float:
        """The highest `cost` that meets the target."""
        return self.gmac

    def cost(self, layers: Sequence[Layer]) -> float:
        """Return billions of multiply-adds."""
        return macs(layers) / 1e9

    def text(self, cost: float) -> str:
        """Return a cost in words."""
        return f"{cost:.2f} billion multiply-adds"


class SpeedTarget(NamedTuple):
    """At least `fps` frames of `size` (height, width) per second, estimated for a device in its fastest precision."""

    size: tuple[int, int]
    device: str
    fps: float

    @property
    def limit(self) -> float:
        """The highest `cost` that meets the target."""
        return 1 / self.fps

    def cost(self, layers: Sequence[Layer]) -> float:
        """Return the estimated seconds per frame."""
        device = find(self.device)
        return roofline.seconds(roofline.estimate(layers, device, best_precision(device)))

    def text(self, cost: float) -> str:
        """Return a cost in words."""
        return f"{1 / cost:.1f} frames/s on {self.device} in {best_precision(find(self.device))}"


CostTarget = GmacTarget | SpeedTarget
