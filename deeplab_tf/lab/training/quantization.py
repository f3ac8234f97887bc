"""Quantization-aware training (QAT): `quantization.aware` in a recipe."""

from pathlib import Path

import click
import keras

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import write_text
from deeplab_tf.core.guard import expand
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.lab.config import Config
from deeplab_tf.lab.export import calibration, onnx_model
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.network import read_network
from deeplab_tf.lab.export.qat import QATModel
from deeplab_tf.lab.export.run_frames import calibration_frames
from deeplab_tf.lab.training.run_folder import saved_step
from deeplab_tf.lab.workers import ALONE, Workers


class QuantizedTraining:
    """The ranges that a run trains with: its own when it resumes, else measured on its training images."""

    def __init__(self, config: Config, model: keras.Model, table: LabelTable, run_dir: Path, workers: Workers = ALONE):
        """
        Args:
            config: the recipe.
            model: the network that the run starts from, with its weights.
            table: the classes.
            run_dir: the run's folder, of worker 0.
            workers: get the ranges of worker 0.

        Raises:
            DeepLabError: the network is not trained yet, or the ranges of a run to resume are gone.
        """
        found = _ranges(config, model, table, run_dir)._asdict() if workers.writes else None
        self.ranges = calibration.Calibration(**workers.share(found))

    def quantized(self, model: keras.Model) -> QATModel:
        """Return the model as its INT8 network computes."""
        return QATModel(model, self.ranges.plan(read_network(model)))

    def save(self, run_dir: Path) -> None:
        """Save the ranges in the run folder, for `convert`."""
        write_text(run_dir / calibration.FILE, self.ranges.to_json())


def _ranges(config, model, table, run_dir):
    if saved_step(run_dir):
        found = calibration.load(run_dir)
        if found is None:
            raise DeepLabError(f"{run_dir} lacks {calibration.FILE}, the run's INT8 ranges; begin another run.")
        return found
    if not Path(expand(config.model["weights"])).is_dir():
        raise DeepLabError("quantization.aware needs a trained network; name its run with model.weights.")
    return _measure(config, model, table)


def _measure(config, model, table):
    options, network = config.quantization, with_head(read_network(model))
    frames = list(calibration_frames(config, config.size, options.calibration_images + calibration.HELD_OUT))
    floats = onnx_model.onnx_model(network, config.size)
    found = calibration.calibrate(
        floats, network, frames, table, method=options.calibration, images=options.calibration_images
    )
    agreement = max(found.agreement.values())
    click.echo(f"Ranges: {found.method}; pixel agreement before training, INT8 to float: {agreement:.2%}.", err=True)
    return found
