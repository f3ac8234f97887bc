"""Windows over an image that is larger than the network, blended, with memory for one row of windows.

The image is covered by windows of the network's size that overlap. Class probabilities are blended with Gaussian
weights, highest at a window's center, that add up to 1 at each pixel (nnU-Net, Isensee et al., Nature Methods 2021). Of
a network that gives labels only, each pixel takes the label of the window whose center is nearest.

Windows start at multiples of the network's stride: moved by half a stride, the same pixels give other labels.
"""

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.fitting import pad
from deeplab_tf.core.predictor import Predictor, softmax
from deeplab_tf.core.resizing import resize_linear

SIGMA = 3 / 16
"""Of the weights, as a share of the window's side: with 1/8, labels depend more on where the windows are."""
STRIDE = 32
"""Pixels: the largest stride of a network's features."""
CLOSER = 1 / 16
"""Windows may be closer than the overlap asks for by this share, to start at multiples of the stride."""
BATCH = 4
"""Windows that a network gets at a time."""


class Block(NamedTuple):
    """A finished part of the image.

    Attributes:
        top, left: its first pixel.
        label_map: (h, w) uint8.
        planes: (C, h, w) float32 class probabilities; None for a network that gives labels only.
    """

    top: int
    left: int
    label_map: np.ndarray
    planes: Optional[np.ndarray]


class ArrayRows:
    """Rows of an (H, W, 3) uint8 RGB image in memory."""

    def __init__(self, image: np.ndarray):
        self.image, self.size = image, (image.shape[0], image.shape[1])

    def read(self, top: int, bottom: int) -> np.ndarray:
        """Return rows `top` up to `bottom`; `top` never goes back."""
        return self.image[top:bottom]


class _Axis(NamedTuple):
    """The windows along one axis.

    Attributes:
        length: of the image.
        starts: first pixel of each window.
        side: pixels of the image in each window.
        weights: of each window, (side,) float32.
    """

    length: int
    starts: List[int]
    side: int
    weights: List[np.ndarray]

    def done(self, i: int) -> int:
        """Return how many pixels of window i no later window reaches."""
        return self.starts[i + 1] - self.starts[i] if i + 1 < len(self.starts) else self.side

    def cell(self, i: int) -> Tuple[int, int]:
        """Return the pixels that are nearest to the center of window i, from and up to."""
        low = (self.starts[i - 1] + self.starts[i] + self.side) // 2 if i else 0
        last = i + 1 == len(self.starts)
        return low, self.length if last else (self.starts[i] + self.starts[i + 1] + self.side) // 2


