"""Training with the rounding of 8-bit integers: `quantization.aware` in a recipe."""

from pathlib import Path

import click
import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.lab.config import Config
from deeplab_tf.lab.export import calibration, onnx_model
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.qat import QATModel
from deeplab_tf.lab.export.run_frames import calibration_frames
from deeplab_tf.lab.training import state


class QuantizedTraining:
    """The ranges that a run trains with: those of the state that it resumes from, else measured on its training
    images."""

    def __init__(self, config: Config, model: keras.Model, table: LabelTable, run_dir: Path):
        """
        Args:
            config: the recipe.
            model: the network that the run starts from, with its weights.
            table: the classes.
            run_dir: the run's folder.

        Raises:
            DeepLabError: the network is not trained yet; a run is resumed whose ranges are gone.
        """
        if state.latest(run_dir / "checkpoints") is not None:
            self.ranges = calibration.load(run_dir)
            if self.ranges is None:
                raise DeepLabError(
                    f"{run_dir} lacks {calibration.FILE}, the ranges that it trains with; begin another run."
                )
        elif not Path(config.model["weights"]).expanduser().is_dir():
            raise DeepLabError("quantization.aware goes on from a trained network; name its run with model.weights.")
        else:
            self.ranges = _measure(config, model, table)

    def quantized(self, model: keras.Model) -> QATModel:
        """The model as its integers compute."""
        return QATModel(model, self.ranges.plan(read_network(model)))

    def save(self, run_dir: Path) -> None:
        """Keeps the ranges with the run, for `convert`."""
        state.write_atomic(run_dir / calibration.FILE, lambda file: file.write(self.ranges.to_json().encode()))


def _measure(config, model, table):
    options, network = config.quantization, with_head(read_network(model))
    frames = list(calibration_frames(config, config.size, options.calibration_images + calibration.HELD_OUT))
    floats = onnx_model.onnx_model(network, config.size)
    found = calibration.calibrate(
        floats, network, frames, table, method=options.calibration, images=options.calibration_images
    )
    agreement = max(found.agreement.values())
    click.echo(
        f"Ranges: {found.method}; before training the integers agree with the float network to {agreement:.2%}.",
        err=True,
    )
    return found
