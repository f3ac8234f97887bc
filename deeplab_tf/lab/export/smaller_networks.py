"""Smaller networks for `budget --suggest`."""

from collections.abc import Iterator, Sequence

from deeplab_tf.deploy.budget.workload import Layer
from deeplab_tf.lab.export.layer_costs import recipe_layers
from deeplab_tf.lab.models.registry import load_network_module

WIDTHS = {1.0: 256, 0.75: 192, 0.5: 128, 0.375: 96, 0.25: 64}
"""Channels of pyramid and decoder by width."""
OUTPUT_STRIDES = (16, 32)


class SmallerNetworks:
    """Changes to a recipe's `model` section that make its network smaller, and its layers, built when iterated."""

    def __init__(self, model: dict, size: tuple[int, int], classes: int):
        self._model = {**model, "channels": None}  # channels of a pruned network would outweigh the width
        self._size, self._classes = size, classes
        if "width" in model:
            widths = [width for width in WIDTHS if width <= model["width"]]
            self._changes = [self._change(width, stride) for width in widths for stride in OUTPUT_STRIDES]
        else:  # a network in sizes of its own, the smallest first
            sizes = list(load_network_module(model["name"]).VARIANTS)
            self._changes = [{"variant": name} for name in sizes[: sizes.index(model["variant"]) + 1]]

    def _change(self, width, stride):
        channels = {"aspp_channels": WIDTHS[width], "decoder_channels": WIDTHS[width], "head_channels": WIDTHS[width]}
        changes = {"width": width, "output_stride": stride, "separable": True, **channels}
        steps = self._model.get("decoder_channels")
        if isinstance(steps, Sequence):  # of a U-Net, in proportion
            changes["decoder_channels"] = [max(8, int(each * width / self._model["width"])) for each in steps]
        return {key: value for key, value in changes.items() if key in self._model}

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[tuple[dict, list[Layer]]]:
        for changes in self._changes:
            yield changes, recipe_layers({**self._model, **changes}, self._size, self._classes)
