"""Images of other sizes than the network's: stretched, padded, at their own size, and in windows."""

import numpy as np
import pytest
import tiny_bundle
from test_prediction import TABLE, Cars, cars

import deeplab_tf
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.fitting import choose_mode, fit, pad, to_frame
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.prediction import predict
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.core.sliding import ArrayRows, blocks, window_starts

COLORS = LabelTable([Label(i, name, (9 * i, 0, 0), False) for i, name in enumerate(("red", "green", "blue"))])


class Colors(Predictor):
    """The class is the strongest color around each pixel. Borders are padded with zeros, as in a convolution, so that a
    window is less sure there."""

    name, table, size = "colors", COLORS, (32, 48)

    def __init__(self, mode, *, logits=True, stride=1, any_size=False):
        self.gives_probabilities, self.label_stride, self.takes_any_size = logits, stride, any_size
        self.mode, self.calls = mode, []

    def predict(self, frame):
        assert self.takes_any_size or frame.shape == (*self.size, 3)
        self.calls.append(frame.shape[:2])
        padded = np.pad(frame.astype(np.float32) / 64, ((1, 1), (1, 1), (0, 0)))
        height, width = frame.shape[:2]
        logits = sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
        logits = logits[:: self.label_stride, :: self.label_stride]
        label_map = logits.argmax(-1).astype(np.uint8)
        return Prediction(label_map, logits=logits if self.gives_probabilities else None)


def scene(size=(150, 220), seed=0):
    """Smooth blobs of color."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 12, size[1] // 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def test_windows_are_evenly_spaced_and_overlap_enough():
    assert window_starts(30, 48, 0.25) == [0] and window_starts(48, 48, 0.25) == [0]
    assert window_starts(49, 48, 0.25) == [0, 1]
    assert window_starts(96, 48, 0.0) == [0, 48]
    # 384 * 0.75 = 288 pixels of step at most; (966 - 384) / 288 = 2.02, so 3 steps of 194, up to a multiple of 32
    assert window_starts(966, 384, 0.25) == [0, 224, 416, 582]
    # 48 * 0.75 = 36, of which 32 is too far away: multiples of 4. 172 / 36 = 4.8, so 5 steps of 34.4
    assert window_starts(220, 48, 0.25) == [0, 36, 72, 104, 140, 172]
    for length in range(1, 300):
        for window in (1, 7, 32, 48, 96, 256):
            for overlap in (0.0, 0.25, 0.6, 0.9):
                starts = window_starts(length, window, overlap)
                assert starts[0] == 0 and starts[-1] == max(0, length - window)
                steps = np.diff(starts)
                assert (steps > 0).all() and (steps <= max(1, window * (1 - overlap)) + 1e-9).all()


class Coarse(Colors):
    """The class is the strongest color of each 16x16 pixels of the frame, from its top left, as in a network of
    stride 16."""

    size = (128, 192)

    def predict(self, frame):
        height, width = frame.shape[:2]
        logits = np.zeros((-(-height // 16) * 16, -(-width // 16) * 16, 3), np.float32)
        for top in range(0, height, 16):
            for left in range(0, width, 16):
                here = np.s_[top : top + 16, left : left + 16]
                logits[here] = frame[here].mean(axis=(0, 1)) / 16
        logits = logits[:height, :width]
        return Prediction(logits.argmax(-1).astype(np.uint8), logits=logits if self.gives_probabilities else None)


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_windows_see_the_image_in_the_phase_of_one_pass(logits, overlap):
    """Every window starts where the network's cells do, so that all windows over a pixel agree."""
    image = scene((304, 448), seed=4)
    network = Coarse("slide", logits=logits)
    network.overlap = overlap
    np.testing.assert_array_equal(predict(network, image).label_map, network.predict(image).label_map)


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("size", [(32, 48), (20, 48), (32, 31), (11, 7)])
def test_sliding_is_one_pass_where_one_window_covers_the_image(size, stride, logits):
    image = scene((48, 60))[: size[0], : size[1]]
    expected = predict(Colors("stretch", logits=logits, stride=stride), pad(image, (32, 48)))
    network = Colors("slide", logits=logits, stride=stride)
    predicted = predict(network, image)
    assert network.calls == [(32, 48)]
    np.testing.assert_array_equal(predicted.label_map, expected.label_map[: size[0], : size[1]])


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_probabilities_are_blended_with_gaussian_weights(overlap):
    """Against a sum over the whole image: each window's probabilities times its weight, over the sum of the weights."""
    image, network = scene((70, 100)), Colors("slide")
    choose_mode(network, None, overlap)
    total, weight = np.zeros((70, 100, 3)), np.zeros((70, 100, 1))
    down, across = (np.exp(-0.5 * ((np.arange(n) + 0.5 - n / 2) / (n * 3 / 16)) ** 2) for n in (32, 48))
    bell = (down[:, None] * across)[..., None]
    for top in window_starts(70, 32, overlap):
        for left in window_starts(100, 48, overlap):
            here = np.s_[top : top + 32, left : left + 48]
            powers = np.exp(network.predict(np.ascontiguousarray(image[here])).logits.astype(np.float64))
            total[here] += bell * powers / powers.sum(-1, keepdims=True)
            weight[here] += bell
    predicted = predict(network, image)
    np.testing.assert_allclose(predicted.probabilities, total / weight, atol=1e-5)
    first, second = np.sort(total / weight, axis=-1)[..., :-3:-1].transpose(2, 0, 1)
    clear = first - second > 1e-4
    assert clear.mean() > 0.9 and (predicted.label_map == (total / weight).argmax(-1))[clear].all()
    np.testing.assert_allclose(predicted.confidence, predicted.probabilities.max(-1), atol=1e-6)


