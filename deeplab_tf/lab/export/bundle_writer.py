"""`convert` on the lab: from a run to a bundle."""

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from deeplab_tf.core import __version__, bundle
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.progress import progress
from deeplab_tf.deploy.budget.layers import to_rows
from deeplab_tf.deploy.conversion import TARGETS
from deeplab_tf.lab.export import graph, onnx_model, qdq, quantize
from deeplab_tf.lab.export.layers import network_layers
from deeplab_tf.lab.export.network import read_network, with_head
from deeplab_tf.lab.export.ranges import Ranges, choose


class ExportOptions(NamedTuple):
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


def write(
    folder: str | Path,
    model: keras.Model,
    table: LabelTable,
    options: ExportOptions,
    frames: Sequence[np.ndarray] = (),
    trained: Ranges | None = None,
) -> dict:
    """Fills a folder with the files of a bundle, but for bundle.json.

    Args:
        model: trained, from `deeplab_v3_plus`.
        table: its classes.
        frames: for int8, the images to calibrate on: (H, W, 3) uint8 RGB at `options.size`.
        trained: for int8, the ranges that the network was trained with; then nothing is calibrated.

    Returns:
        What bundle.json says: classes, size, layout, label_stride, output, instances, precision, versions and, with
        int8, calibration and ranges; and under `seconds`, which is not for bundle.json, how long each file took.

    Raises:
        DeepLabError: the network cannot be exported, or there is nothing to calibrate on.
    """
    folder, seconds = Path(folder), {}
    network = with_head(read_network(model), label_stride=options.label_stride, output=options.output)
    info = {
        "classes": table.to_dicts(),
        "size": list(options.size),
        "layout": "NHWC",
        "label_stride": options.label_stride,
        "output": options.output,
        "instances": bool(network.instances),
        "layers": to_rows(network_layers(network, options.size)),
        "precision": ["float32"] + ["int8"] * options.int8,
        "versions": versions(),
        "seconds": seconds,
    }
    with progress(_steps(options), "convert", unit="files") as bar:
        make = _Maker(folder, bar, seconds)
        if "saved_model" in options.targets:
            make("saved_model", lambda path: graph.write_saved_model(graph.frozen_graph(network, options.size), path))
        if "tf_trt" in options.targets:
            make(
                "tf_trt/float",
                lambda path: graph.write_saved_model(graph.frozen_graph(network, options.size, target="tf_trt"), path),
            )
        floats = None
        if options.int8 or {"onnx", "tensorrt"} & set(options.targets):
            floats = onnx_model.onnx_model(network, options.size)
            make("model.onnx", lambda path: onnx_model.save(floats, path))
        if options.int8:
            choices = {
                "method": options.calibration,
                "images": options.calibration_images,
                "label_stride": options.label_stride,
            }
            found = trained or choose(floats, network, frames, table, **choices)
            make.restart("calibration")
            plan = found.plan(network)
            info.update(
                calibration=_calibration_info(found, plan, trained is not None), ranges={**plan.ranges, **plan.sums}
            )
            _write_int8(make, floats, network, options, found.measured, plan)
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


def _steps(options):
    names = set(options.targets)
    floats = len(names & {"saved_model", "tf_trt"}) + (options.int8 or bool(names & {"onnx", "tensorrt"}))
    return floats + options.int8 * (("tf_trt" in names) + 2 * ("tensorrt" in names) + 1)


def _write_int8(make, floats, network, options, measured, plan):
    if "tf_trt" in options.targets:
        rounded = quantize.with_rounded_weights(network, plan)
        limits = {**plan.ranges, **plan.sums}
        frozen = graph.frozen_graph(rounded, options.size, target="tf_trt", ranges=limits)
        make("tf_trt/int8", lambda path: graph.write_saved_model(frozen, path))
    if "tensorrt" in options.targets:
        make("model_int8.onnx", lambda path: onnx_model.save(qdq.for_tensorrt(floats, network, plan), path))
        cache = qdq.calibration_cache({**measured, **plan.ranges, **plan.sums})
        make("calibration.cache", lambda path: path.write_text(cache, encoding="ascii"))
    make("model_int8_cpu.onnx", lambda path: onnx_model.save(qdq.for_cpu(floats, network, plan), path))


def _calibration_info(found, plan, trained):
    return {
        "method": found.method,
        "frames": found.frames,
        "trained": trained,
        "agreement": {} if trained else found.agreement,  # before the training it says nothing of the network now
        "float_layers": list(found.float_layers),
        "left_in_float": plan.excluded,
        "largest_range": max(plan.ranges.values()),
    }


def finish(folder: str | Path, info: dict, scores: dict, data: dict) -> None:
    """Adds bundle.json: what `write` returned, the scores measured at export, and where the run's data came from."""
    kept = {key: value for key, value in info.items() if key != "seconds"}
    bundle.seal(folder, {**kept, "scores": scores, "data": data})
