"""The one prediction path: the same pixels from `predict`, `evaluate`, `stream`, `compare` and the Python API."""

import json

import cv2
import numpy as np
import pytest
import tiny
import tiny_bundle
from click.testing import CliRunner

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.prediction import ImagePrediction, predict
from deeplab_tf.core.predictor import Predictor

SIZE = (32, 64)
IMAGE_SIZES = {"smaller": (20, 40), "equal": SIZE, "larger": (96, 192), "other": (51, 61)}
RUNTIMES = [("onnx", "float32"), ("onnx", "int8"), ("saved_model", "float32")]
STRIDES = (1, 4, 8)
TABLE = LabelTable([Label(0, "a", (0, 0, 0), False), Label(1, "b", (9, 9, 9), True)])


def call(*arguments):
    result = CliRunner().invoke(group, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with a smooth random image of every size."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, (height, width) in IMAGE_SIZES.items():
        coarse = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        image_files.write_image(folder / f"{name}.png", cv2.resize(coarse, (width, height)))
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """By output and label stride."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        (output, stride): tiny_bundle.write_bundle(
            folder / f"{output}{stride}", output, saved_model=True, seed=stride, size=SIZE, stride=stride
        ).path
        for output in ("labels", "logits")
        for stride in STRIDES
    }


def label_maps(folder):
    return {name: image_files.read_ids(folder / f"{name}.png") for name in IMAGE_SIZES}


def assert_one_prediction(path, images, tmp_path, *options, stream=True):
    """Every way gives the label maps of `predict`, which it returns."""
    call("predict", path, images, "--out", tmp_path / "predict", "--format", "ids", *options)
    expected = label_maps(tmp_path / "predict")
    names = dict(zip(("runtime", "precision"), options[1::2]))
    with deeplab_tf.load(path, **names) as model:
        for result in model.predict(sorted(map(str, images.iterdir()))):
            name = result.path.rsplit("/", 1)[-1][: -len(".png")]
            np.testing.assert_array_equal(result.label_map, expected[name], err_msg=name)
    scored = {"images": str(images), "labels": str(tmp_path / "predict"), "class_ids": True}
    assert deeplab_tf.evaluate(path, **scored, **names)["pixel_accuracy"] == 1.0
    if stream:
        call("stream", path, "--source", images, "--labels-out", tmp_path / "stream", *options)
        for name, label_map in label_maps(tmp_path / "stream").items():
            np.testing.assert_array_equal(label_map, expected[name], err_msg=name)
    return expected


@pytest.mark.parametrize("runtime, precision", RUNTIMES)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("output", ["labels", "logits"])
def test_every_way_gives_the_same_pixels(bundles, images, tmp_path, output, stride, runtime, precision):
    options = ("--runtime", runtime, "--precision", precision)
    expected = assert_one_prediction(bundles[output, stride], images, tmp_path, *options)
    assert all(expected[name].shape == size for name, size in IMAGE_SIZES.items())


def test_every_way_gives_the_same_pixels_of_a_run(images, tmp_path):
    assert_one_prediction(str(tiny.trained_run()), images, tmp_path, stream=False)


@pytest.mark.parametrize("stride", [1, 4])
def test_compare_scores_the_same_pixels(bundles, images, tmp_path, stride):
    options = ("--runtime", "onnx", "--precision", "float32")
    call("predict", bundles["logits", stride], images, "--out", tmp_path / "ids", "--format", "ids", *options)
    arguments = ["--source", images, "--labels", tmp_path / "ids", "--runtimes", "onnx:float32", "--seconds", 0]
    call("compare", bundles["logits", stride], *arguments, "--json", tmp_path / "compare.json")
    assert json.loads((tmp_path / "compare.json").read_text())["runtimes"][0]["miou"] == 1.0


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", IMAGE_SIZES.values(), ids=IMAGE_SIZES)
def test_probabilities_are_resized_bilinearly_before_the_class_is_chosen(bundles, stride, size):
    """Against a sum over the four neighbors of every pixel, in float64."""
    rng = np.random.default_rng(7)
    image = cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), size[::-1])
    with deeplab_tf.load(bundles["logits", stride], "onnx", "float32") as model:
        result = model.predict(image)
        logits = model.predictor.predict(image_files.resize_image(image, SIZE)).logits.astype(np.float64)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = powers / powers.sum(-1, keepdims=True)
    (top, bottom, down), (left, right, across) = (
        neighbors(size[axis], probabilities.shape[axis], stride) for axis in (0, 1)
    )
    rows = probabilities[top] * (1 - down)[:, None, None] + probabilities[bottom] * down[:, None, None]
    expected = rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]
    np.testing.assert_allclose(result.probabilities, expected, atol=2e-4)
    first, second = np.sort(expected, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
    clear = first - second > 1e-3
    assert clear.mean() > 0.9 and (result.label_map == expected.argmax(-1))[clear].all()


def neighbors(length, source, stride):
    """Position k of the network's output is its pixel stride * k; pixel i of the image has its center at i + 0.5."""
    pixels = (np.arange(length) + 0.5) * source * stride / length - 0.5
    positions = np.clip(pixels / stride, 0, source - 1)
    low = np.floor(positions).astype(int)
    return low, np.minimum(low + 1, source - 1), positions - low


class Ramp(Predictor):
    """The probability of class 1 grows by 1/40 a pixel along the width of 32; a label stands for every fourth pixel."""

    name, table, size, label_stride, gives_probabilities = "ramp", TABLE, (16, 32), 4, True

    def predict(self, frame):
        share = np.broadcast_to((np.arange(0, 32, 4, dtype=np.float32) + 4) / 40, (4, 8))
        if frame[0, 0, 0] > frame[0, -1, 0]:  # mirrored
            share = (35 - np.arange(0, 32, 4, dtype=np.float32)) / 40 * np.ones((4, 1), np.float32)
        logits = np.log(np.stack([1 - share, share], axis=-1))
        return Prediction((share > 0.5).astype(np.uint8), logits=logits)


class Cars(Predictor):
    """Of three cars, each has a channel of its own. Offsets point `bias` pixels too far to the right."""

    name, table, size, gives_probabilities, gives_instances = "cars", TABLE, (64, 128), True, True

    def __init__(self, stride=1, bias=0):
        self.label_stride, self.bias = stride, bias

    def predict(self, frame):
        numbers = np.where(frame.max(-1) > 127, frame.argmax(-1) + 1, 0)
        places = np.indices(frame.shape[:2])
        center, offset = np.zeros(numbers.shape, np.float32), np.zeros((*numbers.shape, 2), np.float32)
        for number in set(np.unique(numbers).tolist()) - {0}:
            mine = numbers == number
            middle = np.array([axis[mine].mean() for axis in places])
            blob = np.exp(-((places - middle[:, None, None]) ** 2).sum(axis=0) / 50)
            center = np.maximum(center, blob.astype(np.float32))
            offset[mine] = (middle[:, None] - places[:, mine]).T + (0, self.bias)
        logits = np.stack([numbers == 0, numbers > 0], axis=-1) * np.float32(9)
        here = np.s_[:: self.label_stride, :: self.label_stride]
        return Prediction((numbers > 0)[here].astype(np.uint8), center[here], offset[here], logits[here])


def cars():
    """Three cars of 24 columns that touch one another, and their panoptic map."""
    image = np.zeros((64, 128, 3), np.uint8)
    for i in range(3):
        image[16:48, 24 + 24 * i : 48 + 24 * i, i] = 255
    return image, np.where(image.any(-1), 1001 + image.argmax(-1), 0)


def matches(predicted, truth):
    """Each of the cars has one instance of its own, with three quarters of its pixels; none is left over."""
    pairs = [np.unique(predicted[truth == value], return_counts=True) for value in (1001, 1002, 1003)]
    best = {int(values[counts.argmax()]) for values, counts in pairs}
    shares = [counts.max() / counts.sum() for _, counts in pairs]
    return len(best) == 3 and set(np.unique(predicted)) - {0} == best and min(shares) > 0.75


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("options", [{}, {"flip": True}, {"scales": (0.5, 1.0, 1.5)}, {"flip": True, "scales": (2.0,)}])
def test_averaged_instances_are_those_of_a_network_that_commutes_with_flip_and_scale(options, stride):
    image, truth = cars()
    assert matches(predict(Cars(stride), image, **options).panoptic, truth)


@pytest.mark.parametrize("stride", [1, 4])
def test_flip_averages_offsets_with_their_sign_changed(stride):
    """20 pixels too far to the right, pixels point to the next car; mirrored, as far to the left: the mean is
    right."""
    image, truth = cars()
    network = Cars(stride, bias=20)
    assert not matches(predict(network, image).panoptic, truth)
    assert matches(predict(network, image, flip=True).panoptic, truth)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(4, 8), (5, 7), (8, 16), (16, 32), (1, 3)])
