"""How far what was written differs from the Keras network, whose files are loaded again and run; and what label strides
cost."""

import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf

from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.core.progress import progress
from deeplab_tf.deploy.compare.scores import miou, pq
from deeplab_tf.deploy.conversion import Row
from deeplab_tf.deploy.runtimes.onnx import session
from deeplab_tf.lab.export import graph
from deeplab_tf.lab.export.graph import SCORES
from deeplab_tf.lab.export.network import label_strides, read_network, with_head

ROUNDS = 6
"""How often each label stride is timed."""
ONNX_FILES = ("model.onnx", "model_int8.onnx", "model_int8_cpu.onnx")


def largest_differences(
    folder: str | Path, model: keras.Model, frames: Sequence[np.ndarray], label_stride: int
) -> dict[str, float]:
    """The largest difference of any class score from Keras', by the file's name in the bundle.

    Args:
        folder: what `convert.write` filled.
        model: the Keras network.
        frames: (H, W, 3) uint8 RGB at the bundle's size.
        label_stride: of the bundle; Keras' scores are compared at those positions.
    """
    folder = Path(folder)
    images = [frame[None].astype(np.float32) for frame in frames]
    keras_scores = tf.function(lambda x: model(x, training=False)["logits"], jit_compile=False)
    wanted = [keras_scores(tf.constant(image)).numpy()[:, ::label_stride, ::label_stride] for image in images]
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


def _saved_model(folder):
    function = tf.saved_model.load(str(folder)).prune("image:0", f"{SCORES}:0")
    return lambda frame: function(tf.constant(frame)).numpy()


def _onnx(path):
    model = onnx.load(str(path))
    name, channels = model.graph.output[0].name, 3
    if name == "labels":
        makers = {maker.output[0]: maker for maker in model.graph.node}
        choice = makers[makers[name].input[0]]
        name, channels = choice.input[0], next(each.i for each in choice.attribute if each.name == "axis")
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    opened = session(model.SerializeToString())

    def scores(image):
        return np.moveaxis(opened.run([name], {"image": image})[0], channels, 3)

    return scores


def label_stride_costs(
    runtime, images: np.ndarray, truth: Sequence[np.ndarray], panoptic: Sequence[np.ndarray] | None = None
) -> tuple[Row, list[dict]]:
    """What the Keras network scores at each label stride that it can have, and its time a frame; the first as a row of
    the table.

    Labels at a stride of 4 or 8 are those of a stride of 1 at every 4th or 8th pixel, because upsampling puts each
    feature on a pixel of its own; so one prediction serves all that the network can have.

    Args:
        runtime: the Keras network.
        images: (N, H, W, 3) uint8 RGB.
        truth: their label maps, at their own size.
        panoptic: their panoptic maps, for the PQ of a network that predicts instances.

    Returns:
        The row, and for each stride {label_stride, miou, ms}.
    """
    runtime(images[0])  # traces
    predictions, times = [], []
    for image in progress(images, "score keras"):
        start = time.perf_counter()
        predictions.append(runtime.predict(image))
        times.append(time.perf_counter() - start)
    labels = np.stack([prediction.label_map for prediction in predictions])
    network = read_network(runtime.model)
    strides = label_strides(network)
    scores = {stride: miou(labels[:, ::stride, ::stride], truth, len(runtime.table), stride) for stride in strides}
    quality = None
    if panoptic is not None and runtime.gives_instances:
        quality = pq(
            np.stack([to_panoptic(prediction, runtime.table)[0] for prediction in predictions]), panoptic, runtime.table
        )
    times_of = _milliseconds(network, images)
    costs = [{"label_stride": stride, "miou": scores[stride], "ms": times_of[stride]} for stride in strides]
    row = Row(
        "keras",
        "float32",
        fps=1 / float(np.median(times)),
        miou=scores[1],
        pq=quality,
        note="the run's own network, label stride 1",
    )
    return row, costs


def _milliseconds(network, images):
    """Of one frame in TensorFlow, from the image to what the network gives, by label stride: the least of several,
    taken in turns."""
    functions = {
        stride: _traced(with_head(network, label_stride=stride), images.shape[1:]) for stride in label_strides(network)
    }
    times: dict[int, list[float]] = {stride: [] for stride in functions}
    for turn in range(ROUNDS + 1):
        image = images[turn % len(images)][None].astype(np.float32)
        for stride, function in functions.items():
            start = time.perf_counter()
            [output.numpy() for output in function(image)]
            times[stride].append(1000 * (time.perf_counter() - start))
    return {stride: min(found[1:]) for stride, found in times.items()}  # the first call traces


def _traced(head, shape):
    def outputs(image):
        tensors = graph.run(head, image)
        return [tensors[name] for name in head.outputs.values()]

    return tf.function(outputs, input_signature=[tf.TensorSpec((1, *shape), tf.float32)], jit_compile=False)
