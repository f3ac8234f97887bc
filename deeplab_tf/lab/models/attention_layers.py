"""The layers of Transformers that Keras lacks, in operations that TF-TRT takes into an engine: no Einsum, and windows
never in the batch axis.

Their registered names ("deeplab_tf>WindowAttention", ...) stand in saved models and must stay.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

MASKED = -100.0
"""Added to the scores of positions that are no neighbors, as in Swin's published code."""


@keras.saving.register_keras_serializable("deeplab_tf")
class Attention(layers.Layer):
    """Softmax attention of every position to every other one (Vaswani et al., 2017, section 3.2).

    Call with (B, H, W, 3 * C): queries, keys and values, each of `heads` heads; returns (B, H, W, C).
    """

    def __init__(self, heads: int, **options):
        super().__init__(**options)
        self.heads = heads

    def call(self, inputs):
        return global_attention(inputs, self.heads)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], input_shape[3] // 3)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


def global_attention(x, heads: int):
    """Return the result of `Attention`. Known sides become constants of the graph, as TF-TRT needs them."""
    batch, (height, width), channels = _batch(x), _sides(x), x.shape[3] // 3
    tokens = tf.reshape(x, (batch, height * width, 3 * heads, channels // heads))
    tokens = tf.transpose(tokens, (0, 2, 1, 3))  # (B, 3 * heads, N, C / heads)
    queries, keys, values = (tokens[:, i * heads : (i + 1) * heads] for i in range(3))
    made = tf.matmul(_softmax(_products(queries, keys)), values)
    return tf.reshape(tf.transpose(made, (0, 2, 1, 3)), (batch, height, width, channels))


@keras.saving.register_keras_serializable("deeplab_tf")
class WindowAttention(layers.Layer):
    """Softmax attention within windows, with a bias by relative position (Liu et al., ICCV 2021, section 3.2).

    Call with (B, H, W, 3 * C): queries, keys and values of a convolution without bias; returns (B, H, W, C). The bias
    is added here, because padding, to whole windows at the lower and right border, comes before the convolution in the
    publication. With `shift` the windows begin that many positions further down and right; what the map's end and its
    beginning would share is masked. An axis of a single window is not shifted.
    """

    def __init__(self, heads: int, window: int, shift: int = 0, **options):
        super().__init__(**options)
        self.heads, self.window, self.shift = heads, window, shift

    def build(self, input_shape):
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        shape = ((2 * self.window - 1) ** 2, self.heads)
        self.relative_bias = self.add_weight(shape=shape, initializer=initializer, name="relative_bias")

    def call(self, inputs):
        bias, relative = (tf.cast(tf.convert_to_tensor(w), inputs.dtype) for w in (self.bias, self.relative_bias))
        return window_attention(inputs, bias, relative, heads=self.heads, window=self.window, shift=self.shift)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], input_shape[3] // 3)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads, "window": self.window, "shift": self.shift}


def window_attention(x, bias, relative_bias, *, heads: int, window: int, shift: int):
    """Return the result of `WindowAttention`. Known sides become constants of the graph, as TF-TRT needs them.

    Args:
        bias: (3 * C,).
        relative_bias: ((2 * window - 1)^2, heads).
    """
    batch, sides, channels = _batch(x), _sides(x), x.shape[3] // 3
    padded = [-(-side // window) * window for side in sides]
    shifts = window_shifts(padded, window, shift)
    if not _all_known(sides) or padded != sides:
        x = tf.pad(x, [(0, 0), *((0, after - before) for before, after in zip(sides, padded)), (0, 0)])
    x = _roll(x + bias, shifts)
    rows, columns, size = padded[0] // window, padded[1] // window, window * window
    count = rows * columns
    x = tf.transpose(tf.reshape(x, (batch, rows, window, columns, window, 3 * channels)), (0, 1, 3, 2, 4, 5))
    x = tf.transpose(tf.reshape(x, (batch, count * size, 3 * heads, channels // heads)), (0, 2, 1, 3))
    queries, keys, values = (
        tf.reshape(x[:, i * heads : (i + 1) * heads], (batch, heads * count, size, channels // heads)) for i in range(3)
    )
    scores = tf.reshape(_products(queries, keys), (batch, heads, count, size * size))
    scores = scores + bias_by_position(relative_bias, window)[None, :, None]
    if not _all_known(shifts) or any(shifts):
        # Reshaped between the two sums: TensorFlow would add bias and mask first, outside of TF-TRT's engine.
        mask = tf.reshape(window_mask(padded, window, shifts), (1, 1, count * size, size))
        scores = tf.reshape(scores, (batch, heads, count * size, size)) + tf.cast(mask, scores.dtype)
    x = tf.matmul(_softmax(tf.reshape(scores, (batch, heads * count, size, size))), values)
    x = tf.transpose(tf.reshape(x, (batch, heads, count * size, channels // heads)), (0, 2, 1, 3))
    x = tf.transpose(tf.reshape(x, (batch, rows, columns, window, window, channels)), (0, 1, 3, 2, 4, 5))
    x = _roll(tf.reshape(x, (batch, *padded, channels)), [-each for each in shifts])
    return x if _all_known(sides) and padded == sides else x[:, : sides[0], : sides[1]]


def window_shifts(padded, window: int, shift: int) -> list:
    """Return the shifts along height and width of a map of these sides: none along an axis of a single window."""
    known = [isinstance(side, int) for side in padded]
    return [
        (shift if side > window else 0) if known[axis] else tf.where(side > window, shift, 0)
        for axis, side in enumerate(padded)
    ]


def bias_by_position(table, window: int):
    """Return what is added to the scores of a window's positions, (heads, window^4), of a table by relative position:
    its rows are (2 * window - 1) * (down + window - 1) + right + window - 1."""
    place = np.arange(window)
    apart = place[:, None] - place + window - 1  # (query, key)
    index = (2 * window - 1) * apart[:, None, :, None] + apart[None, :, None, :]
    if isinstance(table, np.ndarray):
        return np.ascontiguousarray(table[index.reshape(-1)].T)
    return tf.transpose(tf.gather(table, index.reshape(-1)))


def window_mask(padded, window: int, shifts):
    """Return what is added to the scores of shifted windows, (windows, window^4): MASKED for positions that lie on
    opposite borders of the map. An array where all sides are known, else a tensor."""
    known = _all_known([*padded, *shifts])
    xp = np if known else tf
    rows, columns = (_regions(side, window, shift, xp) for side, shift in zip(padded, shifts))
    count = [side // window for side in padded]
    regions = xp.reshape(3 * rows[:, None] + columns[None], (count[0], window, count[1], window))
    regions = xp.reshape(xp.transpose(regions, (0, 2, 1, 3)), (-1, window * window))
    apart = xp.not_equal(regions[:, :, None], regions[:, None, :])
    return xp.reshape(MASKED * _as_float(apart, xp), (-1, window**4))


def _regions(side, window, shift, xp):
    """Number the parts of an axis of a shifted map that were neighbors before: 0, and 1 and 2 in its last window."""
    place = np.arange(side) if xp is np else tf.range(side)
    return sum(_as_float(xp.greater_equal(place, side - end), xp) for end in (window, shift))


def _as_float(values, xp):
    return values.astype(np.float32) if xp is np else tf.cast(values, tf.float32)


def _roll(x, shifts):
    """Move a map up and left by `shifts`, which may be negative; what leaves it comes in on the other side."""
    for axis, shift in enumerate(shifts, 1):
        if not isinstance(shift, int) or shift:
            before, after = (x[:, :shift], x[:, shift:]) if axis == 1 else (x[:, :, :shift], x[:, :, shift:])
            x = tf.concat([after, before], axis)
    return x


def _products(queries, keys):
    return tf.matmul(queries * queries.shape[-1] ** -0.5, keys, transpose_b=True)


def _softmax(scores):
    return tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), scores.dtype)


@keras.saving.register_keras_serializable("deeplab_tf")
class PositionEmbedding(layers.Layer):
    """Add a learned map to features (Dosovitskiy et al., ICLR 2021, section 3.1), resized bilinearly to their size.

    Call with (B, H, W, C). `embedding` is (rows, columns, C).
    """

    def __init__(self, grid: tuple[int, int], **options):
        super().__init__(**options)
        self.grid = tuple(grid)

    def build(self, input_shape):
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        shape = (*self.grid, input_shape[-1])
        self.embedding = self.add_weight(shape=shape, initializer=initializer, name="embedding")

    def call(self, inputs):
        resized = tf.image.resize(tf.convert_to_tensor(self.embedding)[None], _sides(inputs))
        return inputs + tf.cast(resized, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "grid": self.grid}


def resized_embedding(embedding, size: tuple[int, int]):
    """Return an embedding (rows, columns, C) at a size, as `PositionEmbedding` adds it: an array of an array."""
    rows, columns = (_interpolation(out, side) for out, side in zip(size, embedding.shape))
    xp = np if isinstance(embedding, np.ndarray) else tf
    return xp.einsum("ia,jb,abc->ijc", rows, columns, embedding)


def _interpolation(out, side):
    """Return the weights of `side` values in each of `out` values between them: (out, side), half-pixel centers."""
    place = np.clip((np.arange(out) + 0.5) * side / out - 0.5, 0, side - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(side)), 0).astype(np.float32)


@keras.saving.register_keras_serializable("deeplab_tf")
class SpaceToDepth(layers.Layer):
    """Stack blocks of 2x2 positions into channels: (B, H, W, C) -> (B, (H + before + 1) // 2, ..., 4 * C), the block's
    rows first. `before` positions of zeros are added above and to the left, and one below and to the right where a
    block needs it.
    """

    def __init__(self, before: int = 0, **options):
        super().__init__(**options)
        self.before = before

    def call(self, inputs):
        return space_to_depth(inputs, self.before)

    def compute_output_shape(self, input_shape):
        sides = (None if side is None else (side + self.before + 1) // 2 for side in input_shape[1:3])
        return (input_shape[0], *sides, 4 * input_shape[3])

    def get_config(self):
        return {**super().get_config(), "before": self.before}


def space_to_depth(x, before: int):
    """Return the result of `SpaceToDepth`, by a transpose, which TF-TRT takes."""
    batch, sides, channels = _batch(x), _sides(x), x.shape[3]
    if before or not _all_known(sides) or any(side % 2 for side in sides):
        x = tf.pad(x, [(0, 0), *((before, (side + before) % 2) for side in sides), (0, 0)])
    rows, columns = ((side + before + 1) // 2 for side in sides)
    x = tf.transpose(tf.reshape(x, (batch, rows, 2, columns, 2 * channels)), (0, 1, 3, 2, 4))
    return tf.reshape(x, (batch, rows, columns, 4 * channels))


def _batch(x):
    return 1 if x.shape[0] == 1 else tf.shape(x)[0]


def _sides(x):
    """Return height and width of (B, H, W, C): numbers where the graph knows them, else tensors."""
    return [tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis] for axis in (1, 2)]


def _all_known(sides):
    return all(isinstance(side, int) for side in sides)
