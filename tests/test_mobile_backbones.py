"""MobileNetV3 and EfficientNet-Lite0 against keras.applications, and against themselves at other output strides."""

import keras
import numpy as np
import pytest
from test_pretrained import write_in_published_form

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models import pretrained, registry
from deeplab_tf.lab.models.backbones import _inverted_residual

NAMES = ("mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_lite0")


def backbone(name, **options):
    image = keras.Input((None, None, 3))
    return keras.Model(image, registry.load_backbone(name).build(image, **options))


STOCK = {
    "mobilenet_v3_large": ("MobileNetV3Large", ("expanded_conv_2_add", "expanded_conv_5_add", "expanded_conv_11_add")),
    "mobilenet_v3_small": (
        "MobileNetV3Small",
        ("expanded_conv_project_bn", "expanded_conv_2_add", "expanded_conv_7_add"),
    ),
}
"""The class in keras.applications, and its layers that give res2, res3 and res4."""


@pytest.mark.parametrize("name", STOCK)
def test_equals_keras_applications_with_the_weights_of_a_file_made_in_its_form(
    name, randomize, make_images, rng, tmp_path
):
    """At a size of 32 n + 1 each way, where Keras' padding is the same on both sides."""
    kind, layers = STOCK[name]
    stock = getattr(keras.applications, kind)(include_top=False, weights=None, input_shape=(65, 97, 3))
    image, *others = make_images(rng, 3, 65, 97)
    randomize(stock, np.stack(others))
    own = backbone(name, output_stride=32)
    assert own.count_params() == stock.count_params()
    write_in_published_form(stock, tmp_path / "weights.h5")
    registry.load_backbone(name).load_pretrained(own, str(tmp_path / "weights.h5"))
    inner = keras.Model(stock.input, [*(stock.get_layer(layer).output for layer in layers), stock.output])
    features = own((image[None] - 127.5) / 127.5, training=False)
    deep = [item for item in sorted(features.items()) if item[0] != "res1"]
    for (stage, feature), expected in zip(deep, inner(image[None], training=False)):
        assert 0.1 < np.std(expected) < 10
        np.testing.assert_allclose(feature, expected, atol=1e-4, err_msg=stage)


@pytest.mark.parametrize("scale, channels, published", [(0, 320, 4_652_008), (4, 448, 13_006_568)])
def test_lite_has_its_published_number_of_parameters(scale, channels, published):
    """4.65 million (timm's tf_efficientnet_lite0), with the head and the classifier that we leave out."""
    model = backbone(f"efficientnet_lite{scale}")
    head = channels * 1280 + 2 * 1280 + 1280 * 1000 + 1000  # a 1x1 convolution, scale and shift, a dense layer
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) + head == published


@pytest.fixture(scope="module", params=["mobilenet_v3_large", "efficientnet_lite0"])
def at_stride_32(request, randomize, make_images):
    """A backbone at output stride 32 with random weights, and its name. Its gates do not look at the image: a mean over
    more positions is another mean, and dilation does not promise that it is the same."""
    model = randomize(
        backbone(request.param, width=0.25, output_stride=32), make_images(np.random.default_rng(3), 4, 64, 64)
    )
    for layer in model.layers:
        if layer.name.endswith("squeeze_2_conv"):
            kernel, bias = layer.get_weights()
            layer.set_weights([0 * kernel, np.random.default_rng(4).normal(0, 2, bias.shape)])
    return request.param, model


@pytest.mark.parametrize("output_stride", [8, 16])
def test_smaller_output_strides_hold_the_features_of_32(at_stride_32, make_images, rng, output_stride):
    name, coarse = at_stride_32
    dense = backbone(name, width=0.25, output_stride=output_stride)
    dense.set_weights(coarse.get_weights())
    for size in [(96, 128), (65, 90)]:
        image = make_images(rng, 1, *size) / 64 - 2
        expected, features = coarse(image, training=False), dense(image, training=False)
        assert list(features) == ["res1", "res2", "res3", "res4", "res5"]
        for stage, stride in {"res1": 2, "res2": 4, "res3": 8, "res4": 16, "res5": 32}.items():
            step = max(1, stride // output_stride)
            assert features[stage].shape[1:3] == tuple(-(-n // min(stride, output_stride)) for n in size)
            assert np.std(expected[stage]) > 0.05
            np.testing.assert_allclose(features[stage][:, ::step, ::step], expected[stage], atol=1e-4, err_msg=stage)


ROUNDED = [(64, 1, 64), (72, 0.5, 40), (16, 0.75, 16), (24, 0.75, 24), (40, 0.25, 16), (8, 0.1, 8)]


@pytest.mark.parametrize("channels, width, expected", ROUNDED)
def test_widths_round_as_all_mobilenets_do(channels, width, expected):
    # 36 -> 40; 12 -> 16; 18 -> 16 would lose a ninth, so 24; 10 -> 8 would lose a fifth, so 16; 0.8 -> 8
    assert _inverted_residual.scaled(channels, width) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_multi_grid_gets_a_sentence(name):
    with pytest.raises(DeepLabError, match=rf"backbone {name} .*model.multi_grid .*\[1, 2, 4\]"):
        backbone(name, multi_grid=(1, 2, 4))


@pytest.mark.parametrize("size", ["large", "small"])
def test_imagenet_asks_for_the_published_file(size, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(keras.utils, "get_file", lambda name, url, **options: asked.append(url) or str(tmp_path / name))
    module = registry.load_backbone(f"mobilenet_v3_{size}")
    monkeypatch.setattr(module, "load_pretrained", lambda model, path: asked.append(path))
    pretrained.load_backbone_weights(None, f"mobilenet_v3_{size}", "imagenet")
    assert asked[0].endswith(f"mobilenet_v3/weights_mobilenet_v3_{size}_224_1.0_float_no_top_v2.h5")
    assert asked[1].startswith(str(tmp_path))
