import keras
import numpy as np
import pytest
from keras import layers

from deeplab_tf.lab.models.backbones import _resnet, resnet50

STOCK_NAMES = {
    "res2": "conv2_block3_out",
    "res3": "conv3_block4_out",
    "res4": "conv4_block6_out",
    "res5": "conv5_block3_out",
}


def backbone(width=0.125, **options):
    """The backbone behind the normalization that it gets in a DeepLab: RGB 0..255 -> features."""
    image = keras.Input((None, None, 3))
    mean, std = resnet50.NORMALIZATION["mean"], resnet50.NORMALIZATION["std"]
    x = layers.Normalization(mean=mean, variance=[s * s for s in std])(image)
    return keras.Model(image, resnet50.build(x, width=width, **options))


def largest_difference(a, b):
    assert a.shape == b.shape
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def test_equals_keras_applications_with_copied_weights(stock_resnet50, make_images, rng):
    own = backbone(width=1.0, output_stride=32)
    resnet50.copy_weights(own, stock_resnet50)
    stock = keras.Model(
        stock_resnet50.input, {name: stock_resnet50.get_layer(stock).output for name, stock in STOCK_NAMES.items()}
    )
    for size in [(96, 64), (97, 161)]:
        image = make_images(rng, 1, *size)
        expected = stock(keras.applications.resnet50.preprocess_input(image.copy()), training=False)
        features = own(image, training=False)
        for name in STOCK_NAMES:
            assert 0.1 < np.std(expected[name]) < 10  # neither died nor blew up, or the comparison would say nothing
            assert largest_difference(features[name], expected[name]) <= 1e-4, (size, name)


@pytest.fixture(scope="module")
def at_stride_32(randomize, make_images):
    """Networks at output stride 32 with random weights, by multi-grid."""
    models = {grid: backbone(output_stride=32, multi_grid=grid) for grid in [(1, 1, 1), (1, 2, 4)]}
    images = make_images(np.random.default_rng(3), 4, 96, 96)
    return {grid: randomize(model, images) for grid, model in models.items()}


@pytest.mark.parametrize("multi_grid", [(1, 1, 1), (1, 2, 4)])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_smaller_output_strides_hold_the_features_of_32(at_stride_32, make_images, rng, output_stride, multi_grid):
    """The same weights, dilated, compute the same features, only at more positions: every 2nd or 4th of them is one of
    stride 32."""
    dense = backbone(output_stride=output_stride, multi_grid=multi_grid)
    dense.set_weights(at_stride_32[multi_grid].get_weights())
    for size in [(96, 128), (97, 161), (65, 90)]:
        image = make_images(rng, 1, *size)
        expected, features = at_stride_32[multi_grid](image), dense(image)
        for name, stride in {"res2": 4, "res3": 8, "res4": 16, "res5": 32}.items():
            step = max(1, stride // output_stride)
            assert features[name].shape[1:3] == tuple(-(-n // min(stride, output_stride)) for n in size)
            assert np.std(expected[name]) > 0.1
            assert largest_difference(features[name][:, ::step, ::step], expected[name]) <= 1e-4, (size, name)


@pytest.mark.parametrize("width, channels", [(1.0, 64), (0.375, 24), (0.3, 16), (0.01, 8)])
def test_width_rounds_channels_to_multiples_of_eight(width, channels):
    assert _resnet._channels(64, width) == channels  # 64 * 0.375 = 24; 64 * 0.3 = 19.2 -> 16; never below 8


def test_residual_blocks_start_as_the_identity(make_images, rng):
    model = backbone()
    outputs = keras.Model(model.input, [model.get_layer(f"res3_block{i}_out").output for i in (1, 2, 3, 4)])
    first, *others = outputs(make_images(rng, 1, 64, 64))
    for other in others:
        np.testing.assert_array_equal(first, other)