def window_starts(length: int, window: int, overlap: float) -> List[int]:
    """Return the first pixels of windows that cover a length and overlap by at least that share.

    They are spaced evenly, at multiples of the stride but for the last one, which ends with the image. Where windows
    are too small for that, a part of the stride takes its place.
    """
    if length <= window:
        return [0]
    step, stride = max(1.0, window * (1 - overlap)), STRIDE
    while stride > 1 and step // stride * stride < (1 - CLOSER) * step:
        stride //= 2
    last = length - window
    count = int(np.ceil(last / (step // stride * stride) - 1e-9))
    return [-(-i * last // (count * stride)) * stride for i in range(count)] + [last]


def _axis(length, window, overlap):
    starts, side = window_starts(length, window, overlap), min(length, window)
    places = (np.arange(side) + 0.5 - side / 2) / (SIGMA * window)
    bell = np.exp(-0.5 * np.square(places))
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += bell
    weights = [(bell / total[start : start + side]).astype(np.float32) for start in starts]
    return _Axis(length, starts, side, weights)


def window_count(network: Predictor, size: Tuple[int, int]) -> int:
    """Return how many windows cover an image of a size."""
    axes = zip(size, network.size)
    rows, columns = (len(window_starts(length, window, network.overlap)) for length, window in axes)
    return rows * columns


def blocks(network: Predictor, image: Any, *, flip: bool = False) -> Iterator[Block]:
    """Yield the image in blocks, row of windows by row of windows, from left to right.

    Args:
        network: a loaded network; `overlap` is the least share of a window that its neighbor covers, too.
        image: `ArrayRows`, or another with `size` and `read`.
        flip: average with the mirrored windows.
    """
    rows, columns = (_axis(length, window, network.overlap) for length, window in zip(image.size, network.size))
    return (
        _blended(network, image, rows, columns, flip)
        if network.gives_probabilities
        else _stitched(network, image, rows, columns)
    )


def _blended(network, image, rows, columns, flip):
    """Blend along rows first and then down, which is the same as both at once: the weights are products.

    `below` holds the rows that the next windows reach, which is all that is kept of a row of windows.
    """
    overlapped = rows.side - min(rows.done(j) for j in range(len(rows.starts)))
    below = np.zeros((len(network.table), overlapped, columns.length), np.float32)
    left_over = 0  # rows of `below` that hold something
    for j, top in enumerate(rows.starts):
        done, beside = rows.done(j), None
        strip = image.read(top, top + rows.side)
        for i, planes in enumerate(_window_planes(network, strip, columns, flip)):
            planes *= columns.weights[i]
            if beside is not None:
                planes[..., : beside.shape[-1]] += beside
            left, width = columns.starts[i], columns.done(i)
            beside = planes[..., width:].copy()
            block = planes[..., :width] * rows.weights[j][:, None]
            block[:, :left_over] += below[:, :left_over, left : left + width]
            below[:, : rows.side - done, left : left + width] = block[:, done:]
            finished = block[:, :done]
            yield Block(top, left, best_of(finished)[0], finished)
        left_over = rows.side - done


def _window_planes(network, strip, columns, flip):
    """Yield (C, h, w) probabilities of each window in a strip of the image."""
    views = 1 + flip
    for outputs in _in_batches(network, _windows(strip, columns, network.size, flip), BATCH - BATCH % views):
        for i in range(0, len(outputs), views):
            planes = _planes(network, outputs[i], strip, columns)
            if flip:
                mirrored = softmax(outputs[i + 1].logits)
                planes += _sized(mirrored, network)[:, : len(strip), ::-1][..., : columns.side]
                planes *= np.float32(0.5)
            yield planes


def _planes(network, prediction, strip, columns):
    return _sized(softmax(prediction.logits), network)[:, : len(strip), : columns.side]


def _sized(planes, network):
    if network.label_stride == 1:
        return planes
    return np.stack([resize_linear(plane, network.size, network.label_stride) for plane in planes])


def _windows(strip, columns, size, flip):
    for left in columns.starts:
        frame = pad(np.ascontiguousarray(strip[:, left : left + columns.side]), size)
        yield frame
        if flip:
            yield np.ascontiguousarray(frame[:, ::-1])


def _in_batches(network, frames, count):
    waiting: List[np.ndarray] = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == count:
            yield network.predict_many(waiting)
            waiting = []
    if waiting:
        yield network.predict_many(waiting)


def _stitched(network, image, rows, columns):
    for j, top in enumerate(rows.starts):
        strip = image.read(top, top + rows.side)
        first, last = rows.cell(j)
        i = 0
        for outputs in _in_batches(network, _windows(strip, columns, network.size, False), BATCH):
            for prediction in outputs:
                labels = resize_labels(prediction.label_map, network.size, network.label_stride)
                low, high = columns.cell(i)
                start = columns.starts[i]
                yield Block(first, low, labels[first - top : last - top, low - start : high - start], None)
                i += 1


def best_of(planes: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """Return the (h, w) uint8 number of the highest of C planes, of equal ones the first; and its value."""
    labels, best = np.zeros(planes[0].shape, np.uint8), planes[0].copy()
    for class_id in range(1, len(planes)):
        labels[planes[class_id] > best] = class_id
        np.maximum(best, planes[class_id], out=best)
    return labels, best
