"""ResNet-18, 34 and 101: the rows of He et al.'s table, and the same features at every output stride."""

import keras
import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.backbones import resnet18, resnet34, resnet101


@pytest.mark.parametrize("module, published", [(resnet18, 11_689_512 - 513_000), (resnet34, 21_797_672 - 513_000)])
def test_parameters_are_those_of_torchvision_without_the_classifier(module, published):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, module.build(image))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == published


def test_the_rows_of_resnet_101():
    """He et al., table 1: 3, 4, 23 and 3 blocks of three convolutions, four projections and the first one are 104."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, resnet101.build(image, width=0.125))
    assert len([layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]) == 3 * 33 + 4 + 1


@pytest.mark.parametrize("multi_grid", [(1, 1, 1), (1, 2, 4)])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_smaller_output_strides_hold_the_features_of_32(randomize, make_images, rng, output_stride, multi_grid):
    def backbone(stride):
        image = keras.Input((None, None, 3))
        options = {"width": 0.125, "output_stride": stride, "multi_grid": multi_grid}
        return keras.Model(image, resnet34.build(image, **options))

    coarse, dense = randomize(backbone(32), make_images(np.random.default_rng(3), 4, 96, 96)), backbone(output_stride)
    dense.set_weights(coarse.get_weights())
    for size in [(96, 128), (65, 90)]:
        image = make_images(rng, 1, *size)
        expected, features = coarse(image, training=False), dense(image, training=False)
        for name, stride in {"res1": 2, "res2": 4, "res3": 8, "res4": 16, "res5": 32}.items():
            step = max(1, stride // output_stride)
            assert np.std(expected[name]) > 0.1
            np.testing.assert_allclose(features[name][:, ::step, ::step], expected[name], atol=1e-3, err_msg=name)


def test_a_stage_of_as_many_channels_as_the_one_before_halves_its_skip_too():
    """At width 1/16 res2 and res3 both have 8 channels."""
    image = keras.Input((64, 64, 3))
    features = keras.Model(image, resnet18.build(image, width=0.0625))(np.zeros((1, 64, 64, 3)))
    assert features["res2"].shape == (1, 16, 16, 8) and features["res3"].shape == (1, 8, 8, 8)


def test_two_blocks_take_no_multi_grid():
    with pytest.raises(DeepLabError, match="The backbone resnet18 takes no multi-grid"):
        resnet18.build(keras.Input((64, 64, 3)), multi_grid=(1, 2, 4))
