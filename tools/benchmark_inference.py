"""Seconds a frame of a recipe's network: Keras, TensorFlow, ONNX Runtime in float and in 8-bit integers, OpenVINO where installed.

    python tools/benchmark_inference.py configs/cityscapes_resnet50.yaml [--size HxW] [--label-stride 1|4|8] [--keep DIR] [--json FILE]

Weights are random, since speed does not depend on them; ranges come from drawn scenes. The bundle is made as `deeplab-tf convert` makes
it. Every runtime runs the same frames in a process of its own, one after the other and back again (A B C C B A), warmed up first.
OpenVINO runs the bundle's model_int8_cpu.onnx and model.onnx. Take nothing else on the machine.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from deeplab_tf import device
from deeplab_tf.bundle import is_bundle, new_bundle, open_bundle
from deeplab_tf.compare.plan import Pair
from deeplab_tf.compare.runner import run_all
from deeplab_tf.labels import CITYSCAPES
from deeplab_tf.scenes import draw_scene

SECONDS = 8.0


def make_bundle(recipe, size, label_stride, folder):
    """The bundle of a recipe's network with random weights, calibrated on drawn scenes."""
    import keras

    from deeplab_tf.export import convert
    from deeplab_tf.training.config import load
    from deeplab_tf.training.fit import build_model

    config = load(recipe, ["model.weights=none"])
    size = size or config.size
    keras.utils.set_random_seed(0)
    model = build_model(config, len(CITYSCAPES), auxiliary=False)
    frames = [draw_scene(5, i, size).image for i in range(3)]
    _spread(model, frames)
    with new_bundle(folder) as part:
        order = convert.Order(size, label_stride=label_stride, int8=True, calibration="min-max", targets=("saved_model", "onnx"))
        info = convert.write(part, model, CITYSCAPES, order, frames)
        convert.finish(part, info, {}, config.data)
    model.save(Path(folder).with_suffix(".keras"))


def _spread(model, frames):
    """Running statistics that fit the frames, so that activations neither vanish nor explode."""
    import numpy as np

    norms = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
    for layer in norms:
        layer.gamma.assign(np.full(layer.gamma.shape, 0.3 if layer.name.endswith("_3_bn") else 1.0))
        layer.momentum = 0.0
    model(np.stack(frames[:1]).astype(np.float32)[:, ::2, ::2], training=True)


def keras_seconds(path, frame):
    """Of single frames in Keras."""
    import keras
    import numpy as np
    import tensorflow as tf

    import deeplab_tf.models.layers  # noqa: F401  (registers the layers)

    model = keras.models.load_model(path, compile=False)
    run = tf.function(lambda image: tf.argmax(model(image, training=False)["logits"], -1, tf.int32), jit_compile=False)
    return _times(lambda: run(tf.constant(frame[None].astype(np.float32))).numpy())


def openvino_seconds(path, frame):
    """Of single frames in OpenVINO, or None where it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    import numpy as np

    compiled = openvino.Core().compile_model(str(path), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return _times(lambda: compiled([frame[None].astype(np.float32)]))


def _times(run):
    run()
    run()
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def measure(folder):
    """(name, precision, median seconds, peak memory in MB or None) of everything that runs here."""
    bundle = open_bundle(folder)
    frame = draw_scene(6, 0, bundle.size).image
    pairs = [Pair("saved_model", "float32"), Pair("onnx", "float32"), Pair("onnx", "int8")]
    network = Path(folder).with_suffix(".keras")
    first = keras_seconds(network, frame)
    rows = []
    for outcome in run_all(bundle.path, pairs, frame[None], seconds=SECONDS):
        if outcome.error:
            raise SystemExit("{} failed: {}".format(outcome.pair, outcome.error))
        times = [
            sum(parts) / 1000
            for visit in outcome.visits
            for parts in zip(*(visit["latency_ms"][key] for key in ("upload", "run", "download")))
        ]
        rows.append((*outcome.pair, statistics.median(times), max(visit["peak_memory_mb"] for visit in outcome.visits)))
    for precision, name in (("float32", "model.onnx"), ("int8", "model_int8_cpu.onnx")):
        times = openvino_seconds(bundle.file(name), frame)
        if times:
            rows.append(("openvino", precision, statistics.median(times), None))
    return [("keras", "float32", statistics.median(first + keras_seconds(network, frame)), None), *rows]


def _network_seconds(latency):
    """Of each run, without drawing the picture."""
    return [sum(parts) / 1000 for parts in zip(latency["upload"], latency["run"], latency["download"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--size", type=lambda text: tuple(int(side) for side in text.split("x")))
    parser.add_argument("--label-stride", type=int, default=1, choices=(1, 4, 8))
    parser.add_argument("--keep", metavar="DIR", help="keep the bundle there, and take it from there the next time")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = options.keep or os.path.join(folder, "bundle")
        if not is_bundle(place):
            make_bundle(options.recipe, options.size, options.label_stride, place)
        rows = measure(place)
    slowest = {name: seconds for name, precision, seconds, _ in rows if precision == "float32"}
    print("{:12s} {:9s} {:>9s} {:>9s} {:>10s} {:>9s}".format("", "", "s a frame", "x keras", "x onnx f32", "memory MB"))
    for name, precision, seconds, memory in rows:
        ratios = [slowest[base] / seconds for base in ("keras", "onnx")]
        text = "-" if memory is None else "{:.0f}".format(memory)
        print("{:12s} {:9s} {:9.3f} {:9.2f} {:10.2f} {:>9s}".format(name, precision, seconds, *ratios, text))
    if options.json:
        report = [dict(zip(("name", "precision", "seconds", "peak_memory_mb"), row)) for row in rows]
        Path(options.json).write_text(json.dumps({"device": device.fingerprint(), "command": sys.argv, "rows": report}, indent=2))


if __name__ == "__main__":
    main()
