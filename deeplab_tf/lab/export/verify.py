"""Compare the files of a bundle with the Keras network, and measure what label strides cost."""

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf

from deeplab_tf.core.image_files import resize_image
from deeplab_tf.core.metrics import none_if_nan
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.prediction import predict
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.core.progress import progress
from deeplab_tf.deploy.conversion import Row
from deeplab_tf.deploy.runtimes.onnx import session
from deeplab_tf.lab.export import graph
from deeplab_tf.lab.export.head import label_strides, with_head
from deeplab_tf.lab.export.network import read_network

ROUNDS = 6
"""How often each label stride is timed."""
ONNX_FILES = ("model.onnx", "model_int8.onnx", "model_int8_cpu.onnx")


def largest_differences(
    folder: str | Path, model: keras.Model, frames: Iterable[np.ndarray], label_stride: int
) -> dict[str, float]:
    """Return the largest absolute difference of a logit from Keras, by the file's name in the bundle.

    Args:
        folder: filled by `bundle_writer.write`.
        model: the Keras network.
        frames: (H, W, 3) uint8 RGB at the bundle's size.
        label_stride: of the bundle; Keras' logits are compared at those positions.
    """
    folder = Path(folder)
    images = [frame[None] for frame in frames]
    floats = [image.astype(np.float32) for image in images]
    keras_logits = tf.function(lambda x: model(x, training=False)["logits"], jit_compile=False)
    expected = [keras_logits(tf.constant(image)).numpy()[:, ::label_stride, ::label_stride] for image in floats]
    found = {}
    if (folder / "saved_model").is_dir():
        logits = _saved_model(folder / "saved_model")
        found["saved_model"] = _largest(map(logits, images), expected)
    for name in ONNX_FILES:
        if (folder / name).is_file():
            found[name] = _largest(map(_onnx(folder / name), floats), expected)
    return found


def _largest(got, expected):
    return max(float(np.abs(a - b).max()) for a, b in zip(got, expected))


def _saved_model(folder):
    function = tf.saved_model.load(str(folder)).prune("image:0", f"{graph.LOGITS}:0")
    return lambda image: function(tf.constant(image)).numpy()


def _onnx(path):
    """Return a function from an image to logits, which an ArgMax may hide."""
    model = onnx.load(str(path))
    name, channels = model.graph.output[0].name, 3
    if name == "labels":
        makers = {maker.output[0]: maker for maker in model.graph.node}
        argmax = makers[makers[name].input[0]]
        name, channels = argmax.input[0], next(each.i for each in argmax.attribute if each.name == "axis")
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    opened = session(model.SerializeToString())
    return lambda image: np.moveaxis(opened.run([name], {"image": image})[0], channels, 3)


def label_stride_costs(
    runtime,
    images: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    panoptic: Sequence[np.ndarray] | None = None,
    *,
    output: str = "labels",
    size: tuple[int, int] | None = None,
) -> tuple[Row, list[dict]]:
    """Return the scores of the Keras network, as `evaluate` counts them, and the mIoU and time per frame of each label
    stride that a bundle of it can have.

    Outputs at a stride of 4 or 8 are those of stride 1 at every 4th or 8th pixel, because upsampling puts each feature
    on a pixel; so one prediction serves all.

    Args:
        runtime: the Keras network.
        images: (H, W, 3) uint8 RGB each, of any size.
        truth: their label maps, at their own size.
        panoptic: their panoptic maps, for the PQ of a panoptic network.
        size: of the bundle; the run's own if left out. The run itself is scored at its own.
        output: of the bundle. "labels" are resized by nearest neighbors, "logits" as those of Keras.

    Returns:
        The row of Keras in the table, and for each stride {label_stride, miou, ms}.
    """
    remembered, size = _Remembered(runtime), size or runtime.size
    frames = [resize_image(image, size) for image in images[: ROUNDS + 1]]
    runtime(resize_image(images[0], runtime.size))  # traces
    times = _milliseconds(read_network(runtime.model), frames)
    bundles = {stride: _Strided(remembered, stride, output, size) for stride in times}
    scores = {stride: ConfusionMatrix(len(runtime.table)) for stride in (0, *times)}  # 0: of Keras
    quality = PanopticQuality(runtime.table)
    with_instances = panoptic is not None and runtime.gives_instances and runtime.mode != "slide"
    for i, image in enumerate(progress(images, "score keras")):
        remembered.forget()
        whole = predict(remembered, image, truth[i].shape)
        scores[0].update(truth[i], whole.label_map)
        if panoptic is not None and with_instances:
            quality.update(panoptic[i], whole.panoptic)
        for stride in times:
            strided = predict(bundles[stride], image, truth[i].shape)
            scores[stride].update(truth[i], strided.label_map)
    found = {stride: none_if_nan(confusion.miou()) for stride, confusion in scores.items()}
    costs = [{"label_stride": stride, "miou": found[stride], "ms": ms} for stride, ms in times.items()]
    note = "the run itself, as evaluate scores it"
    pq, fps = quality.report()["pq"], 1 / float(np.median(remembered.seconds))
    return Row("keras", "float32", fps=fps, miou=found[0], pq=pq, note=note), costs


class _Remembered(Predictor):
    """A network that computes each frame once.

    Attributes:
        seconds: that each frame took.
    """

    def __init__(self, network: Predictor):
        self.network, self.table, self.size, self.mode = network, network.table, network.size, network.mode
        self.gives_probabilities, self.gives_instances = network.gives_probabilities, network.gives_instances
        self.seconds: list[float] = []
        self._known: dict[bytes, Prediction] = {}

    def predict(self, frame):
        key = hashlib.sha256(frame).digest()
        if key not in self._known:
            start = time.perf_counter()
            self._known[key] = self.network.predict(frame)
            self.seconds.append(time.perf_counter() - start)
        return self._known[key]

    def forget(self) -> None:
        """Forget all frames."""
        self._known.clear()


class _Strided(Predictor):
    """What a bundle with a label stride gives, in place of a network at stride 1."""

    def __init__(self, network: Predictor, stride: int, output: str, size: tuple[int, int]):
        self.network, self.table, self.size, self.mode = network, network.table, size, network.mode
        self.label_stride, self.gives_probabilities = stride, output == "logits"

    def predict(self, frame):
        prediction = self.network.predict(frame)
        here = np.s_[:: self.label_stride, :: self.label_stride]
        logits = np.asarray(prediction.logits)[here] if self.gives_probabilities else None
        return Prediction(prediction.label_map[here], logits=logits)


def _milliseconds(network, images):
    """Return the milliseconds per frame in TensorFlow by label stride: the least of ROUNDS, taken in turns."""
    functions = {
        stride: _traced(with_head(network, label_stride=stride), images[0].shape) for stride in label_strides(network)
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
