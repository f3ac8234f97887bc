"""How fast frames are read for training: Cityscapes' PNG files at 1024x2048 against prepared records at 512x1024.

    python tools/benchmark_reading.py                          # on drawn scenes, 2 threads: a minute
    python tools/benchmark_reading.py --root ~/cityscapes      # on the first frames of the real ones

Both go the way of training: an index in tf.data, a NumPy function that reads and resizes the frame, a tensor. The rounds alternate, and the
files are in the system's page cache for both, so that decoding is compared and not the disk.
"""

import os
import tempfile
import time
from pathlib import Path

import click

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@click.command()
@click.option("--root", metavar="DIR", help="Cityscapes in its official layout. [default: scenes drawn for the occasion]")
@click.option("--frames", "count", default=24, show_default=True, help="How many frames are read in turn.")
@click.option("--threads", default=2, show_default=True, help="Frames that are read at the same time.")
@click.option("--seconds", default=4.0, show_default=True, help="Length of a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each; the median counts.")
def main(root, count, threads, seconds, rounds):
    """Prints images/s from files and from records, and their ratio."""
    from deeplab_tf.data import open_split
    from deeplab_tf.data.record_writer import write

    size = (512, 1024)
    with tempfile.TemporaryDirectory() as folder:
        data = {"name": "cityscapes", "root": root or str(draw(Path(folder, "scenes"), count)), "size": size}
        files = FirstFrames(open_split(data, "train"), count)
        write({"train": files}, size, data, folder, progress=lambda items, label, total: items)
        records = open_split({"name": "records", "root": folder, "size": size}, "train")
        splits = {"PNG files at 1024x2048, resized": files, "records at 512x1024": records}
        rates = {name: [] for name in splits}
        for _ in range(rounds):
            for name, split in splits.items():
                rates[name].append(read_for(seconds, split, size, threads))
        sizes = [sum(os.path.getsize(path) for i in range(len(files)) for path in files.paths(i)) / len(files)]
        sizes.append(sum(path.stat().st_size for path in Path(folder, "records").rglob("*.array_record*")) / len(files))
    medians = [sorted(values)[len(values) // 2] for values in rates.values()]
    for name, rate, size_in_bytes in zip(splits, medians, sizes):
        click.echo(f"{name:34} {rate:7.1f} images/s {size_in_bytes / 1e6:6.2f} MB a frame")
    click.echo(f"records are {medians[1] / medians[0]:.1f} times as fast, {threads} threads, median of {rounds} rounds")


def draw(root: Path, count: int) -> Path:
    """Scenes in Cityscapes' layout at its own size."""
    from deeplab_tf import frames
    from deeplab_tf.scenes import draw_scene

    for n in range(count):
        scene = draw_scene(0, n, (1024, 2048))
        name = f"drawn_{n:06}_000019"
        frames.write_image(root / "leftImg8bit" / "train" / "drawn" / f"{name}_leftImg8bit.png", scene.image)
        frames.write_image(root / "gtFine" / "train" / "drawn" / f"{name}_gtFine_labelIds.png", scene.label_ids)
        frames.write_image(root / "gtFine" / "train" / "drawn" / f"{name}_gtFine_instanceIds.png", scene.instance_ids)
    return root


class FirstFrames:
    """The first frames of a split."""

    def __init__(self, split, count):
        self._split = split
        self.table, self.names = split.table, split.names[:count]
        self.frame, self.panoptic_map, self.paths = split.frame, split.panoptic_map, split.paths

    def __len__(self):
        return len(self.names)


def read_for(seconds: float, split, size: tuple[int, int], threads: int) -> float:
    """Images/s of a split through tf.data; the first frames do not count."""
    import tensorflow as tf

    from deeplab_tf.data.pipeline import resize_frame

    def load(index):
        return tuple(resize_frame(split.frame(int(index)), size))

    indices = tf.data.Dataset.range(len(split)).repeat()
    loaded = indices.map(lambda i: tf.numpy_function(load, [i], (tf.uint8, tf.uint8), stateful=False), num_parallel_calls=threads)
    iterator = iter(loaded.prefetch(2))
    for _ in range(2 * threads):
        next(iterator)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(iterator)
        done += 1
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
