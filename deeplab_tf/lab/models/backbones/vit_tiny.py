"""ViT of the size that DeiT calls tiny: 3 heads, 192 channels; see `_vit`."""

from deeplab_tf.lab.models.backbones import _vit
from deeplab_tf.lab.models.backbones._transformer import NORMALIZATION
from deeplab_tf.lab.models.backbones._vit import PRETRAINED, load_pretrained

__all__ = ["HEADS", "NORMALIZATION", "PRETRAINED", "build", "load_pretrained"]

HEADS = 3


def build(image, *, width: float = 1.0, output_stride: int = 16, multi_grid=(1, 1, 1), momentum: float = 0.99) -> dict:
    """Return the features of every stage; see `_vit.build`. `momentum` is unused: there is no batch normalization."""
    options = {"width": width, "output_stride": output_stride, "multi_grid": multi_grid}
    return _vit.build(image, HEADS, name="vit_tiny", **options)
