"""What the lab uses of Keras beyond its documentation. Checked with Keras 3.15.0 and 3.15.1.

A Keras version that fails here needs a change in the file that the test names.
"""

import keras
import tensorflow as tf
from keras import layers

from deeplab_tf.lab.models.layer_graph import layer_inputs, output_layer
from deeplab_tf.lab.training.optimizers import Muon
from deeplab_tf.lab.training.weight_export import average_name


def model():
    image = keras.Input((4, 4, 3), name="image")
    first = layers.Conv2D(2, 1, name="first")(image)
    total = layers.Add(name="total")([layers.Conv2D(2, 1, name="second")(first), first])
    return keras.Model(image, {"logits": total})


def test_muon_asks_should_use_adamw_which_variables_take_adams_steps():
    """For `Muon._should_use_adamw` in lab/training/optimizers.py: a private method, overridden."""
    optimizer, network = Muon(outputs=("logits",)), model()
    optimizer.build(network.trainable_variables)
    kernel, bias = network.get_layer("first").weights
    indices = [v.path for v in network.trainable_variables]
    assert optimizer.adam_velocities[indices.index(kernel.path)] is None
    assert optimizer.adam_velocities[indices.index(bias.path)] is not None


def test_update_step_gets_the_tensorflow_variable():
    """For `_PerVariable.update_step` in lab/training/optimizers.py, which looks settings up by `variable.ref()`."""
    seen = []

    class Recorder(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            seen.append(variable.ref())

    network = model()
    Recorder().apply([tf.zeros(v.shape) for v in network.trainable_variables], network.trainable_variables)
    assert seen == [variable.value.ref() for variable in network.trainable_variables]


def test_averages_are_optimizer_variables_named_after_the_weights():
    """For `average_name` in lab/training/weight_export.py."""
    network, optimizer = model(), keras.optimizers.SGD(use_ema=True)
    optimizer.build(network.trainable_variables)
    names = {variable.name for variable in optimizer.variables}
    assert {average_name(variable) for variable in network.trainable_variables} <= names


def test_inputs_and_outputs_of_layers_are_the_tensors_of_the_graph():
    """For lab/models/layer_graph.py, which uses `layer.input`, `layer.output` and `model.operations`."""
    network = model()
    found = {name: [layer.name for layer in inputs] for name, inputs in layer_inputs(network).items()}
    assert found == {"image": [], "first": ["image"], "second": ["first"], "total": ["second", "first"]}
    assert output_layer(network, "logits") is network.get_layer("total")
