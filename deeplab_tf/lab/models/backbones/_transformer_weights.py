"""Weights of Transformers from PyTorch files, each tensor taken once."""

import keras
import numpy as np

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.models.torch_file import read_tensors


class Tensors:
    """The tensors of a file that are not yet taken.

    Attributes:
        path: of the file, for errors.
    """

    def __init__(self, path: str, *, without: tuple[str, ...]):
        """Read a file; leave out the tensors whose name begins with one of `without`, or ends with it."""
        self.path = path
        self._left = {
            name: value
            for name, value in read_tensors(path).items()
            if not name.startswith(without) and not name.endswith(without)
        }

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> np.ndarray:
        """Return a tensor that nothing has taken. Raise DeepLabError where there is none of this name."""
        if name not in self._left:
            raise DeepLabError(f"{self.path} has no {name}, which the backbone needs; is it of another network?")
        return self._left.pop(name)

    def norm(self, name: str) -> list[np.ndarray]:
        """Return scale and shift of a normalization."""
        return [self.take(f"{name}.weight"), self.take(f"{name}.bias")]

    def linear(self, name: str) -> list[np.ndarray]:
        """Return kernel (1, 1, in, out) and bias of a linear layer."""
        return [self.take(f"{name}.weight").T[None, None], self.take(f"{name}.bias")]

    def conv(self, name: str) -> list[np.ndarray]:
        """Return kernel (h, w, in, out) and bias of a convolution."""
        return [self.take(f"{name}.weight").transpose(2, 3, 1, 0), self.take(f"{name}.bias")]

    def block(self, name: str, place: str) -> dict[str, list[np.ndarray]]:
        """Return the weights of a block, but for its queries, keys and values, by the names of its layers here."""
        return {
            f"{place}_1_norm": self.norm(f"{name}.norm1"),
            f"{place}_attention_project_conv": self.linear(f"{name}.attn.proj"),
            f"{place}_2_norm": self.norm(f"{name}.norm2"),
            f"{place}_2_conv": self.linear(f"{name}.mlp.fc1"),
            f"{place}_3_conv": self.linear(f"{name}.mlp.fc2"),
        }

    def set(self, model: keras.Model, values: dict[str, list[np.ndarray]]) -> None:
        """Set the weights of a model's layers, once no tensor is left.

        Raises:
            DeepLabError: a tensor is left, or one has another shape.
        """
        if self._left:
            raise DeepLabError(f"{self.path} has {min(self._left)}, which this backbone does not have.")
        for name, given in values.items():
            for value, weight in zip(given, model.get_layer(name).weights, strict=True):
                if value.shape != tuple(weight.shape):
                    raise DeepLabError(
                        f"{self.path} has weights of shape {value.shape} for {name}, whose shape is "
                        f"{tuple(weight.shape)}; the file must be of this backbone, and model.width 1."
                    )
        for name, given in values.items():
            model.get_layer(name).set_weights(given)
