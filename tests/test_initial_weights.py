"""Starting from another run's network, with the same classes or others."""

import types

import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.lab.models.registry import build_network, model_schema
from deeplab_tf.lab.training import initial_weights


def network(classes, **options):
    values = {"width": 0.125, "aspp_channels": 8, "decoder_channels": 8, "output_stride": 32, **options}
    return build_network(model_schema("deeplab_v3_plus").model_validate(values).model_dump(), classes)


def table(*names):
    return LabelTable([Label(i, name, (i, 0, 0), False) for i, name in enumerate(names)])


@pytest.fixture
def load(tmp_path, monkeypatch):
    """load(source, names, model, its names): as `model.weights: RUN` does, with that network as the run's."""

    def apply(source, names, model, own):
        runtime = types.SimpleNamespace(model=source, table=table(*names))
        monkeypatch.setattr(initial_weights, "open_run", lambda path: runtime)
        section = {"weights": str(tmp_path), "backbone": "resnet50"}
        initial_weights.load_initial_weights(model, section, table(*own))

    return apply


def test_other_classes_keep_all_but_the_classifier(load, capsys):
    source, model = network(3), network(4)
    before = {weight.path: weight.numpy() for weight in model.weights}
    load(source, ["road", "tree", "sky"], model, ["sky", "car", "road", "bus"])
    given = {weight.path: weight.numpy() for weight in source.weights}
    kept = {"logits_conv/kernel": [], "logits_conv/bias": []}
    for weight in model.weights:
        if weight.path not in kept:
            np.testing.assert_array_equal(weight, given[weight.path])
    for path in kept:
        after = next(weight.numpy() for weight in model.weights if weight.path == path)
        np.testing.assert_array_equal(after[..., 0], given[path][..., 2])  # sky
        np.testing.assert_array_equal(after[..., 2], given[path][..., 0])  # road
        np.testing.assert_array_equal(after[..., [1, 3]], before[path][..., [1, 3]])
    assert "these classes keep theirs: sky, road" in capsys.readouterr().err


def test_the_same_classes_keep_everything(load, capsys):
    source, model = network(3), network(3)
    load(source, ["a", "b", "c"], model, ["a", "b", "c"])
    for weight, given in zip(model.weights, source.weights):
        np.testing.assert_array_equal(weight, given)
    assert capsys.readouterr().err == ""


def test_another_network_gets_a_sentence(load):
    with pytest.raises(DeepLabError, match="this recipe's shape"):
        load(network(3, decoder_channels=16), ["a", "b", "c"], network(2), ["a", "b"])


def test_a_run_of_another_epsilon_gives_the_same_function(load, monkeypatch):
    """Version 0.1 had 1.001e-5 for all backbones, and the published EfficientNet-Lite has 1e-3."""
    from deeplab_tf.lab.models.backbones import _efficientnet_lite

    options = {"backbone": "efficientnet_lite0", "width": 0.25}
    with monkeypatch.context() as patch:
        patch.setattr(_efficientnet_lite, "EPSILON", 1.001e-5)
        source = network(3, **options)
    model = network(3, **options)
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    source(image, training=True)  # statistics that are not 0 and 1
    load(source, ["a", "b", "c"], model, ["a", "b", "c"])
    expected = source(image, training=False)["logits"].numpy()
    found = model(image, training=False)["logits"].numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert source.get_layer("conv1_bn").epsilon != model.get_layer("conv1_bn").epsilon


def test_a_state_of_another_epsilon_is_of_another_network(monkeypatch):
    import keras

    from deeplab_tf.lab.models.backbones import _efficientnet_lite
    from deeplab_tf.lab.training import state

    def layout():
        keras.utils.clear_session()
        model = network(3, backbone="efficientnet_lite0", width=0.25)
        return state.layout(model, keras.optimizers.SGD())

    now = layout()
    assert layout() == now
    monkeypatch.setattr(_efficientnet_lite, "EPSILON", 1.001e-5)
    assert layout() != now
