"""Reading frames of drawn streets for training, at half their size: ours from files, augmented, from prepared records; TensorFlow's own.

All go the way of training: an index in tf.data, images resized bilinearly and labels to the nearest, a tensor. The files are in the
system's page cache, so that decoding is compared and not the disk. One repetition reads every frame once.
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def draw(root, count, size):
    """Scenes in Cityscapes' layout, unless they are there."""
    from deeplab_tf import frames
    from deeplab_tf.scenes import draw_scene

    for n in range(count):
        name = "drawn_{:06}_000019".format(n)
        image = root / "leftImg8bit" / "train" / "drawn" / (name + "_leftImg8bit.png")
        if not image.exists():
            scene = draw_scene(0, n, size)
            frames.write_image(root / "gtFine" / "train" / "drawn" / (name + "_gtFine_labelIds.png"), scene.label_ids)
            frames.write_image(root / "gtFine" / "train" / "drawn" / (name + "_gtFine_instanceIds.png"), scene.instance_ids)
            frames.write_image(image, scene.image)


def ours(options, data):
    """From PNG files, or with `records` from what `deeplab-tf prepare` writes of them."""
    import tensorflow as tf

    from deeplab_tf.data import open_split
    from deeplab_tf.data.pipeline import resize_frame
    from deeplab_tf.data.record_writer import write

    split = open_split(data, "train")
    if options["method"] == "records":
        if not Path(options["folder"], "records").exists():
            write({"train": split}, data["size"], data, options["folder"], progress=lambda items, label, total: items)
        split = open_split({"name": "records", "root": options["folder"], "size": data["size"]}, "train")

    def load(index):
        return tuple(resize_frame(split.frame(int(index)), data["size"]))

    indices = tf.data.Dataset.range(len(split))
    return indices.map(lambda i: tf.numpy_function(load, [i], (tf.uint8, tf.uint8), stateful=False), num_parallel_calls=options["threads"])


def augmented(options, data):
    """Batches of two as training gets them: flipped, turned, scaled, recoloured, and cut to half the size."""
    from deeplab_tf.data import open_split
    from deeplab_tf.data.augment import Augmentation
    from deeplab_tf.data.pipeline import TrainingPipeline

    split, size = open_split(data, "train"), data["size"]
    crop = (size[0] // 2, size[1] // 2)
    augmentation = Augmentation(crop=crop, flip=0.5, rotation=10, scale=(0.5, 2.0), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)
    pipeline = TrainingPipeline(split, size=size, batch_size=2, seed=0, augmentation=augmentation)
    batches = iter(pipeline.batches(0, 10**6))

    def read():
        for _ in range(len(split) // 2):
            next(batches)

    return read


def stock(options, data):
    """tf.io.decode_png and tf.image.resize."""
    import tensorflow as tf

    from deeplab_tf.data import open_split
    from deeplab_tf.labels import CITYSCAPES_TO_CLASS

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


def prepare(options):
    """`method`: files, records, augmented or stock."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    data = {"name": "cityscapes", "root": str(Path(options["folder"], "scenes")), "size": tuple(options["size"])}
    draw(Path(data["root"]), options["frames"], tuple(2 * side for side in options["size"]))
    if options["method"] == "augmented":
        read = augmented(options, data)
    else:
        frames = (stock if options["method"] == "stock" else ours)(options, data).prefetch(2)

        def read():
            for image, _ in frames:
                image.numpy()

    read()
    return {"name": "TensorFlow " + tf.__version__}, read


if __name__ == "__main__":
    from worker import serve

    serve(prepare)
