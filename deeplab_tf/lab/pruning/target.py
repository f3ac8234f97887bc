"""What a network may cost: multiply-adds, or the time a frame that a device is expected to take."""

from collections.abc import Sequence
from typing import NamedTuple

from deeplab_tf.deploy.budget import roofline
from deeplab_tf.deploy.budget.devices import best_precision, find
from deeplab_tf.deploy.budget.workload import Layer, macs


class Target(NamedTuple):
    """Either `gmac`, or `device` and `fps`.

    Attributes:
        size: height, width of the image at which the network is counted.
        gmac: billions of multiply-adds a frame.
        device: one of `deeplab_tf.deploy.budget.devices`; its fastest precision counts.
        fps: frames/s that it is expected to reach.
    """

    size: tuple[int, int]
    gmac: float | None = None
    device: str | None = None
    fps: float | None = None

    @property
    def most(self) -> float:
        """The highest `cost` that is allowed."""
        return self.gmac if self.gmac is not None else 1 / self.fps

    def cost(self, layers: Sequence[Layer]) -> float:
        """Billions of multiply-adds, or seconds."""
        if self.gmac is not None:
            return macs(layers) / 1e9
        device = find(self.device)
        return sum(cost.seconds for cost in roofline.estimate(layers, device, best_precision(device)))

    def text(self, cost: float) -> str:
        """A cost in words."""
        if self.gmac is not None:
            return f"{cost:.2f} billion multiply-adds"
        return f"{1 / cost:.1f} frames/s on {self.device} in {best_precision(find(self.device))}"
