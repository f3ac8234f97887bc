"""Calibrate a network: choose the ranges with which its INT8 network agrees best with the float network."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from deeplab_tf.core.calibration import METHODS
from deeplab_tf.core.input_files import Value, read_json
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.core.predictor import as_prediction
from deeplab_tf.core.progress import progress
from deeplab_tf.deploy.runtimes.onnx import session
from deeplab_tf.lab.export import qdq, quantize
from deeplab_tf.lab.export.calibration_methods import tensor_ranges
from deeplab_tf.lab.export.histograms import collect_histograms
from deeplab_tf.lab.export.nodes import Network

FILE = "ranges.json"
"""In a run with quantization-aware training: its calibration."""
MAX_RANGE = 1e30
"""Of a tensor; as wide as float32 would be useless."""
HELD_OUT = 8
"""Frames that select the method and are not calibrated on; a quarter, if fewer frames than asked for are there."""
MINIMUM_GAIN = 0.005
"""A first or last layer stays float if that raises agreement by this much; less is not worth its time."""


class Calibration(NamedTuple):
    """The result of a calibration.

    Attributes:
        measured: range of every tensor.
        float_layers: convolutions that stay float because that agrees better.
        method: of `core.calibration.METHODS`.
        agreement: by method, agreement of the INT8 network with the float network, see `_Agreement`.
        frames: number of frames calibrated on.
    """

    measured: dict[str, float]
    float_layers: list[str]
    method: str
    agreement: dict[str, float]
    frames: int

    def plan(self, network: Network) -> quantize.Plan:
        """Return the plan for the network, with any head."""
        return quantize.make_plan(network, self.measured, float_layers=self.float_layers)

    def to_json(self) -> str:
        """Return the text of a run's FILE."""
        return json.dumps(self._asdict(), indent=1)


def load(run_dir: str | Path) -> Calibration | None:
    """Return the calibration of a run with quantization-aware training; None for another run.

    Raises:
        DeepLabError: the file is damaged.
    """
    path = Path(run_dir, FILE)
    if not os.path.lexists(path):
        return None
    value = Value(read_json(path), str(path))
    return Calibration(
        measured={name: limit.number(0, MAX_RANGE) for name, limit in value["measured"].items()},
        float_layers=[name.text() for name in value["float_layers"].rows()],
        method=value["method"].one_of(METHODS),
        agreement={name: share.number(0, 1) for name, share in value["agreement"].items()},
        frames=value["frames"].integer(1, 1_000_000),
    )


def calibrate(
    floats: onnx.ModelProto,
    network: Network,
    frames: Sequence[np.ndarray],
    table: LabelTable,
    *,
    method: str | None = None,
    images: int = 100,
    label_stride: int = 1,
) -> Calibration:
    """Return the ranges that agree best with the float network on held-out frames.

    Args:
        floats: the network as ONNX; see `onnx_model`.
        network: with its head.
        frames: (H, W, 3) uint8 RGB at the network's size.
        table: its classes.
        method: use this one, of `core.calibration.METHODS`.
        images: frames to calibrate on; those beyond, HELD_OUT at most, are held out.
        label_stride: of the network's head.

    Raises:
        DeepLabError: there are no frames, or a tensor is not finite.
    """
    fitted, held_out = _split(list(frames), images)
    histograms = collect_histograms(network, progress(fitted, "calibrate"))
    agreement_of = _Agreement(floats, network, held_out, table, label_stride)
    found = {name: tensor_ranges(histograms, name) for name in ([method] if method else METHODS)}
    agreement = {name: agreement_of(quantize.make_plan(network, measured)) for name, measured in found.items()}
    method = max(agreement, key=lambda name: agreement[name])
    best, measured = agreement[method], found[method]
    float_layers: list[str] = []
    for layer in dict.fromkeys([quantize.first_convolution(network), *quantize.last_convolutions(network)]):
        trial = agreement_of(quantize.make_plan(network, measured, float_layers=[*float_layers, layer]))
        agreement[f"{method}, {layer} in float"] = trial
        if trial - best >= MINIMUM_GAIN:
            float_layers.append(layer)
            best = trial
    return Calibration(measured, float_layers, method, agreement, len(fitted))


def _split(frames, images):
    """Frames to calibrate on and held-out ones, spread evenly; one alone is both."""
    count = min(HELD_OUT, max(len(frames) - images, len(frames) // 4))
    chosen = set(np.linspace(0, len(frames) - 1, count).round().astype(int).tolist())
    held_out = [frame for i, frame in enumerate(frames) if i in chosen] or frames[:1]
    return [frame for i, frame in enumerate(frames) if i not in chosen], held_out


class _Agreement:
    """Agreement of the INT8 network of a plan with the float network, in ONNX Runtime on the CPU.

    Pixel agreement or, with instances, the panoptic quality with the float network's prediction as the truth.
    """

    def __init__(self, floats, network, frames, table, label_stride):
        self.floats, self.network, self.frames = floats, network, frames
        self.table, self.stride = table, label_stride
        self.expected = self._predictions(floats)

    def __call__(self, plan: quantize.Plan) -> float:
        predictions = self._predictions(qdq.for_cpu(self.floats, self.network, plan))
        pairs = list(zip(self.expected, predictions))
        if not self.network.instances:
            return float(np.mean([np.mean(a.label_map == b.label_map) for a, b in pairs]))
        quality = PanopticQuality(self.table)
        for pair in pairs:
            quality.update(*(to_panoptic(each, self.table, stride=self.stride)[0] for each in pair))
        return quality.report()["pq"] or 0.0

    def _predictions(self, model):
        opened = session(model.SerializeToString())
        names = [output.name for output in opened.get_outputs()]
        outputs = [opened.run(None, {"image": frame[None].astype(np.float32)}) for frame in self.frames]
        named = ({name: array[0] for name, array in zip(names, each)} for each in outputs)
        return [as_prediction(each, len(self.table)) for each in named]
