"""The last nodes of a network: at which resolution it predicts, and whether labels or logits."""

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network, Node


def with_head(network: Network, *, label_stride: int = 1, output: str = "labels") -> Network:
    """Return the network with another head.

    Args:
        network: each of its outputs is an `upsample` to the image's size.
        label_stride: one of `label_strides`. 1 keeps the upsampling; its factor removes it; twice its factor also
            computes the outputs at every second position only.
        output: "labels" appends an argmax, "logits" does not.

    Raises:
        DeepLabError: the network has no such label stride.
    """
    possible = label_strides(network)
    if label_stride not in possible:
        *others, last = map(str, possible)
        raise DeepLabError(
            f"The label stride of this network can be {', '.join(others)} or {last}. Got {label_stride} instead."
        )
    ends, nodes = [network[name] for name in network.outputs.values()], list(network.nodes)
    if label_stride > 1:
        for end in ends:
            nodes.remove(end)
            small = network[end.inputs[0]]
            if label_stride > end.attributes["factor"]:
                stride = small.attributes["stride"] * label_stride // end.attributes["factor"]
                nodes[nodes.index(small)] = small._replace(attributes={**small.attributes, "stride": stride})
        ends = [network[end.inputs[0]] for end in ends]
    if output == "labels":
        nodes.append(Node("labels", "argmax", (ends[0].name,)))
    return Network(tuple(nodes), tuple(end.name for end in ends[1:]))


def label_strides(network: Network) -> tuple[int, ...]:
    """Return the label strides that a network can have: 1, the stride of its logits and, if a convolution makes them,
    twice that.

    Raises:
        DeepLabError: it does not end with upsampling.
    """
    ends = [network[name] for name in network.outputs.values()]
    for end in ends:
        if end.op != "upsample":
            raise DeepLabError(
                f"Expected a network that ends with upsampling; this one ends with {end.name} ({end.op})."
            )
    factor = ends[0].attributes["factor"]
    from_convolutions = all(network[end.inputs[0]].op in CONVOLUTIONS for end in ends)
    return (1, factor, 2 * factor) if from_convolutions else (1, factor)