def test_probabilities_lie_at_half_pixel_centers(size, stride):
    """Probabilities that grow by a known amount a pixel of the network's image, at every size: also at the label map's
    own, where the center of a label's pixels is (stride - 1) / 2 pixels beside the label."""
    height, width = 4 * stride, 8 * stride
    slope = 0.5 / (height + width)
    rows, columns = np.meshgrid(np.arange(0, height, stride), np.arange(0, width, stride), indexing="ij")
    share = (0.2 + slope * (rows + columns)).astype(np.float32)
    logits = np.log(np.stack([1 - share, share], axis=-1))
    prediction = Prediction(np.zeros((4, 8), np.uint8), logits=logits)
    got = ImagePrediction(prediction, TABLE, size, label_stride=stride).probabilities[..., 1]
    centers = [
        np.clip((np.arange(length) + 0.5) * side / length - 0.5, 0, side - stride)  # beyond the last label: constant
        for length, side in zip(size, (height, width))
    ]
    np.testing.assert_allclose(got, 0.2 + slope * (centers[0][:, None] + centers[1]), atol=2e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_a_label_stride_does_not_shift_the_map(flip):
    image = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None], (16, 32, 3))
    predicted = predict(Ramp(), image, flip=flip)
    expected = (np.arange(32) + 4) / 40
    inside = slice(3, 29)  # beyond the last label, and beyond the first of the mirrored image, it is constant
    np.testing.assert_allclose(predicted.probabilities[5, inside, 1], expected[inside], atol=1e-6)
    assert predicted.label_map[0].tolist() == [0] * 17 + [1] * 15


