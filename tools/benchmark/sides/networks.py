"""Build the bundles to benchmark, with random weights: speed does not depend on them.

Runs in a process of its own:
    python tools/benchmark/sides/networks.py '{"bundle": PATH, "size": [512, 1024], "int8": true, "model": {}}'
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def make(options):
    """The bundle of a network that a recipe's `model` section describes, calibrated on drawn scenes."""
    import keras

    from deeplab_tf.core.bundle import new_bundle
    from deeplab_tf.core.cityscapes import CITYSCAPES
    from deeplab_tf.lab.config import resolve
    from deeplab_tf.lab.export import bundle_writer
    from deeplab_tf.lab.models.registry import build_network
    from deeplab_tf.synth import draw_scene

    size = tuple(options["size"])
    config = resolve({"data": {"name": "cityscapes", "root": ".", "size": list(size)}, "model": options["model"]})
    keras.utils.set_random_seed(0)
    model = build_network(config.model, len(CITYSCAPES), auxiliary=False)
    frames = [draw_scene(5, i, size).image for i in range(3)] if options["int8"] else []
    spread(model, draw_scene(5, 0, size).image)
    with new_bundle(options["bundle"]) as part:
        targets = ("onnx", "tensorrt", "litert") if options["int8"] else ("onnx",)
        wanted = bundle_writer.ExportOptions(size, int8=options["int8"], calibration="min-max", targets=targets)
        info = bundle_writer.write(part, model, CITYSCAPES, wanted, frames)
        bundle_writer.finish(part, info, {}, config.data)


def spread(model, frame):
    """Running statistics that fit the frame, so that activations neither vanish nor explode."""
    import numpy as np

    norms = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
    for layer in norms:
        layer.gamma.assign(np.full(layer.gamma.shape, 0.3 if layer.name.endswith("_3_bn") else 1.0))
        layer.momentum = 0.0
    model(frame[None].astype(np.float32)[:, ::2, ::2], training=True)


if __name__ == "__main__":
    make(json.loads(sys.argv[1]))
