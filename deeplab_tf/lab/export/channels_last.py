"""Rewrite the first and last layers of an INT8 graph with channels last, which ONNX Runtime computes faster on a CPU.

- A value per channel that is added to the image is stored for a row of pixels: ONNX Runtime adds long rows at once, but
  three channels in a loop.
- A first convolution of stride 2 gathers three channels pixel by pixel. With blocks of 2x2 pixels as channels
  (space-to-depth) it has stride 1 and a kernel of half the height and width: the same sums of longer rows.
- Logits are few channels of many pixels. Their 1x1 convolution becomes an integer matrix product with channels last,
  and resizing and ArgMax access memory in order.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deeplab_tf.lab.export.onnx_model import CHANNELS_FIRST, CHANNELS_LAST

SMALLEST_KERNEL = 5
"""Smaller first convolutions do not pay for the reordering of pixels."""


def channels_last(graph: onnx.GraphProto) -> None:
    """Rewrite a graph of `qdq.for_cpu` in place; layers of another form stay as they are."""
    _Rewriter(graph).run()


class _Rewriter:
    def __init__(self, graph: onnx.GraphProto):
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}

    def run(self):
        self._rewrite_first(self._expand_to_rows())
        for value in self.graph.output:
            chain = self._last_layers(value.name)
            if chain:
                self._rewrite_last(*chain)
        self._sort()

    def _maker(self, name):
        """Return the node that makes a tensor; one without a type for a constant or an input."""
        return self._makers.get(name, onnx.NodeProto())

    def _readers(self, name):
        return [node for node in self.graph.node if name in node.input]

    def _values(self, name):
        return numpy_helper.to_array(self.constants[name])

    def _constant(self, name, values):
        tensor = numpy_helper.from_array(np.ascontiguousarray(values), name)
        self.graph.initializer.append(tensor)
        self.constants[name] = tensor
        return name

    def _expand_to_rows(self):
        """Return the name of the normalized image."""
        (image,) = self.graph.input
        width = image.type.tensor_type.shape.dim[2].dim_value
        name = image.name
        while True:
            readers = self._readers(name)
            if len(readers) != 1 or not self._adds_constant(readers[0]):
                return name
            (node,) = readers
            values = self._values(node.input[1])
            if values.ndim == 1:
                node.input[1] = self._constant(f"{node.name}/row", np.broadcast_to(values, (1, 1, width, values.size)))
            name = node.output[0]

    def _adds_constant(self, node):
        return node.op_type in ("Add", "Mul", "Sub") and node.input[1] in self.constants

    def _rewrite_first(self, image):
        """Let a first quantized convolution of stride 2 with a large kernel read blocks of 2x2 pixels as channels."""
        chain = self._first_layers(image)
        if chain is None:
            return
        transpose, quantize, dequantize, convolution = chain
        kernel = self._maker(convolution.input[1])
        values = self._values(kernel.input[0])
        (top, left, *_), sides = _attribute(convolution, "pads"), values.shape[2:]
        name = quantize.output[0]
        _, height, width, channels = (side.dim_value for side in self.graph.input[0].type.tensor_type.shape.dim)
        blocks = (height // 2, 2, width // 2, 2 * channels)
        rows = self._constant(f"{name}/rows", np.array(blocks, np.int64))
        pixels = self._constant(f"{name}/pixels", np.array((1, height // 2, width // 2, 4 * channels), np.int64))
        made = self._add("Reshape", [name, rows], f"{name}/in_rows")
        made = self._add("Transpose", [made.output[0]], f"{name}/in_blocks", perm=(0, 2, 1, 3))
        made = self._add("Reshape", [made.output[0], pixels], f"{name}/blocks")
        quantize.input[0], transpose.input[0] = transpose.input[0], made.output[0]
        transpose.output[0] = dequantize.input[0] = f"{name}/blocks_first"
        kernel.input[0] = self._constant(f"{kernel.input[0]}/blocks", _in_blocks(values, top, left))
        (above, below, high), (before, after, wide) = (_block_pads(side, pad) for side, pad in zip(sides, (top, left)))
        _set_attributes(convolution, strides=(1, 1), kernel_shape=(high, wide), pads=(above, before, below, after))

    def _first_layers(self, image):
        """Return Transpose, QuantizeLinear, DequantizeLinear and Conv after an image; None for layers of another
        form."""
        chain, name = [], image
        for kind in ("Transpose", "QuantizeLinear", "DequantizeLinear", "Conv"):
            readers = self._readers(name)
            if len(readers) != 1 or readers[0].op_type != kind or readers[0].input[0] != name:
                return None
            chain += readers
            name = readers[0].output[0]
        convolution = chain[-1]
        kernel = self._maker(convolution.input[1])
        if kernel.op_type != "DequantizeLinear" or kernel.input[0] not in self.constants:
            return None
        if tuple(_attribute(chain[0], "perm") or ()) != CHANNELS_FIRST or self._values(kernel.input[2]).any():
            return None
        return chain if self._can_unfold(convolution, self._values(kernel.input[0]).shape) else None

    def _can_unfold(self, convolution, kernel):
        batch, height, width, channels = (side.dim_value for side in self.graph.input[0].type.tensor_type.shape.dim)
        dilated = any(rate != 1 for rate in _attribute(convolution, "dilations") or ())
        plain = batch == 1 and kernel[1] == channels and not dilated
        pads, sides = _attribute(convolution, "pads") or (0, 0, 0, 0), kernel[2:]
        halves = all(a + b - side in (-2, -1) for a, b, side in zip(pads[:2], pads[2:], sides))  # half the positions
        blocks = height > 0 and width > 0 and height % 2 == width % 2 == 0  # 0: not known
        strided = tuple(_attribute(convolution, "strides") or ()) == (2, 2) and min(sides) >= SMALLEST_KERNEL
        return plain and strided and halves and blocks

    def _last_layers(self, name):
        """Return (convolution, resize or None, last) that make an output; None for layers of another form."""
        last = self._maker(name)
        if last.op_type == "Cast":
            last = self._maker(last.input[0])
        transposed = last.op_type == "Transpose" and _attribute(last, "perm") == [*CHANNELS_LAST]
        if last.op_type != "ArgMax" and not transposed:
            return None
        before, resize = self._maker(last.input[0]), None
        if before.op_type == "Resize":
            before, resize = self._maker(before.input[0]), before
        between = [node.output[0] for node in (before, resize) if node is not None and node.output]
        if before.op_type != "Conv" or any(len(self._readers(link)) != 1 for link in between):
            return None
        return before, resize, last

    def _rewrite_last(self, convolution, resize, last):
        name = f"{convolution.name}/channels_last"
        made = self._product(convolution) or self._transposed(convolution.output[0], name)
        if resize is not None:
            made = self._resized(resize, made)
        if last.op_type == "ArgMax":
            last.input[0] = made.output[0]
            next(attribute for attribute in last.attribute if attribute.name == "axis").i = 3
        else:
            self.graph.node.remove(last)
            made.output[0] = last.output[0]

    def _product(self, convolution):
        """Make a quantized 1x1 convolution a matrix product with channels last; return None for another one."""
        inputs = [self._maker(name) for name in convolution.input]
        if [each.op_type for each in inputs] != ["DequantizeLinear"] * 3:
            return None
        pixels, kernel, bias = inputs
        strided = any(side != 1 for side in _attribute(convolution, "strides") or ())
        if strided or self._values(kernel.input[0]).shape[2:] != (1, 1):
            return None
        name = convolution.name
        for node in (convolution, kernel, bias):
            self.graph.node.remove(node)
        matrix = self._constant(f"{name}/matrix", self._values(kernel.input[0])[:, :, 0, 0].T)
        rows = self._transposed(pixels.input[0], f"{name}/rows")
        product = self._add("MatMulInteger", [rows.output[0], matrix, pixels.input[2]], f"{name}/product")
        sums = self._add("Add", [product.output[0], bias.input[0]], f"{name}/sums")
        floats = self._add("Cast", [sums.output[0]], f"{name}/float", to=onnx.TensorProto.FLOAT)
        if not self._readers(pixels.output[0]):
            self.graph.node.remove(pixels)
        return self._add("Mul", [floats.output[0], bias.input[1]], f"{name}/channels_last")

    def _resized(self, resize, source):
        sizes = max(position for position, name in enumerate(resize.input) if name)  # scales or sizes: the last input
        turned = self._constant(f"{resize.name}/sizes", self._values(resize.input[sizes])[list(CHANNELS_LAST)])
        resize.input[0], resize.input[sizes] = source.output[0], turned
        resize.output[0] = f"{resize.name}/channels_last"
        return resize

    def _transposed(self, tensor, name):
        return self._add("Transpose", [tensor], name, perm=CHANNELS_LAST)

    def _add(self, kind, inputs, output, **attributes):
        self.graph.node.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return self.graph.node[-1]  # append copies

    def _sort(self):
        """Put every node after what it reads."""
        known = {"", *self.constants, *(value.name for value in self.graph.input)}
        waiting, ordered = list(self.graph.node), []
        while waiting:
            node = next(node for node in waiting if known.issuperset(node.input))
            waiting.remove(node)
            ordered.append(node)
            known.update(node.output)
        del self.graph.node[:]
        self.graph.node.extend(ordered)


def _attribute(node, name) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)


def _set_attributes(node, **attributes):
    for attribute in [each for each in node.attribute if each.name in attributes]:
        node.attribute.remove(attribute)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())


def _block_pads(side, pad):
    """Return padding before and after, and the side, in blocks of two pixels, of a kernel's side and padding in
    pixels."""
    before, after = (pad + 1) // 2, (side - 1 - pad) // 2
    return before, after, before + after + 1


def _in_blocks(kernel, top, left):
    """Turn a kernel (O, C, h, w) for pixels into (O, 4 C, h', w') for blocks, with channels (row, column, channel)."""
    (above, _, high), (before, _, wide) = (_block_pads(side, pad) for side, pad in zip(kernel.shape[2:], (top, left)))
    outputs, channels, height, width = kernel.shape
    row, column = 2 * above - top, 2 * before - left
    whole = np.zeros((outputs, channels, 2 * high, 2 * wide), kernel.dtype)
    whole[:, :, row : row + height, column : column + width] = kernel
    parts = whole.reshape(outputs, channels, high, 2, wide, 2).transpose(0, 3, 5, 1, 2, 4)  # (O, 2, 2, C, h', w')
    return parts.reshape(outputs, 4 * channels, high, wide)
