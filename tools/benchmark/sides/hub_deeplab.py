"""Run keras-hub's DeepLabV3+ on ResNet-50 (output stride 32) in its own environment."""

from training_batch import CLASSES, IGNORED, Steps, training_batch
from worker import serve


def prepare(options):
    """Prepare frames or training steps."""
    import keras
    import keras_hub
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(options["precision"])
    shape = (*options["size"], 3)
    encoder = keras_hub.models.ResNetBackbone(
        [64], [7], [64, 128, 256, 512], [3, 4, 6, 3], [1, 2, 2, 2], "bottleneck_block", image_shape=shape
    )
    backbone = keras_hub.models.DeepLabV3Backbone(
        encoder, "P5", 8, [6, 12, 18], low_level_feature_key="P2", projection_filters=48, image_shape=shape
    )
    model = keras_hub.models.DeepLabV3ImageSegmenter(backbone, CLASSES)
    versions = f"keras-hub {keras_hub.__version__}, TensorFlow {tf.__version__}"
    about = {"name": versions, "parameters": model.count_params()}
    if options["task"] == "step":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED)
        model.compile(keras.optimizers.Adam(0.001), loss, metrics=[], jit_compile=False)
        images, labels = training_batch(options)
        return about, Steps(keras, model, images.astype(np.float32), labels)
    run = tf.function(lambda image: tf.argmax(model(image, training=False), -1, tf.int32), jit_compile=False)
    frame = tf.constant(np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.float32))
    return about, lambda: run(frame).numpy()


if __name__ == "__main__":
    serve(prepare)
