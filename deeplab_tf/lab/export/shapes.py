"""Shapes of a network's tensors."""

from deeplab_tf.lab.export.nodes import CONVOLUTIONS, Network, Node

Shape = tuple[int, int, int]
Pads = tuple[tuple[int, int], tuple[int, int]]


def network_shapes(network: Network, size: tuple[int, int]) -> dict[str, Shape]:
    """Return height, width and channels of every tensor for an image of a size."""
    shapes: dict[str, Shape] = {}
    for node in network.nodes:
        shapes[node.name] = _shape(node, [shapes[name] for name in node.inputs], size)
    return shapes


def padding(node: Node, shape: Shape) -> Pads:
    """Return ((top, bottom), (left, right)) of a convolution or pooling; "same" as in TensorFlow.

    Args:
        shape: of its input.
    """
    if node.attributes["padding"] != "same":
        return node.attributes["padding"]
    stride, pads = node.attributes["stride"], []
    for side, extent in zip(shape, _extents(node)):
        total = max((-(-side // stride) - 1) * stride + extent - side, 0)
        pads.append((total // 2, total - total // 2))
    return pads[0], pads[1]


def kernel_size(node: Node) -> tuple[int, int]:
    """Return height and width of the kernel of a convolution or pooling."""
    if node.op in CONVOLUTIONS:
        height, width = node.weights["kernel"].shape[:2]
        return height, width
    return node.attributes["size"], node.attributes["size"]


def _extents(node):
    """Height and width of the pixels that a kernel reaches over."""
    return [node.attributes.get("rate", 1) * (side - 1) + 1 for side in kernel_size(node)]


def _shape(node: Node, inputs: list[Shape], size: tuple[int, int]) -> Shape:
    if node.op == "input":
        return (*size, 3)
    height, width, channels = inputs[0]
    if node.op in (*CONVOLUTIONS, "max_pool", "avg_pool"):
        sides = zip(inputs[0], padding(node, inputs[0]), _extents(node))
        height, width = ((side + sum(pads) - extent) // node.attributes["stride"] + 1 for side, pads, extent in sides)
        channels = node.weights["kernel"].shape[3] if node.op == "conv" else channels
    elif node.op in ("add", "multiply"):
        height, width, channels = (max(sides) for sides in zip(*inputs))
    elif node.op == "concat":
        channels = sum(shape[2] for shape in inputs)
    elif node.op == "mean":
        height = width = 1
    elif node.op == "upsample":
        height, width = (
            inputs[1][:2] if len(inputs) > 1 else (node.attributes["factor"] * side for side in (height, width))
        )
    elif node.op in ("linear_attention", "attention", "window_attention"):
        channels //= 3
    elif node.op == "space_to_depth":
        height, width = ((side + node.attributes["before"] + 1) // 2 for side in (height, width))
        channels *= 4
    elif node.op == "argmax":
        channels = 1
    return height, width, channels
