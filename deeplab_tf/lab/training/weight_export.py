"""The network that a training exports."""

from collections.abc import Callable
from pathlib import Path

import keras

from deeplab_tf.core.files import replacing


class WeightExport:
    """The exported EMA weights: the network in float32, without optimizer and auxiliary head, with the averages of its
    weights where the optimizer keeps them."""

    def __init__(
        self, trained: keras.Model, optimizer, exported: keras.Model, make_runtime: Callable, run_dir: Path | None
    ):
        """
        Args:
            trained: the model in training.
            optimizer: the one that keeps the averages, which float16's loss scaling wraps.
            exported: a float32 network for the weights, and `make_runtime` what computes with it.
            run_dir: where networks are saved; None saves nothing, which another worker does.
        """
        self.trained, self.optimizer, self.exported, self.run_dir = trained, optimizer, exported, run_dir
        self._runtime = make_runtime(exported)

    def runtime(self):
        """Return the runtime with the current weights."""
        values = {v.path: v for v in self.trained.variables}
        if self.optimizer.use_ema:
            averages = {v.name: v for v in self.optimizer.variables}
            values.update({v.path: averages[average_name(v)] for v in self.trained.trainable_variables})
        for variable in self.exported.variables:
            if variable.path in values:
                variable.assign(values[variable.path])
        return self._runtime

    def save(self, name: str) -> None:
        """Save the network with the current weights under the run folder."""
        if self.run_dir is None:
            return
        self.runtime()
        with replacing(self.run_dir / name, sync=True) as temporary:
            self.exported.save(temporary)


def average_name(variable: keras.Variable) -> str:
    """Return the name of the optimizer's variable that averages a weight."""
    return f"{variable.path.replace('/', '_')}_average"
