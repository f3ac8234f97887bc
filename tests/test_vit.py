"""Plain Vision Transformers: attention of all patches, on every path to a device."""

import exports
import keras
import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.attention_layers import Attention, PositionEmbedding, resized_embedding
from deeplab_tf.lab.models.registry import load_backbone, load_network

SIZE = (65, 97)


def backbone(name="vit_tiny", width=1.0):
    image = keras.Input((None, None, 3))
    return keras.Model(image, load_backbone(name).build(image, width=width))


@pytest.mark.parametrize("name, published, channels", [("vit_tiny", 5_717_416, 192), ("vit_small", 22_050_664, 384)])
def test_parameters_are_the_published_ones(name, published, channels):
    """DeiT's, without the classifier of 1,000 classes, the class token and its position, and with normalizations of
    res2, res3 and res4."""
    expected = published - 1000 * (channels + 1) - 2 * channels + 3 * 2 * channels
    assert backbone(name).count_params() == expected


def test_attention_equals_a_loop_over_positions(rng):
    heads, dim, height, width = 2, 3, 3, 4
    x = rng.normal(size=(2, height, width, 3 * heads * dim)).astype(np.float32)
    parts = x.reshape(2, height * width, 3, heads, dim)
    expected = np.zeros((2, height * width, heads, dim))
    for image, query, head in np.ndindex(expected.shape[:3]):
        scores = [parts[image, query, 0, head] @ key / np.sqrt(dim) for key in parts[image, :, 1, head]]
        weights = np.exp(np.array(scores) - max(scores))
        expected[image, query, head] = weights @ parts[image, :, 2, head] / weights.sum()
    np.testing.assert_allclose(Attention(heads)(x), expected.reshape(2, height, width, -1), atol=1e-5)


def test_an_embedding_is_resized_as_in_its_export(rng):
    """Halved in height and tripled in width; at its own size it stays as it is."""
    layer = PositionEmbedding((4, 3))
    for size in ((2, 9), (4, 3), (7, 5)):
        x = rng.normal(size=(1, *size, 5)).astype(np.float32)
        added = (layer(x) - x).numpy()[0]
        table = layer.embedding.numpy()
        np.testing.assert_allclose(added, resized_embedding(table, size), atol=1e-6)
        if size == (2, 9):  # rows 0.5 and 2.5; the middle of each third is a column of its own
            np.testing.assert_allclose(added[:, 4], [table[:2, 1].mean(0), table[2:, 1].mean(0)], atol=1e-6)
        if size == (4, 3):
            np.testing.assert_allclose(added, table, atol=1e-6)


def test_features_follow_the_patches_and_not_the_pixels(rng):
    """Without its embedding, attention of all patches knows no places: an image moved by a patch, round its end, has
    moved features."""
    model = backbone(width=0.125)
    exports.randomize_transformer(model)
    layer = model.get_layer("conv1_position")
    layer.embedding.assign(np.zeros(layer.embedding.shape))
    image = np.zeros((1, 120, 120, 3), np.float32)
    image[:, 8:104, 8:104] = rng.normal(size=(1, 96, 96, 3))  # whole patches; zeros around as in the padding
    first, moved = (model(each)["res5"].numpy()[0] for each in (image, np.roll(image, 8, axis=(1, 2))))
    shifted = model(np.pad(image, ((0, 0), (16, 0), (0, 0), (0, 0)))[:, :120])["res5"].numpy()[0]
    assert first.shape == (8, 8, 24)
    np.testing.assert_allclose(shifted[1:], first[:-1], atol=1e-4 * np.abs(first).max())
    assert np.abs(moved[1:, 1:] - first[:-1, :-1]).max() > 0.1 * np.abs(first).max()


def test_every_pixel_is_seen_from_everywhere(rng):
    """The last pixel of an image whose sides are no multiple of 16 changes the first feature, and each stage's."""
    model = backbone(width=0.125)
    exports.randomize_transformer(model)
    image = rng.normal(size=(1, 40, 57, 3)).astype(np.float32)
    other = image.copy()
    other[0, -1, -1] += 5
    for name, stride in (("res2", 4), ("res3", 8), ("res4", 16), ("res5", 16)):
        first, second = (model(each)[name].numpy()[0] for each in (image, other))
        assert first.shape[0] * stride >= 40 and first.shape[1] * stride >= 57
        assert np.abs(second - first)[0, 0].max() > 1e-4


@pytest.mark.parametrize(
    "name, options",
    [("unet", {"decoder_channels": (16, 16, 8), "output_stride": 16}), ("lr_aspp", {"aspp_channels": 16})],
)
def test_every_export_equals_keras(randomize, make_images, rng, name, options):
    model = exports.make(randomize, make_images, name, backbone="vit_tiny", width=0.125, **options)
    exports.check_exports(model, make_images(rng, 4, *SIZE).round(), int8_error=0.3)


def test_another_output_stride_is_refused():
    with pytest.raises(DeepLabError, match="vit_small has an output stride of 16.*Got 32 instead"):
        load_network("fcn")(3, backbone="vit_small", width=0.125, output_stride=32)
