import hashlib

import h5py
import keras
import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models import pretrained
from deeplab_tf.lab.models.backbones import resnet50


def backbone(width=1.0, output_stride=32):
    image = keras.Input((None, None, 3))
    return keras.Model(image, resnet50.build(image, width=width, output_stride=output_stride))


@pytest.fixture(scope="module")
def small():
    return backbone(width=0.125)


def write_in_published_form(model, path):
    """In the form of keras.applications' files: HDF5 with a group for each layer, in the order of the layers."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            for weight in layer.weights:
                group.create_dataset(f"{layer.name}/{weight.name}:0", data=weight.numpy())


def test_a_file_made_in_the_published_form_gives_the_features_of_keras_applications(
    stock_resnet50, make_images, rng, tmp_path, monkeypatch
):
    path = tmp_path / "weights.h5"
    write_in_published_form(stock_resnet50, path)
    monkeypatch.setitem(resnet50.PRETRAINED, "md5", hashlib.md5(path.read_bytes()).hexdigest())
    own = backbone()
    pretrained.load_backbone_weights(own, "resnet50", str(path))
    image = make_images(rng, 1, 64, 96)
    expected = stock_resnet50(keras.applications.resnet50.preprocess_input(image.copy()), training=False)
    normalized = (image - resnet50.NORMALIZATION["mean"]) / resnet50.NORMALIZATION["std"]
    np.testing.assert_allclose(own(normalized, training=False)["res5"], expected, atol=1e-4)


def test_imagenet_asks_for_the_published_file(small, tmp_path, monkeypatch):
    asked = {}

    def get_file(name, url, **options):
        asked.update(options, name=name, url=url)
        return str(tmp_path / name)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    monkeypatch.setattr(resnet50, "load_pretrained", lambda model, path: asked.update(loaded=path))
    pretrained.load_backbone_weights(small, "resnet50", "imagenet")
    assert asked["url"] == resnet50.PRETRAINED["url"] + asked["name"]
    assert asked["url"].startswith("https://storage.googleapis.com/tensorflow/keras-applications/resnet/resnet50_")
    assert asked["file_hash"] == resnet50.PRETRAINED["md5"]
    assert asked["loaded"] == str(tmp_path / asked["name"])


def raises(error):
    def get_file(*args, **options):
        raise error

    return get_file


def test_a_failed_download_gets_a_sentence(small, monkeypatch):
    error = Exception("URL fetch failure on https://x: None -- [Errno -2] Name or service not known")
    monkeypatch.setattr(keras.utils, "get_file", raises(error))
    with pytest.raises(DeepLabError, match="https://storage.googleapis.com/.*model.weights"):
        pretrained.load_backbone_weights(small, "resnet50", "imagenet")


def test_a_download_with_other_contents_gets_a_sentence(small, monkeypatch):
    error = ValueError("Incomplete or corrupted file detected.")
    monkeypatch.setattr(keras.utils, "get_file", raises(error))
    with pytest.raises(DeepLabError, match=resnet50.PRETRAINED["md5"]):
        pretrained.load_backbone_weights(small, "resnet50", "imagenet")


def test_a_missing_file_gets_a_sentence(small, tmp_path):
    with pytest.raises(DeepLabError, match=f"model.weights.* {tmp_path}/gone.h5"):
        pretrained.load_backbone_weights(small, "resnet50", f"{tmp_path}/gone.h5")


def test_a_file_with_other_contents_gets_a_sentence(small, tmp_path):
    (tmp_path / "other.h5").write_bytes(b"hello")
    with pytest.raises(DeepLabError, match="5d41402abc4b2a76b9719d911017c592.*4d473c1d"):
        pretrained.load_backbone_weights(small, "resnet50", f"{tmp_path}/other.h5")


def test_a_narrower_network_gets_a_sentence(small, stock_resnet50, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_check", lambda published, path: path)
    monkeypatch.setattr(resnet50, "load_pretrained", lambda model, path: resnet50.copy_weights(model, stock_resnet50))
    with pytest.raises(DeepLabError, match="resnet50 at width 1"):
        pretrained.load_backbone_weights(small, "resnet50", "any.h5")


def test_a_backbone_without_published_weights_gets_a_sentence(small, monkeypatch):
    monkeypatch.delattr(resnet50, "PRETRAINED")
    with pytest.raises(DeepLabError, match="backbone resnet50.*model.weights to none"):
        pretrained.load_backbone_weights(small, "resnet50", "imagenet")


def test_none_leaves_the_network_alone(small):
    before = small.get_weights()
    pretrained.load_backbone_weights(small, "resnet50", "none")
    for a, b in zip(before, small.get_weights()):
        np.testing.assert_array_equal(a, b)
