"""`convert` on the lab: from a run to a bundle."""

import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from deeplab_tf import __version__, bundle
from deeplab_tf.budget.layers import to_rows
from deeplab_tf.conversion import TARGETS
from deeplab_tf.export import calibrate, graph, onnx_model, qdq, quantize
from deeplab_tf.export.layers import network_layers
from deeplab_tf.export.network import read_network, with_head
from deeplab_tf.export.nodes import Network
from deeplab_tf.labels import LabelTable
from deeplab_tf.metrics.panoptic import PanopticQuality
from deeplab_tf.panoptic.grouping import to_panoptic
from deeplab_tf.progress import progress
from deeplab_tf.runtimes import as_prediction

JUDGES = 8
"""Frames that are kept to choose between methods; fewer, a quarter, where there are fewer frames than were asked for."""
WORTHWHILE = 0.9
"""A layer stays float if that leaves less than this share of the disagreement with the float network."""


class Order(NamedTuple):
    """What is wanted.

    Attributes:
        size: height, width of the frames that the network will take.
        output: "labels" or "logits".
        label_stride: 1, 4 or 8; see `network.with_head`.
        targets: of TARGETS.
        int8: also calibrate and quantize.
        calibration: a method of `calibrate.METHODS`; None chooses by measured agreement.
        calibration_images: frames that ranges come from; those beyond judge between methods.
    """

    size: tuple[int, int]
    output: str = "labels"
    label_stride: int = 1
    targets: tuple[str, ...] = TARGETS
    int8: bool = False
    calibration: str | None = None
    calibration_images: int = 100


class Quantized(NamedTuple):
    """What calibration found.

    Attributes:
        method: of calibration.
        agreement: by method, how far the quantized network agreed with the float network; see `_Judge`.
        frames: how many the ranges come from.
    """

    plan: quantize.Plan
    ranges: dict[str, float]
    method: str
    agreement: dict[str, float]
    frames: int


def write(folder: str | Path, model: keras.Model, table: LabelTable, order: Order, frames: Iterable[np.ndarray] = ()) -> dict:
    """Fills a folder with the files of a bundle, but for bundle.json.

    Args:
        model: trained, from `deeplab_v3_plus`.
        table: its classes.
        frames: for int8, the images to calibrate on: (H, W, 3) uint8 RGB at `order.size`.

    Returns:
        What bundle.json says: classes, size, label_stride, output, instances, precision, versions and, with int8, calibration and ranges;
        and under `seconds`, which is not for bundle.json, how long each file took.

    Raises:
        DeepLabError: the network cannot be exported, or there is nothing to calibrate on.
    """
    folder, seconds = Path(folder), {}
    network = with_head(read_network(model), label_stride=order.label_stride, output=order.output)
    info = {
        "classes": table.to_dicts(),
        "size": list(order.size),
        "label_stride": order.label_stride,
        "output": order.output,
        "instances": bool(network.instances),
        "layers": to_rows(network_layers(network, order.size)),
        "precision": ["float32"] + ["int8"] * order.int8,
        "versions": versions(),
        "seconds": seconds,
    }
    with progress(_steps(order), "convert", unit="files") as bar:
        make = _Maker(folder, bar, seconds)
        if "saved_model" in order.targets:
            make("saved_model", lambda path: graph.write_saved_model(graph.frozen_graph(network, order.size), path))
        if "tf_trt" in order.targets:
            make("tf_trt/float", lambda path: graph.write_saved_model(graph.frozen_graph(network, order.size, target="tf_trt"), path))
        floats = None
        if order.int8 or {"onnx", "tensorrt"} & set(order.targets):
            floats = onnx_model.onnx_model(network, order.size)
            make("model.onnx", lambda path: onnx_model.save(floats, path))
        if order.int8:
            quantized = _quantize(floats, network, order, frames, table)
            make.restart("calibration")
            info.update(calibration=_calibration_info(quantized), ranges={**quantized.plan.ranges, **quantized.plan.sums})
            _write_int8(make, floats, network, order, quantized)
    return info


def versions() -> dict[str, str]:
    """What the bundle was made with."""
    packages = {"tensorflow": tf, "keras": keras, "onnx": onnx, "onnxruntime": onnxruntime, "numpy": np}
    found = {name: package.__version__ for name, package in packages.items()}
    return {"deeplab_tf": __version__, "python": platform.python_version(), **found}


class _Maker:
    """Makes files and notes how long each took."""

    def __init__(self, folder, bar, seconds):
        self.folder, self.bar, self.seconds = folder, bar, seconds
        self.start = time.monotonic()

    def __call__(self, name: str, write: Callable[[Path], None]):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        self.bar.advance(1, name)
        self.restart(name)

    def restart(self, name: str):
        """What was done until now belongs to `name`."""
        now = time.monotonic()
        self.seconds[name], self.start = now - self.start, now


