"""FCN: sums of logits from coarse to fine, on every path to a device."""

from types import SimpleNamespace

import exports
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.lab.config.sections import Optimizer
from deeplab_tf.lab.models.fcn import fcn
from deeplab_tf.lab.training.initial_weights import copy_classes, copy_network_weights
from deeplab_tf.lab.training.optimizers import make_optimizer

SIZE = (65, 97)


@pytest.fixture
def model(randomize, make_images):
    return exports.make(randomize, make_images, "fcn", backbone="resnet18", width=0.125, head_channels=16)


def up(x, factor, like):
    size = [factor * side for side in x.shape[1:3]]
    return tf.raw_ops.ResizeBilinear(images=x, size=size)[:, : like[0], : like[1]]


def test_logits_are_added_from_coarse_to_fine(model, make_images, rng):
    """Long et al., figure 3: FCN-8s = up8(up2(up2(stride 32) + stride 16) + stride 8)."""
    image = make_images(rng, 1, *SIZE)
    names = [f"logits_{stage}_conv" for stage in ("res5", "res4", "res3")]
    parts = keras.Model(model.input, [model.get_layer(name).output for name in names])(image)
    assert [part.shape[1:3] for part in parts] == [(3, 4), (5, 7), (9, 13)]
    deep, middle, fine = parts
    total = up(up(deep, 2, middle.shape[1:3]) + middle, 2, fine.shape[1:3]) + fine
    np.testing.assert_allclose(model(image)["logits"], up(total, 8, SIZE), atol=1e-4)


def test_every_export_equals_keras(model, make_images, rng):
    exports.check_exports(model, make_images(rng, 4, *SIZE).round())


@pytest.mark.parametrize("finest, scores", [(8, 3), (16, 2), (32, 1)])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_any_output_stride_gives_an_image_of_logits(finest, scores, output_stride):
    model = fcn(3, backbone="resnet18", width=0.125, head_channels=8, finest=finest, output_stride=output_stride)
    assert model(np.zeros((1, 40, 56, 3)))["logits"].shape == (1, 40, 56, 3)
    assert len([layer for layer in model.layers if layer.name.startswith("logits") and layer.weights]) == scores


def test_logits_shift_with_the_image(monkeypatch):
    tiny.use_backbone(monkeypatch)
    exports.check_shift(lambda: fcn(3, output_stride=16, head_channels=8), 16)


def test_every_classifier_is_replaced_for_other_classes_but_for_names_that_stay():
    options = {"backbone": "resnet18", "width": 0.125, "head_channels": 8}
    source, model = fcn(2, **options), fcn(3, **options)
    tables = [
        LabelTable(Label(i, name, (i, i, i), False) for i, name in enumerate(names))
        for names in (("road", "sky"), ("sky", "tree", "car"))
    ]
    before = {weight.path: weight.numpy() for weight in model.weights}
    copy_network_weights(source, model, "run", without_classifier=True)
    assert copy_classes(SimpleNamespace(model=source, table=tables[0]), model, tables[1]) == ["sky"]
    theirs = {weight.path: weight.numpy() for weight in source.weights}
    for stage in ("res5", "res4", "res3"):
        path = f"logits_{stage}_conv/kernel"
        kernel = model.get_layer(f"logits_{stage}_conv").kernel.numpy()
        np.testing.assert_array_equal(kernel[..., 0], theirs[path][..., 1])
        np.testing.assert_array_equal(kernel[..., 1:], before[path][..., 1:])
    np.testing.assert_array_equal(model.get_layer("decoder_conv").kernel, theirs["decoder_conv/kernel"])


def test_muon_takes_adams_steps_for_every_classifier():
    model = fcn(3, backbone="resnet18", width=0.125, head_channels=8)
    optimizer = make_optimizer(Optimizer(name="muon"), model, 10)
    adam = {v.path for v in model.trainable_variables if v.path.endswith("kernel") and optimizer._should_use_adamw(v)}
    assert adam == {f"logits_{stage}_conv/kernel" for stage in ("res5", "res4", "res3")}


def test_wrong_options_get_a_sentence():
    with pytest.raises(DeepLabError, match="model.head_channels must be greater than 0. Got 0"):
        fcn(3, head_channels=0)