def test_labels_alone_are_those_of_the_nearest_window():
    image, network = scene((70, 100)), Colors("slide", logits=False)
    tops, lefts = window_starts(70, 32, 0.25), window_starts(100, 48, 0.25)
    expected = np.zeros((70, 100), np.uint8)
    for y in range(70):
        top = min((t for t in tops if t <= y < t + 32), key=lambda t: (abs(y + 0.5 - t - 16), -t))
        for x in range(100):
            left = min((t for t in lefts if t <= x < t + 48), key=lambda t: (abs(x + 0.5 - t - 24), -t))
            window = np.s_[top : top + 32, left : left + 48]
            if (y, x) == (top, left) or x == left or not x % 25:
                labels = network.predict(np.ascontiguousarray(image[window])).label_map
                expected[y, x] = labels[y - top, x - left]
            else:
                expected[y, x] = labels_of(network, image, top, left)[y - top, x - left]
    np.testing.assert_array_equal(predict(network, image).label_map, expected)


def labels_of(network, image, top, left, known={}):  # noqa: B006 (remembers)
    if (top, left) not in known:
        known[top, left] = network.predict(np.ascontiguousarray(image[top : top + 32, left : left + 48])).label_map
    return known[top, left]


@pytest.mark.parametrize("logits", [True, False])
def test_the_place_of_the_grid_hardly_matters(logits):
    """Cut off rows and columns move every window over what remains."""
    image = scene((300, 400), seed=3)
    network = Colors("slide", logits=logits)
    whole = predict(network, image).label_map
    for rows, columns in ((5, 9), (16, 24), (0, 31)):
        moved = predict(network, np.ascontiguousarray(image[rows:, columns:])).label_map
        border = np.s_[2:-2, 2:-2]  # the image's own border is another one
        assert np.mean(moved[border] != whole[rows:, columns:][border]) < 0.005


def test_a_mirrored_image_gives_the_mirrored_labels_with_flip():
    image = scene((70, 120))
    assert window_starts(120, 48, 0.25) == [0, 36, 72]  # the same from the right
    network = Colors("slide", stride=1)
    one = predict(network, image, flip=True).probabilities
    other = predict(network, np.ascontiguousarray(image[:, ::-1]), flip=True).probabilities
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-5)


def test_memory_holds_a_row_of_windows_and_not_the_image():
    """Blocks cover each pixel once, in order, and rows are read once, in order."""

    class Rows(ArrayRows):
        def read(self, top, bottom):
            reads.append((top, bottom))
            return super().read(top, bottom)

    for logits in (True, False):
        reads, image = [], scene((150, 220))
        covered = np.zeros((150, 220), int)
        for block in blocks(Colors("slide", logits=logits), Rows(image)):
            height, width = block.label_map.shape
            covered[block.top : block.top + height, block.left : block.left + width] += 1
            assert height <= 32 and width <= 48 and block.top + height <= reads[-1][1]
        assert (covered == 1).all()
        assert [top for top, _ in reads] == window_starts(150, 32, 0.25)


