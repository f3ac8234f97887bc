"""How far what was written differs from the Keras network: the files are loaded again and run."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from deeplab_tf.export.graph import SCORES

ONNX_FILES = ("model.onnx", "model_int8.onnx", "model_int8_cpu.onnx")


def largest_differences(folder: str | Path, model: keras.Model, frames: Sequence[np.ndarray], label_stride: int) -> dict[str, float]:
    """The largest difference of any class score from Keras', by the file's name in the bundle.

    Args:
        folder: what `convert.write` filled.
        model: the Keras network.
        frames: (H, W, 3) uint8 RGB at the bundle's size.
        label_stride: of the bundle; Keras' scores are compared at those positions.
    """
    folder = Path(folder)
    images = [frame[None].astype(np.float32) for frame in frames]
    wanted = [_keras_scores(model, image)[:, ::label_stride, ::label_stride] for image in images]
    found = {}
    if (folder / "saved_model").is_dir():
        scores = _saved_model(folder / "saved_model")
        found["saved_model"] = _largest([scores(frame[None]) for frame in frames], wanted)
    for name in ONNX_FILES:
        if (folder / name).is_file():
            scores = _onnx(folder / name)
            found[name] = _largest([scores(image) for image in images], wanted)
    return found


def _largest(got, wanted):
    return max(float(np.abs(a - b).max()) for a, b in zip(got, wanted))


def _keras_scores(model, image):
    return tf.function(lambda x: model(x, training=False)["logits"], jit_compile=False)(tf.constant(image)).numpy()


def _saved_model(folder):
    function = tf.saved_model.load(str(folder)).prune("image:0", f"{SCORES}:0")
    return lambda frame: function(tf.constant(frame)).numpy()


def _onnx(path):
    model = onnx.load(str(path))
    output = model.graph.output[0]
    name = output.name
    if name == "labels":
        makers = {maker.output[0]: maker for maker in model.graph.node}
        cast = makers[name]
        name = makers[cast.input[0]].input[0]
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def scores(image):
        result = session.run([name], {"image": image})[0]
        return result.transpose(0, 2, 3, 1) if output.name == "labels" else result

    return scores