def _steps(order):
    names = set(order.targets)
    floats = len(names & {"saved_model", "tf_trt"}) + (order.int8 or bool(names & {"onnx", "tensorrt"}))
    return floats + order.int8 * (("tf_trt" in names) + 2 * ("tensorrt" in names) + 1)


def _write_int8(make, floats, network, order, quantized):
    plan = quantized.plan
    if "tf_trt" in order.targets:
        rounded = quantize.with_rounded_weights(network, plan)
        limits = {**plan.ranges, **plan.sums}
        frozen = graph.frozen_graph(rounded, order.size, target="tf_trt", ranges=limits)
        make("tf_trt/int8", lambda path: graph.write_saved_model(frozen, path))
    if "tensorrt" in order.targets:
        make("model_int8.onnx", lambda path: onnx_model.save(qdq.for_tensorrt(floats, network, plan), path))
        cache = qdq.calibration_cache({**quantized.ranges, **plan.ranges, **plan.sums})
        make("calibration.cache", lambda path: path.write_text(cache, encoding="ascii"))
    make("model_int8_cpu.onnx", lambda path: onnx_model.save(qdq.for_cpu(floats, network, plan), path))


def _calibration_info(quantized):
    return {
        "method": quantized.method,
        "frames": quantized.frames,
        "agreement": quantized.agreement,
        "left_in_float": quantized.plan.excluded,
        "largest_range": max(quantized.plan.ranges.values()),
    }


def _quantize(floats, network: Network, order: Order, frames, table: LabelTable) -> Quantized:
    """Ranges by the method that agrees best with the float network on frames that the ranges do not come from, unless one is named."""
    frames = list(frames)
    count = min(JUDGES, max(len(frames) - order.calibration_images, len(frames) // 4))
    chosen = set(np.linspace(0, len(frames) - 1, count).round().astype(int).tolist())
    judges = [frame for i, frame in enumerate(frames) if i in chosen] or frames[:1]
    rest = [frame for i, frame in enumerate(frames) if i not in chosen]
    histograms = calibrate.measure(network, progress(rest, "calibrate"))
    judge = _Judge(floats, network, judges, order, table)
    methods = [order.calibration] if order.calibration else list(calibrate.METHODS)
    found = {method: calibrate.ranges(histograms, method) for method in methods}
    agreement = {method: judge(quantize.make_plan(network, measured)) for method, measured in found.items()}
    method = max(agreement, key=agreement.get)
    plan, measured = quantize.make_plan(network, found[method]), found[method]
    floating = []
    for layer in dict.fromkeys([quantize.first_convolution(network), *quantize.last_convolutions(network)]):
        trial = judge(quantize.make_plan(network, measured, float_layers=[*floating, layer]))
        agreement[f"{method}, {layer} in float"] = trial
        if 1 - trial < WORTHWHILE * (1 - judge(plan)):
            floating.append(layer)
            plan = quantize.make_plan(network, measured, float_layers=floating)
    return Quantized(plan, measured, method, agreement, len(rest))


class _Judge:
    """How far the network quantized by a plan says what the float network does, in ONNX Runtime on the CPU.

    That is the share of pixels with the same label or, with instances, the panoptic quality against the float network's.
    """

    def __init__(self, floats, network, frames, order, table):
        self.floats, self.network, self.frames = floats, network, frames
        self.table, self.stride = table, order.label_stride
        self.wanted = self._predictions(floats)
        self.known: dict = {}

    def __call__(self, plan: quantize.Plan) -> float:
        key = (tuple(plan.ranges.items()), tuple(plan.excluded))
        if key not in self.known:
            self.known[key] = self._agreement(self._predictions(qdq.for_cpu(self.floats, self.network, plan)))
        return self.known[key]

    def _agreement(self, predictions):
        if not self.network.instances:
            return float(np.mean([np.mean(a.label_map == b.label_map) for a, b in zip(predictions, self.wanted)]))
        quality = PanopticQuality(self.table)
        for wanted, got in zip(self.wanted, predictions):
            quality.update(*(to_panoptic(each, self.table, stride=self.stride)[0] for each in (wanted, got)))
        return quality.report()["pq"] or 0.0

    def _predictions(self, model):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        outputs = [session.run(None, {"image": frame[None].astype(np.float32)}) for frame in self.frames]
        return [as_prediction({name: array[0] for name, array in zip(names, each)}) for each in outputs]


def finish(folder: str | Path, info: dict, scores: dict, data: dict) -> None:
    """Adds bundle.json: what `write` returned, the scores measured at export, and where the run's data came from."""
    kept = {key: value for key, value in info.items() if key != "seconds"}
    bundle.seal(folder, {**kept, "scores": scores, "data": data})
