"""ImageNet weights of a backbone, from the file that keras.applications publishes."""

import hashlib
from pathlib import Path

import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.guard import expand
from deeplab_tf.lab.models.registry import load_backbone


def load_backbone_weights(model: keras.Model, backbone: str, weights: str) -> None:
    """Load published weights into the backbone of a model.

    Args:
        model: of this folder, at width 1.
        backbone: its name.
        weights: `none` (change nothing), `imagenet` (download once, to Keras' cache), or the path of the file.

    Raises:
        DeepLabError: no internet and no file, a file with other contents than published, a backbone without published
            weights, or a width other than 1.
    """
    if weights == "none":
        return
    network = load_backbone(backbone)
    if not hasattr(network, "PRETRAINED"):
        raise DeepLabError(
            f"There are no published ImageNet weights for the backbone {backbone}; set model.weights to none."
        )
    path = _download(network.PRETRAINED) if weights == "imagenet" else _check(network.PRETRAINED, weights)
    try:
        network.load_pretrained(model, path)
    except ValueError as error:  # from Keras, for a shape that differs
        raise DeepLabError(
            f"The published ImageNet weights fit {backbone} at width 1 only; set model.width to 1, or "
            "model.weights to none."
        ) from error


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
