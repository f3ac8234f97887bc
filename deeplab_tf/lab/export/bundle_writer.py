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
from deeplab_tf.deploy.conversion import DEFAULT_TARGETS
from deeplab_tf.lab.export import graph, onnx_model, qdq, quantize, tflite
from deeplab_tf.lab.export.calibration import Calibration, calibrate
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.layer_costs import network_layers
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.nodes import Network

Files = dict[str, Callable[[Path], object]]
"""What writes a file or folder of a bundle, by its name."""


class ExportOptions(NamedTuple):
    """What to write.

    Attributes:
        size: height, width of the frames that the network takes.
        output: "labels" or "logits".
        label_stride: 1, 4 or 8; see `head.with_head`.
        targets: of `conversion.TARGETS`.
        int8: also calibrate and quantize.
        calibration: of `core.calibration.METHODS`; None selects by measured agreement.
        calibration_images: frames to calibrate on; those beyond are held out.
    """

    size: tuple[int, int]
    output: str = "labels"
    label_stride: int = 1
    targets: tuple[str, ...] = DEFAULT_TARGETS
    int8: bool = False
    calibration: str | None = None
    calibration_images: int = 100


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
    floats = onnx_model.onnx_model(network, options.size)
    files = _float_files(network, floats, options)
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
        plan = calibration.plan(network)
        info.update(calibration=_calibration_info(calibration, plan, trained is not None), ranges=plan.all_ranges)
        files.update(_int8_files(network, floats, options, calibration.measured, plan))
    for name, write_file in progress(files.items(), "convert", unit="files"):
        start, path = time.monotonic(), Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path)
        info["seconds"][name] = time.monotonic() - start
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


def _float_files(network, floats, options) -> Files:
    files: Files = {}
    for target, name in (("tensorflow", "saved_model"), ("tf_trt", "tf_trt/float")):
        if name.split("/")[0] in options.targets:
            files[name] = partial(_write_graph, network, options.size, target, None)
    if options.int8 or {"onnx", "openvino", "tensorrt"} & set(options.targets):
        files["model.onnx"] = partial(onnx_model.save, floats)
    if "litert" in options.targets:
        files["model_float16.tflite"] = partial(tflite.write_float16, network, options.size)
    return files


def _int8_files(network, floats, options, measured, plan) -> Files:
    files: Files = {}
    if "tf_trt" in options.targets:
        quantized = quantize.with_quantized_weights(network, plan)
        files["tf_trt/int8"] = partial(_write_graph, quantized, options.size, "tf_trt", plan.all_ranges)
    if "tensorrt" in options.targets:
        files["model_int8.onnx"] = partial(_write_int8, qdq.for_tensorrt, floats, network, plan)
        cache = qdq.calibration_cache(qdq.tensor_ranges(floats, {**measured, **plan.all_ranges}))
        files["calibration.cache"] = lambda path: path.write_text(cache, encoding="ascii")
    elif "openvino" in options.targets:
        files["model_int8.onnx"] = partial(_write_int8, qdq.for_tensorrt, floats, network, plan)
    if "litert" in options.targets:
        files["model_int8.tflite"] = partial(tflite.write_int8, network, options.size, plan)
    files["model_int8_cpu.onnx"] = partial(_write_int8, qdq.for_cpu, floats, network, plan)
    return files


def _write_graph(network, size, target, ranges, path):
    graph.write_saved_model(graph.frozen_graph(network, size, target=target, ranges=ranges), path)


def _write_int8(write, floats, network, plan, path):
    onnx_model.save(write(floats, network, plan), path)


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
        data: the dataset in the run's recipe.
    """
    kept = {key: value for key, value in info.items() if key != "seconds"}
    bundle.seal(folder, {**kept, "scores": scores, "data": data})