def test_labels_without_probabilities_say_how_to_get_them(bundles):
    with deeplab_tf.load(bundles["labels", 4], "onnx") as model:
        result = model.predict(np.zeros((20, 30, 3), np.uint8))
        with pytest.raises(DeepLabError, match="labels only.*--output logits"):
            result.probabilities  # noqa: B018 (raises)
        with pytest.raises(DeepLabError, match="labels only.*--output logits"):
            model.predict(np.zeros((20, 30, 3), np.uint8), flip=True)


def test_a_bundle_takes_one_size(bundles):
    with deeplab_tf.load(bundles["logits", 1], "onnx") as model, pytest.raises(
        DeepLabError, match="32x64.*got.*64x128"
    ):
        model.predict(np.zeros((20, 30, 3), np.uint8), scales=(2.0,))


def test_the_label_map_does_not_depend_on_what_was_asked_before():
    """Equal probabilities after rounding: the logits still tell the classes apart."""
    logits = np.zeros((2, 2, 2), np.float32)
    logits[..., 1] = 1e-9
    logits[0, 0] = [30, 30.000002]
    prediction = Prediction(logits.argmax(-1).astype(np.uint8), logits=logits)
    first, second = (ImagePrediction(prediction, TABLE, (2, 2)) for _ in range(2))
    assert second.probabilities.shape == (2, 2, 2)
    np.testing.assert_array_equal(second.label_map, first.label_map)
    assert first.label_map.all()
