"""Read frames of drawn streets for training at half their size: ours from files, augmented and from prepared records,
beside TensorFlow's and Keras' own.

All go the way of training: images made smaller (ours by area, tf.data's bilinearly) and labels to the nearest, a
tensor. The files are in the system's page cache, so that decoding is compared and not the disk. One repetition reads
every frame once, and to the end: what is read ahead would be a gift to the next repetition, and work beside the other
side's.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH, ROTATION, SCALE, COLOR, HUE = 2, 10, (0.5, 2.0), 0.3, 0.05
"""Batch size, degrees, factors and shares of color change, of both sides that augment."""


def draw(root, count, size):
    """Draw scenes in Cityscapes' layout, unless they exist."""
    from deeplab_tf.core import image_files
    from deeplab_tf.synth import draw_scene

    for n in range(count):
        name = f"drawn_{n:06}_000019"
        image = root / "leftImg8bit" / "train" / "drawn" / (name + "_leftImg8bit.png")
        if not image.exists():
            scene = draw_scene(0, n, size)
            image_files.write_image(
                root / "gtFine" / "train" / "drawn" / (name + "_gtFine_labelIds.png"), scene.label_ids
            )
            image_files.write_image(
                root / "gtFine" / "train" / "drawn" / (name + "_gtFine_instanceIds.png"), scene.instance_ids
            )
            image_files.write_image(image, scene.image)


def ours(options, data):
    """Read PNG files, or with `records` what `deeplab-tf prepare` writes."""
    import tensorflow as tf

    from deeplab_tf.lab.data import open_split
    from deeplab_tf.lab.data.pipeline import resize_sample
    from deeplab_tf.lab.data.record_writer import write

    split = open_split(data, "train")
    if options["method"] == "records":
        if not Path(options["folder"], "records").exists():
            write({"train": split}, data["size"], data, options["folder"], progress=lambda items, label, total: items)
        split = open_split({"name": "records", "root": options["folder"], "size": data["size"]}, "train")

    def load(index):
        return tuple(resize_sample(split.sample(int(index)), data["size"]))

    indices = tf.data.Dataset.range(len(split))
    return indices.map(
        lambda i: tf.numpy_function(load, [i], (tf.uint8, tf.uint8), stateful=False),
        num_parallel_calls=options["threads"],
    )


def augmented(options, data):
    """Read frames as training does: flipped, rotated, scaled, color-jittered, and cropped to half the size."""
    from deeplab_tf.lab.data import open_split
    from deeplab_tf.lab.data.augment import Augmentation
    from deeplab_tf.lab.data.pipeline import TrainingPipeline

    split, size = open_split(data, "train"), data["size"]
    colors = {"brightness": COLOR, "contrast": COLOR, "saturation": COLOR, "hue": HUE}
    augmentation = Augmentation(crop=half(size), flip=0.5, rotation=ROTATION, scale=SCALE, **colors)
    pipeline = TrainingPipeline(split, size=size, batch_size=BATCH, seed=0, augmentation=augmentation)
    return pipeline.batches(0, len(split) // BATCH)


def half(size):
    """Return half of a height and width."""
    return size[0] // 2, size[1] // 2


def stock(options, data):
    """Read with tf.io.decode_png and tf.image.resize."""
    import tensorflow as tf

    from deeplab_tf.core.cityscapes import CITYSCAPES_TO_CLASS
    from deeplab_tf.lab.data import open_split

    split = open_split(data, "train")
    paths = [[str(path) for path in split.paths(i)[:2]] for i in range(len(split))]
    to_class = tf.constant(CITYSCAPES_TO_CLASS)

    def load(pair):
        image = tf.io.decode_png(tf.io.read_file(pair[0]), 3)
        label = tf.io.decode_png(tf.io.read_file(pair[1]), 1)
        image = tf.cast(tf.image.resize(image, data["size"]), tf.uint8)
        label = tf.image.resize(label, data["size"], "nearest")[..., 0]
        return image, tf.gather(to_class, tf.cast(label, tf.int32))

    return tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=options["threads"])


def stock_augmented(options, data):
    """Augment with Keras' layers, which take images and masks. They interpolate twice, draw scales uniformly instead of
    log-uniformly, add brightness, crop a batch at one place, fill with class 0, and give float32."""
    from keras import layers

    chain = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(ROTATION / 360, fill_mode="constant"),
        layers.RandomZoom(tuple(1 / factor - 1 for factor in SCALE), fill_mode="constant"),  # above 0 it zooms out
        layers.RandomCrop(*half(data["size"])),
        layers.RandomBrightness(COLOR),
        layers.RandomContrast((COLOR, COLOR)),
        layers.RandomSaturation(
            tuple(factor / (1 + factor) for factor in (1 - COLOR, 1 + COLOR))
        ),  # f multiplies by f / (1 - f)
        layers.RandomHue(2 * HUE),  # in half circles
    ]
    frames = (
        stock(options, data)
        .map(lambda image, label: {"images": image, "segmentation_masks": label[..., None]})
        .batch(BATCH)
    )
    for layer in chain:
        frames = frames.map(layer, num_parallel_calls=options["threads"])
    return frames.map(lambda both: (both["images"], both["segmentation_masks"]))


def prepare(options):
    """Prepare `method`: files, records, augmented, stock or stock_augmented."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    data = {"name": "cityscapes", "root": str(Path(options["folder"], "scenes")), "size": tuple(options["size"])}
    draw(Path(data["root"]), options["frames"], tuple(2 * side for side in options["size"]))
    makers = {
        "files": ours,
        "records": ours,
        "augmented": augmented,
        "stock": stock,
        "stock_augmented": stock_augmented,
    }
    frames = makers[options["method"]](options, data).prefetch(2)

    def read():
        for image, _ in frames:
            image.numpy()

    read()
    return {"name": f"TensorFlow {tf.__version__}, Keras {tf.keras.__version__}"}, read


if __name__ == "__main__":
    from worker import serve

    serve(prepare)
