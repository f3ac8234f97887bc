"""Swin: attention within windows that shift, on every path to a device."""

import exports
import keras
import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.attention_layers import SpaceToDepth, WindowAttention
from deeplab_tf.lab.models.backbones import swin_tiny
from deeplab_tf.lab.models.registry import load_network
from deeplab_tf.lab.pruning.channel_graph import read_channel_graph

SIZE = (65, 97)


def backbone(width=1.0):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, swin_tiny.build(image, width=width))
    if width < 1:
        exports.randomize_transformer(model)
    return model


def test_parameters_are_the_published_ones():
    """timm's 28,288,354 of swin_tiny_patch4_window7_224, without the classifier of 768 x 1000 + 1000, and with
    normalizations of res2, res3 and res4."""
    assert backbone().count_params() == 28_288_354 - 769_000 + 2 * (96 + 192 + 384)


def attend_in_a_loop(x, bias, table, *, heads, window, shift):
    """Window by window: positions share one if their place minus the shift, divided by its side, is the same."""
    height, width, dim = *x.shape[:2], x.shape[2] // (3 * heads)
    padded = [-(-side // window) * window for side in (height, width)]
    whole = np.zeros((*padded, x.shape[2]))
    whole[:height, :width] = x
    parts = (whole + bias).reshape(*padded, 3, heads, dim)
    moved = [shift if side > window else 0 for side in padded]
    windows = {}
    for row, column in np.ndindex(*padded):
        windows.setdefault(((row - moved[0]) // window, (column - moved[1]) // window), []).append((row, column))
    result = np.zeros((*padded, heads, dim))
    for places in windows.values():
        for query in places:
            for head in range(heads):
                keys = [parts[place][1, head] for place in places]
                rows = [
                    (2 * window - 1) * (query[0] - row + window - 1) + query[1] - column + window - 1
                    for row, column in places
                ]
                scores = np.array(keys) @ parts[query][0, head] / np.sqrt(dim) + table[rows, head]
                weights = np.exp(scores - scores.max())
                result[query][head] = weights @ [parts[place][2, head] for place in places] / weights.sum()
    return result.reshape(*padded, -1)[:height, :width]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (7, 10), (3, 9)])
def test_window_attention_equals_a_loop_over_windows(rng, size, shift):
    """Whole windows, padded ones, and an axis of a single window, with sides known and not."""
    layer = WindowAttention(2, 4, shift)
    x = rng.normal(size=(2, *size, 3 * 2 * 4)).astype(np.float32)
    layer.build(x.shape)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    bias, table = layer.get_weights()
    expected = [attend_in_a_loop(each, bias, table, heads=2, window=4, shift=shift) for each in x]
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    image = keras.Input((None, None, 24))
    open_sides = keras.Model(image, layer(image))
    np.testing.assert_allclose(open_sides.predict(x, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("stage, stride", [("res2", 4), ("res3", 8)])
def test_features_shift_by_whole_windows(rng, stage, stride):
    """A shift by 7 strides moves features to the next window; one by a single stride moves them within theirs."""
    model, reach = backbone(0.25), 20
    model = keras.Model(model.input, model.output[stage])
    side = stride * (2 * reach + 28)
    image = rng.normal(size=(1, side, side, 3)).astype(np.float32)
    first = model(image).numpy()[0]
    for features, equal in ((7, True), (1, False)):
        moved = model(np.roll(image, features * stride, axis=(1, 2))).numpy()[0]
        here, there = (slice(reach + start, -reach - 8 + start) for start in (0, features))
        difference = np.abs(moved[there, there] - first[here, here]).max()
        assert (difference < 1e-4) == equal and (difference > 0.1) != equal, difference
    assert first[here, here].std() > 0.5


def test_features_lie_where_upsampling_puts_them():
    """Feature 3 of a stage of stride s covers pixels around 3 * s: their mean, by a ramp through the merging alone."""
    inputs = keras.Input((None, None, 1))
    outputs, x = [], keras.layers.AveragePooling2D(4, padding="same")(inputs)
    for _, _, _, before in swin_tiny.STAGES:
        if before is not None:
            x = keras.layers.Lambda(lambda y: keras.ops.sum(y, -1, keepdims=True))(SpaceToDepth(before)(x))
        outputs.append(x)
    ramp = np.broadcast_to(np.arange(256, dtype=np.float32)[None, :, None, None], (1, 256, 256, 1))
    features = keras.Model(inputs, outputs)(ramp)
    for stride, feature in zip((4, 8, 16, 32), features):
        center = feature.numpy()[0, 3, 3, 0] / (stride / 4) ** 2  # of a sum of 1, 4, 16 or 64 means
        assert abs(center - 3 * stride) <= 4.5, (stride, center)


def test_every_export_equals_keras(randomize, make_images, rng):
    model = exports.make(randomize, make_images, "fcn", backbone="swin_tiny", width=0.25, head_channels=16)
    exports.check_exports(model, make_images(rng, 4, *SIZE).round(), int8_error=0.3)


@pytest.mark.parametrize(
    "name, options, sentence",
    [
        ("deeplab_v3_plus", {}, "set model.output_stride to 32. Got 16 instead"),
        ("fcn", {"multi_grid": (1, 2, 4)}, "takes no multi-grid"),
        ("unet", {}, "model.decoder_channels"),
    ],
)
def test_what_it_cannot_do_is_said(name, options, sentence):
    with pytest.raises(DeepLabError, match=sentence):
        load_network(name)(3, backbone="swin_tiny", width=0.25, **options)


def test_pruning_is_refused():
    model = load_network("fcn")(3, backbone="swin_tiny", width=0.25, head_channels=8)
    with pytest.raises(DeepLabError, match="A Transformer cannot be pruned: conv1_norm"):
        read_channel_graph(model)
