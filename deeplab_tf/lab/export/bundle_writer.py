"""Write the files of a bundle from a Keras network."""

import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
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
from deeplab_tf.deploy.budget.workload import to_rows
from deeplab_tf.deploy.conversion import TARGETS
from deeplab_tf.lab.export import graph, onnx_model, qdq, quantize
from deeplab_tf.lab.export.calibration import Calibration, calibrate
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.layer_costs import network_layers
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.nodes import Network


class ExportOptions(NamedTuple):
    """What to write.

    Attributes:
        size: height, width of the frames that the network takes.
        output: "labels" or "logits".
        label_stride: 1, 4 or 8; see `head.with_head`.
        targets: of TARGETS.
        int8: also calibrate and quantize.
        calibration: of `core.calibration.METHODS`; None selects by measured agreement.
        calibration_images: frames to calibrate on; those beyond are held out.
    """

    size: tuple[int, int]
    output: str = "labels"
    label_stride: int = 1
    targets: tuple[str, ...] = TARGETS
    int8: bool = False
    calibration: str | None = None
    calibration_images: int = 100

    @property
    def onnx(self) -> bool:
        """Whether the float ONNX file is written."""
        return self.int8 or bool({"onnx", "tensorrt"} & set(self.targets))

    @property
    def files(self) -> int:
        """Number of files and folders that are written."""
        floats = ("saved_model" in self.targets) + ("tf_trt" in self.targets) + self.onnx
        return floats + self.int8 * (("tf_trt" in self.targets) + 2 * ("tensorrt" in self.targets) + 1)


def write(
    folder: str | Path,
    model: keras.Model,
    table: LabelTable,
    options: ExportOptions,
    frames: Sequence[np.ndarray] = (),
    trained: Calibration | None = None,
) -> dict:
    """Fill a folder with the files of a bundle, except bundle.json.

    Args:
        model: trained, one of `deeplab_tf.lab.models`.
        table: its classes.
        frames: for INT8, the images to calibrate on: (H, W, 3) uint8 RGB at `options.size`.
        trained: for INT8, the calibration of the network's quantization-aware training; nothing else is calibrated.

    Returns:
        The contents of bundle.json: classes, size, layout, label_stride, output, instances, layers, precision, versions
        and, with INT8, calibration and ranges; and `seconds`, not for bundle.json: how long each file took.

    Raises:
        DeepLabError: the network cannot be exported, or there is nothing to calibrate on.
    """
    network = with_head(read_network(model), label_stride=options.label_stride, output=options.output)
    info = _info(network, table, options)
    with progress(options.files, "convert", unit="files") as bar:
        write_file = _FileWriter(Path(folder), bar, info["seconds"])
        _write_graphs(write_file, network, options)
        if options.onnx:
            floats = onnx_model.onnx_model(network, options.size)
            write_file("model.onnx", partial(onnx_model.save, floats))
        if options.int8:
            calibration = trained or calibrate(
                floats,
                network,
                frames,
                table,
                method=options.calibration,
                images=options.calibration_images,
                label_stride=options.label_stride,
            )
            write_file.note("calibration")
            plan = calibration.plan(network)
            info.update(calibration=_calibration_info(calibration, plan, trained is not None), ranges=plan.all_ranges)
            _write_int8(write_file, floats, network, options, calibration.measured, plan)
    return info


def _info(network: Network, table, options) -> dict:
    return {
        "classes": table.to_dicts(),
        "size": list(options.size),
        "layout": "NHWC",
        "label_stride": options.label_stride,
        "output": options.output,
        "instances": bool(network.instances),
        "layers": to_rows(network_layers(network, options.size)),
        "precision": ["float32"] + ["int8"] * options.int8,
        "versions": versions(),
        "seconds": {},
    }


def versions() -> dict[str, str]:
    """Return the versions of what writes a bundle."""
    packages = {"tensorflow": tf, "keras": keras, "onnx": onnx, "onnxruntime": onnxruntime, "numpy": np}
    found = {name: package.__version__ for name, package in packages.items()}
    return {"deeplab_tf": __version__, "python": platform.python_version(), **found}


class _FileWriter:
    """Writes files and notes how long each took."""

    def __init__(self, folder: Path, bar: progress, seconds: dict[str, float]):
        self.folder, self.bar, self.seconds = folder, bar, seconds
        self.start = time.monotonic()

    def __call__(self, name: str, write: Callable[[Path], object]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        self.bar.advance(1, name)
        self.note(name)

    def note(self, name: str) -> None:
        """Count the time since the last note to `name`."""
        now = time.monotonic()
        self.seconds[name], self.start = now - self.start, now


def _write_graphs(write_file, network, options):
    for target, name in (("saved_model", "saved_model"), ("tf_trt", "tf_trt/float")):
        if target in options.targets:
            kind = "tensorflow" if target == "saved_model" else target
            frozen = graph.frozen_graph(network, options.size, target=kind)
            write_file(name, partial(graph.write_saved_model, frozen))


def _write_int8(write_file, floats, network, options, measured, plan):
    if "tf_trt" in options.targets:
        quantized = quantize.with_quantized_weights(network, plan)
        frozen = graph.frozen_graph(quantized, options.size, target="tf_trt", ranges=plan.all_ranges)
        write_file("tf_trt/int8", partial(graph.write_saved_model, frozen))
    if "tensorrt" in options.targets:
        write_file("model_int8.onnx", lambda path: onnx_model.save(qdq.for_tensorrt(floats, network, plan), path))
        cache = qdq.calibration_cache({**measured, **plan.all_ranges})
        write_file("calibration.cache", lambda path: path.write_text(cache, encoding="ascii"))
    write_file("model_int8_cpu.onnx", lambda path: onnx_model.save(qdq.for_cpu(floats, network, plan), path))


def _calibration_info(calibration, plan, trained):
    return {
        "method": calibration.method,
        "frames": calibration.frames,
        "trained": trained,
        "agreement": {} if trained else calibration.agreement,  # of a trained one: of the network before its training
        "float_layers": list(calibration.float_layers),
        "left_in_float": plan.excluded,
        "largest_range": max(plan.ranges.values()),
    }


def finish(folder: str | Path, info: dict, scores: dict, data: dict) -> None:
    """Write bundle.json.

    Args:
        info: of `write`.
        scores: measured at export.
        data: the data set in the run's recipe.
    """
    kept = {key: value for key, value in info.items() if key != "seconds"}
    bundle.seal(folder, {**kept, "scores": scores, "data": data})
