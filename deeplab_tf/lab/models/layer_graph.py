"""The graph of a functional model: which layer reads which."""

import keras


def layer_inputs(model: keras.Model) -> dict[str, list[keras.Operation]]:
    """Return, by name, the layers that each layer of a functional model reads, in the order of its inputs."""
    makers = {id(tensor): layer for layer in model.operations for tensor in keras.tree.flatten(layer.output)}
    inputs = {layer.name: keras.tree.flatten(layer.input) for layer in model.operations if not is_input(layer)}
    return {layer.name: [makers[id(tensor)] for tensor in inputs.get(layer.name, ())] for layer in model.operations}


def output_layer(model: keras.Model, name: str) -> keras.Operation:
    """Return the layer that makes an output of a functional model."""
    return next(layer for layer in model.operations if layer.output is model.output[name])


def is_input(layer: keras.Operation) -> bool:
    """Return whether a layer is an input of its model."""
    return isinstance(layer, keras.layers.InputLayer)
