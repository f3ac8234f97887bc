"""Panoptic-DeepLab's network and its losses."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.encoder import in_backbone
from deeplab_tf.lab.models.panoptic_deeplab import panoptic_deeplab
from deeplab_tf.lab.models.registry import load_network
from deeplab_tf.lab.training.losses import SegmentationLoss, center_loss, offset_loss

SMALL = {"width": 0.125, "aspp_channels": 16, "decoder_channels": 16, "instance_channels": 16, "head_channels": 8}
SMALL.update(low_level_channels=(8, 8), instance_low_level_channels=(8, 8))


def names(model):
    return {layer.name for layer in model.layers}


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return panoptic_deeplab(5, **SMALL)


@pytest.mark.parametrize("size", [(96, 128), (97, 131)])
def test_outputs_have_the_size_of_the_image(network, make_images, rng, size):
    outputs = network(make_images(rng, 2, *size), training=False)
    assert {name: tuple(x.shape[1:]) for name, x in outputs.items()} == {
        "logits": (*size, 5),
        "center": (*size, 1),
        "offset": (*size, 2),
    }
    assert all(x.dtype == tf.float32 for x in outputs.values())


def test_sharing_saves_weights(network):
    aspp, decoder = (panoptic_deeplab(5, shared=shared, **SMALL) for shared in ("aspp", "decoder"))
    assert network.count_params() > aspp.count_params() > decoder.count_params()
    assert "instance_aspp_concat" in names(network) and "instance_aspp_concat" not in names(aspp)
    assert "instance_decoder_res2_concat" in names(aspp) and "instance_decoder_res2_concat" not in names(decoder)


@pytest.mark.parametrize("output_stride, factors", [(8, [2]), (16, [2, 2]), (32, [4, 2])])
def test_decoders_end_at_a_quarter_of_the_size(output_stride, factors):
    model = panoptic_deeplab(5, size=(64, 96), output_stride=output_stride, **SMALL)
    steps = [
        layer.factor for layer in model.layers if layer.name.startswith("decoder_") and layer.name.endswith("_upsample")
    ]
    assert steps == factors and model.get_layer("decoder_res2_concat").output.shape[1:3] == (16, 24)


def test_a_gradient_reaches_every_weight(network, make_images, rng):
    image = make_images(rng, 2, 64, 64)
    with tf.GradientTape() as tape:
        outputs = network(image, training=True)
        loss = sum(tf.reduce_sum(x * tf.random.normal(tf.shape(x))) for x in outputs.values())
    missing = [
        v.path
        for v, gradient in zip(network.trainable_variables, tape.gradient(loss, network.trainable_variables))
        if gradient is None
    ]
    assert not missing


def test_heads_are_no_part_of_the_backbone(network):
    outside = {v.path.split("_")[0] for v in network.trainable_variables if not in_backbone(v.path)}
    assert {"aspp", "decoder", "instance", "center", "offset", "logits"} <= {name.split("/")[0] for name in outside}
    assert all(v.path.startswith(("conv1", "res")) for v in network.trainable_variables if in_backbone(v.path))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"shared": "asp"}, "'asp' for model.shared. Did you mean 'aspp'"),
        ({"output_stride": 12}, "model.output_stride.* 12"),
        ({"low_level_channels": (0, 8)}, r"model.low_level_channels.* \(0, 8\)"),
    ],
)
def test_wrong_options_get_a_sentence(options, message):
    with pytest.raises(DeepLabError, match=message):
        panoptic_deeplab(5, **options)


def test_a_network_is_found_by_its_files_name():
    assert load_network("panoptic_deeplab") is panoptic_deeplab


def test_an_unknown_network_gets_a_sentence():
    with pytest.raises(DeepLabError, match="'panoptic_deeplap' for model.name. Did you mean 'panoptic_deeplab'"):
        load_network("panoptic_deeplap")


def test_center_loss_worked_by_hand():
    # squares of 0.5 and 0.2 at weights 1 and 1, and of 9 at weight 0: (0.25 + 0.04) / 2
    value = center_loss()(
        tf.constant([[[1.0, 0.0, 0.0]]]), tf.constant([[[[0.5], [0.2], [9.0]]]]), tf.constant([[[1.0, 1.0, 0.0]]])
    )
    assert float(value) == pytest.approx(0.145)


def test_offset_loss_worked_by_hand():
    # |3 - 1| + |4 - 4| at weight 1, and anything at weight 0
    truth, predicted = tf.constant([[[[3.0, 4.0], [0.0, 0.0]]]]), tf.constant([[[[1.0, 4.0], [7.0, 7.0]]]])
    assert float(offset_loss()(truth, predicted, tf.constant([[[1.0, 0.0]]]))) == pytest.approx(2.0)
    assert float(offset_loss()(truth, predicted, tf.zeros((1, 1, 2)))) == 0.0


def test_pixel_weights_multiply_class_weights():
    # two classes, even logits for pixel 1 (ln 2), ln(1 + e^-2) for pixel 2: (3 ln 2 + 2 * 0.126928) / (3 + 2)
    logits, labels = tf.constant([[[[0.0, 0.0], [0.0, 2.0]]]]), tf.constant([[[0, 1]]])
    value = SegmentationLoss(2, class_weights=[1.0, 2.0])(labels, logits, tf.constant([[[3.0, 1.0]]]))
    assert float(value) == pytest.approx((3 * np.log(2) + 2 * np.log1p(np.exp(-2))) / 5, rel=1e-5)