@pytest.mark.parametrize("stride", [1, 4])
def test_pad_keeps_the_aspect_and_drops_the_padding(stride):
    image = np.full((60, 200, 3), (250, 10, 10), np.uint8)  # fits into 32x48 as 14x48
    image[:, 100:] = (10, 10, 250)
    network = Colors("pad", stride=stride)
    place = fit(network, (60, 200))
    assert place.image == (14, 48) and place.frame == (32, 48)
    frame = to_frame(image, place)
    np.testing.assert_array_equal(frame[14:28], frame[13::-1])  # its mirror image
    edge = (stride + 1) * 200 // 48  # the classes meet within the reach of a label
    for flip in (False, True):
        label_map = predict(network, image, flip=flip).label_map
        assert label_map.shape == (60, 200)
        assert (label_map[:, : 100 - edge] == 0).all() and (label_map[:, 100 + edge :] == 2).all()


def test_native_runs_at_the_images_own_size_padded_to_the_stride():
    image = scene((50, 70))
    network = Colors("native", any_size=True)
    predicted = predict(network, image)
    assert network.calls == [(64, 96)]
    expected = network.predict(pad(image, (64, 96))).label_map[:50, :70]
    np.testing.assert_array_equal(predicted.label_map, expected)
    network.mode = "keep_aspect"
    predict(network, scene((20, 80)))  # fits into 32x48 as 12x48
    assert network.calls[-1] == (32, 64)


def test_what_a_bundle_cannot_do_is_one_sentence():
    network = Colors("stretch")
    for mode, overlap, sentence in (
        ("native", None, "takes frames of 32x48 only"),
        ("tile", None, "There is no mode 'tile'"),
        (None, 0.5, "An overlap goes with the mode slide"),
        ("slide", 0.95, "must be 0 to 0.9"),
    ):
        with pytest.raises(WrongCall, match=sentence):
            choose_mode(network, mode, overlap)
        network.mode = "stretch"
    network.mode = "slide"
    with pytest.raises(DeepLabError, match="own scale"):
        predict(network, scene(), scales=(0.5,))
    with pytest.raises(DeepLabError, match="--output logits"):
        predict(Colors("slide", logits=False), scene(), flip=True)


def test_instances_of_windows_are_refused():
    network = Cars()
    network.mode = "slide"
    image, _ = cars()
    for size in ((64, 128), (64, 200)):
        predicted = predict(network, np.resize(image, (*size, 3)))
        assert predicted.label_map.shape == size
        with pytest.raises(DeepLabError, match="another mode than slide"):
            predicted.panoptic  # noqa: B018 (raises)
    network.mode, network.table = "slide", TABLE


def test_large_probabilities_are_not_kept(monkeypatch):
    from deeplab_tf.core import prediction

    network, image = Colors("slide"), scene((70, 100))
    whole = predict(network, image)
    monkeypatch.setattr(prediction, "KEPT_PROBABILITIES", 4 * 3 * 70 * 100 - 1)
    dropped = predict(network, image)
    np.testing.assert_array_equal(dropped.label_map, whole.label_map)
    with pytest.raises(DeepLabError, match="probabilities of 70x100 pixels and 3 classes.*--mode slide"):
        dropped.probabilities  # noqa: B018 (raises)


def test_a_label_map_of_another_size_than_the_image():
    image = scene((70, 100))
    blended = predict(Colors("slide"), image, (35, 50))
    assert blended.label_map.shape == (35, 50)
    own = predict(Colors("slide", logits=False), image)
    half = predict(Colors("slide", logits=False), image, (35, 50))
    np.testing.assert_array_equal(half.label_map, resize_labels(own.label_map, (35, 50)))


def test_a_bundle_knows_its_mode(tmp_path):
    path = tiny_bundle.write_bundle(tmp_path / "b").path
    assert open_bundle(path).mode == "stretch"  # as in bundles from before there were others
    with deeplab_tf.load(path, "onnx", mode="pad") as model:
        assert model.mode == "pad"
    tiny_bundle.rewrite_info(path, mode="slide")
    image = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)
    with deeplab_tf.load(path, "onnx") as model:
        assert model.mode == "slide"
        labels = model.predict(image).label_map
    with deeplab_tf.load(path, "onnx", mode="stretch") as model:
        assert labels.shape == (13, 21) and (labels != model.predict(image).label_map).any()
    tiny_bundle.rewrite_info(path, mode="native")
    with pytest.raises(DeepLabError, match="mode must be stretch or pad or slide; got"):
        open_bundle(path)
