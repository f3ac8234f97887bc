"""Which ranges a network's integers get: those that agree best with the float network, or those that it was trained
with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.core.predictor import as_prediction
from deeplab_tf.core.progress import progress
from deeplab_tf.deploy.runtimes.onnx import session
from deeplab_tf.lab.export import calibrate, qdq, quantize
from deeplab_tf.lab.export.nodes import Network

FILE = "ranges.json"
"""In a run whose network was trained with them."""
JUDGES = 8
"""Frames that are kept to choose between methods; fewer, a quarter, where there are fewer frames than were asked
for."""
WORTHWHILE = 0.005
"""A first or last layer stays float if the network then agrees with the float network by so much more; less is not
worth its time."""


class Ranges(NamedTuple):
    """What calibration found.

    Attributes:
        measured: range of every tensor; see `quantize.make_plan`.
        float_layers: convolutions that stay float because that agrees better.
        method: of calibration.
        agreement: by method, how far the quantized network agreed with the float network; see `_Judge`.
        frames: how many the ranges come from.
    """

    measured: dict[str, float]
    float_layers: list[str]
    method: str
    agreement: dict[str, float]
    frames: int

    def plan(self, network: Network) -> quantize.Plan:
        """Where integers go in the network, with whatever head."""
        return quantize.make_plan(network, self.measured, float_layers=self.float_layers)

    def to_json(self) -> str:
        """The text of a run's FILE."""
        return json.dumps(self._asdict(), indent=1)


def load(run_dir: str | Path) -> Ranges | None:
    """The ranges that a run's network was trained with; None where it was trained without.

    Raises:
        DeepLabError: the file is damaged.
    """
    path = Path(run_dir, FILE)
    if not path.is_file():
        return None
    try:
        found = Ranges(**json.loads(path.read_text(encoding="utf-8")))
        return found._replace(measured={name: float(limit) for name, limit in found.measured.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DeepLabError(f"Cannot read the ranges that the network was trained with from {path}: {error}.") from error


def choose(
    floats: onnx.ModelProto,
    network: Network,
    frames: Sequence[np.ndarray],
    table: LabelTable,
    *,
    method: str | None = None,
    images: int = 100,
    label_stride: int = 1,
) -> Ranges:
    """Ranges by the method that agrees best with the float network on frames that the ranges do not come from, unless
    one is named.

    Args:
        floats: the network as ONNX; see `onnx_model`.
        network: with its head.
        frames: (H, W, 3) uint8 RGB at the network's size; those beyond `images` judge between methods.
        table: its classes.
        method: of `calibrate.METHODS`.
        images: frames that ranges come from.
        label_stride: of the network's head.

    Raises:
        DeepLabError: there are no frames, or a tensor is not finite.
    """
    frames = list(frames)
    count = min(JUDGES, max(len(frames) - images, len(frames) // 4))
    chosen = set(np.linspace(0, len(frames) - 1, count).round().astype(int).tolist())
    judges = [frame for i, frame in enumerate(frames) if i in chosen] or frames[:1]
    rest = [frame for i, frame in enumerate(frames) if i not in chosen]
    histograms = calibrate.measure(network, progress(rest, "calibrate"))
    judge = _Judge(floats, network, judges, table, label_stride)
    found = {name: calibrate.ranges(histograms, name) for name in ([method] if method else calibrate.METHODS)}
    agreement = {name: judge(quantize.make_plan(network, measured)) for name, measured in found.items()}
    method = max(agreement, key=agreement.get)
    best, floating = agreement[method], []
    for layer in dict.fromkeys([quantize.first_convolution(network), *quantize.last_convolutions(network)]):
        trial = judge(quantize.make_plan(network, found[method], float_layers=[*floating, layer]))
        agreement[f"{method}, {layer} in float"] = trial
        if trial - best >= WORTHWHILE:
            floating.append(layer)
            best = trial
    return Ranges(found[method], floating, method, agreement, len(rest))


class _Judge:
    """How far the network quantized by a plan says what the float network does, in ONNX Runtime on the CPU.

    That is the share of pixels with the same label or, with instances, the panoptic quality against the float
    network's.
    """

    def __init__(self, floats, network, frames, table, label_stride):
        self.floats, self.network, self.frames = floats, network, frames
        self.table, self.stride = table, label_stride
        self.wanted = self._predictions(floats)

    def __call__(self, plan: quantize.Plan) -> float:
        predictions = self._predictions(qdq.for_cpu(self.floats, self.network, plan))
        if not self.network.instances:
            return float(np.mean([np.mean(a.label_map == b.label_map) for a, b in zip(predictions, self.wanted)]))
        quality = PanopticQuality(self.table)
        for wanted, got in zip(self.wanted, predictions):
            quality.update(*(to_panoptic(each, self.table, stride=self.stride)[0] for each in (wanted, got)))
        return quality.report()["pq"] or 0.0

    def _predictions(self, model):
        opened = session(model.SerializeToString())
        names = [output.name for output in opened.get_outputs()]
        outputs = [opened.run(None, {"image": frame[None].astype(np.float32)}) for frame in self.frames]
        return [as_prediction({name: array[0] for name, array in zip(names, each)}) for each in outputs]
