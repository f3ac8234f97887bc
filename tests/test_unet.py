"""U-Net: coarse features upsampled and joined with finer ones, on every path to a device."""

import exports
import keras
import numpy as np
import pytest
import tiny

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.unet import unet

SIZE = (65, 97)
CHANNELS = (16, 16, 8, 8)


@pytest.fixture(params=[False, True], ids=["plain", "separable"])
def model(request, randomize, make_images):
    options = {"backbone": "resnet18", "width": 0.125, "decoder_channels": CHANNELS, "separable": request.param}
    return exports.make(randomize, make_images, "unet", **options)


def test_every_export_equals_keras(model, make_images, rng):
    exports.check_exports(model, make_images(rng, 4, *SIZE).round(), int8_error=0.3)


def reach(model, image):
    """How far from a changed pixel logits change, in rows."""
    other = image.copy()
    row, column = (side // 2 for side in image.shape[1:3])
    other[0, row, column] = 255 - other[0, row, column]
    change = np.abs(model(other)["logits"] - model(image)["logits"])[0].max(axis=(1, 2))
    return int(np.abs(np.flatnonzero(change > 1e-6) - row).max())


def test_the_skip_carries_what_is_thin(make_images, rng):
    """With the deep part of the last step cut off, a pixel reaches as far as the stem and two 3x3 convolutions do:
    7x7 at stride 2 and 2 positions of stride 2, and one more by upsampling: 3 + 2 * 2 + 2 = 9 pixels. With the skip cut
    off, it goes by way of the deeper features, and what is thinner than a position of stride 4 is blurred over it."""
    keras.utils.set_random_seed(0)
    model = unet(2, backbone="resnet18", width=0.125, decoder_channels=CHANNELS)
    layer = model.get_layer("decoder_res1_1_conv")  # (3, 3, 8 of the deep part + 8 of the skip, 8)
    kernel, image = layer.kernel.numpy(), make_images(rng, 1, 128, 128)
    assert kernel.shape == (3, 3, 16, 8)
    deep, skip = kernel.copy(), kernel.copy()
    deep[:, :, 8:], skip[:, :, :8] = 0, 0
    layer.kernel.assign(skip)
    assert 0 < reach(model, image) <= 9
    layer.kernel.assign(deep)
    assert reach(model, image) > 20


def test_each_step_joins_the_stage_of_its_stride(model):
    """Of a 64x96 image: stride 16 (4x6), 8, 4 and 2; the deeper features first."""
    shapes = keras.Model(
        model.input, [model.get_layer(f"decoder_res{stage}_concat").output for stage in (4, 3, 2, 1)]
    ).compute_output_shape((1, 64, 96, 3))
    # ResNet-18 at width 1/8: 8, 8, 16, 32 and 64 channels in res1 to res5
    assert shapes == [(1, 4, 6, 64 + 32), (1, 8, 12, 16 + 16), (1, 16, 24, 16 + 8), (1, 32, 48, 8 + 8)]


def test_fewer_channels_stop_at_a_coarser_stride():
    model = unet(3, backbone="mobilenet_v3_small", width=0.25, decoder_channels=(16, 8), output_stride=16)
    assert model.get_layer("logits").factor == 8 and model(np.zeros((1, 40, 56, 3)))["logits"].shape == (1, 40, 56, 3)


def test_logits_shift_with_the_image(monkeypatch):
    tiny.use_backbone(monkeypatch)
    exports.check_shift(lambda: unet(3, output_stride=16, decoder_channels=(8, 8, 8)), 16, margin=144)


def test_wrong_options_get_a_sentence():
    with pytest.raises(DeepLabError, match="model.decoder_channels must be greater than 0"):
        unet(3, decoder_channels=(16, 0))
