"""Run and train DeepLabV3+ on ResNet-50, written with stock Keras layers and Keras' default settings."""

from training_batch import CLASSES, IGNORED, Steps, training_batch
from worker import serve

STAGES = ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 2, 1), (512, 3, 1, 2))
"""Width, blocks, stride and atrous rate of ResNet-50's stages at output stride 16."""


def network(size, *, separable):
    """Return a network from (B, H, W, 3) pixels to (B, H, W, 19) logits."""
    import keras
    from keras import layers

    def conv(x, filters, kernel=1, stride=1, rate=1, relu=True):
        x = layers.Conv2D(filters, kernel, strides=stride, dilation_rate=rate, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        return layers.ReLU()(x) if relu else x

    def head(x, filters, rate=1):
        if not separable:
            return conv(x, filters, 3, rate=rate)
        x = layers.DepthwiseConv2D(3, dilation_rate=rate, padding="same", use_bias=False)(x)
        return conv(layers.ReLU()(layers.BatchNormalization()(x)), filters)

    image = keras.Input((*size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(conv(x, 64, 7, stride=2))  # (B, H/4, W/4, 64)
    for stage, (width, blocks, first_stride, rate) in enumerate(STAGES):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            skip = conv(x, 4 * width, stride=stride, relu=False) if block == 0 else x
            y = conv(conv(x, width), width, 3, stride=stride, rate=rate)
            x = layers.ReLU()(layers.Add()([skip, conv(y, 4 * width, relu=False)]))
        if stage == 0:
            low_level = x
    mean = conv(layers.GlobalAveragePooling2D(keepdims=True)(x), 256)  # x: (B, H/16, W/16, 2048)
    mean = layers.UpSampling2D((size[0] // 16, size[1] // 16), interpolation="bilinear")(mean)
    pyramid = [conv(x, 256), *(head(x, 256, rate) for rate in (6, 12, 18)), mean]
    x = layers.UpSampling2D(4, interpolation="bilinear")(conv(layers.Concatenate()(pyramid), 256))
    x = layers.Concatenate()([x, conv(low_level, 48)])  # (B, H/4, W/4, 304)
    x = layers.Conv2D(CLASSES, 1, dtype="float32")(head(head(x, 256), 256))
    return keras.Model(image, layers.UpSampling2D(4, interpolation="bilinear", dtype="float32")(x))


def prepare(options):
    """Prepare frames or training steps."""
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(options["precision"])
    model = network(options["size"], separable=options["separable"])
    about = {"name": f"TensorFlow {tf.__version__}, Keras {keras.__version__}", "parameters": model.count_params()}
    if options["task"] == "step":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
        model.compile(keras.optimizers.Adam(0.001), loss, jit_compile=False)
        images, labels = training_batch(options)
        return about, Steps(keras, model, images, labels)
    run = tf.function(lambda image: tf.argmax(model(image, training=False), -1, tf.int32), jit_compile=False)
    frame = tf.constant(np.random.default_rng(0).integers(0, 256, (1, *options["size"], 3)).astype(np.float32))
    return about, lambda: run(frame).numpy()


if __name__ == "__main__":
    serve(prepare)
