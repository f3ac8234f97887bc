"""The files that records are written to: how many, what is in each, and how several are written at once."""

import collections
import contextlib
import functools
import json
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds

from deeplab_tf.core import image_files
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.panoptic.coco import to_colors
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.pipeline import resize_sample
from deeplab_tf.lab.data.split import Split

SHARD_BYTES = 1 << 27
"""Of pixels in a file, before compression: a process that trains on a part of the records opens few files that others
read too."""
FILE_FORMAT = "array_record"


class Shard(NamedTuple):
    """What is in one file: samples of a split, in order. Other processes open the split by themselves.

    Attributes:
        data: the recipe's `data` section, as JSON.
        split: its name.
        start, names: the index of the first sample, and the names of all.
        size: height, width of images and label maps.
        path: the file to write.
    """

    data: str
    split: str
    start: int
    names: Sequence[str]
    size: tuple[int, int]
    path: str


def boundaries(count: int, sample_bytes: int) -> list[int]:
    """Return where each shard of a split begins, and `count`: as few shards of SHARD_BYTES as hold it, equally long."""
    shards = min(count, max(1, -(-count * sample_bytes // SHARD_BYTES)))
    return [round(count * i / shards) for i in range(shards + 1)]


def features(size: tuple[int, int]) -> tfds.features.FeaturesDict:
    """Return what a record holds."""
    return tfds.features.FeaturesDict(
        {
            "name": tfds.features.Text(),
            "image": tfds.features.Tensor(shape=(*size, 3), dtype=np.uint8, encoding="bytes"),
            "label_map": tfds.features.Tensor(shape=size, dtype=np.uint8, encoding="bytes"),
            "source_label": tfds.features.Text(),  # PNG at the label's own resolution
            "panoptic_map": tfds.features.Text(),  # (H, W) int32 as bytes, or empty
            "source_panoptic": tfds.features.Text(),  # panoptic map as RGB PNG, or empty
        }
    )


def write_shard(shard: Shard, split: Split | None = None, done: Callable[[], object] = lambda: None) -> str:
    """Write one file and return its path.

    Args:
        shard: what to write.
        split: the split, where it is open.
        done: called after each record.

    Raises:
        DeepLabError: the split has changed since the shards were planned, or a sample is wrong.
    """
    if multiprocessing.parent_process() is not None:  # one of several
        cv2.setNumThreads(1)
    serializer = tfds.core.example_serializer.ExampleSerializer(features(shard.size).get_serialized_info())

    def records():
        for index, encoded in encoded_samples(shard, split):
            yield index, serializer.serialize_example(encoded)
            done()

    file_format = tfds.core.FileFormat(FILE_FORMAT)
    tfds.core.writer.ExampleWriter(file_format).write(shard.path, records())
    return shard.path


def encoded_samples(shard: Shard, split: Split | None = None) -> Iterator[tuple[int, dict]]:
    """Yield index and features of each sample of a shard, as TFDS's writers take them; as for `write_shard`."""
    split = _opened(shard.data, shard.split) if split is None else split
    stop = shard.start + len(shard.names)
    if list(split.names[shard.start : stop]) != list(shard.names):
        raise DeepLabError(f"The files of {shard.split} changed while records were written; run the command again.")
    kinds = features(shard.size)
    examples = _in_threads(lambda index: _example(split, index, shard.size), shard.start, stop)
    for index, example in enumerate(examples, shard.start):
        yield index, kinds.encode_example(example)


@functools.lru_cache(maxsize=4)
def _opened(data: str, name: str) -> Split:
    return open_split(json.loads(data), name)


def _example(split: Split, index: int, size: tuple[int, int]) -> dict:
    sample, panoptic = split.sample(index), split.panoptic_map(index)
    resized = resize_sample(sample, size)
    panoptic_map = b"" if panoptic is None else resize_labels(panoptic, size).astype("<i4").tobytes()
    return {
        "name": split.names[index],
        "image": resized.image,
        "label_map": resized.label_map,
        "source_label": image_files.encode_image(sample.label_map, ".png"),
        "panoptic_map": panoptic_map,
        "source_panoptic": b"" if panoptic is None else image_files.encode_image(to_colors(panoptic), ".png"),
    }


def _in_threads(
    function: Callable[[int], dict], start: int, stop: int, *, threads: int = 4, ahead: int = 8
) -> Iterator[dict]:
    """function(start), function(start + 1), ... in order, computed by threads a few items ahead: images are large."""
    with ThreadPoolExecutor(threads) as pool:
        pending = collections.deque(pool.submit(function, index) for index in range(start, min(stop, start + ahead)))
        for index in range(start, stop):
            result = pending.popleft().result()
            if index + ahead < stop:
                pending.append(pool.submit(function, index + ahead))
            yield result


BEAM_RUNNERS = {"direct": "DirectRunner", "flink": "FlinkRunner", "spark": "SparkRunner", "dataflow": "DataflowRunner"}
"""Option of `prepare` -> Beam's own name."""


def write_with_beam(shards: Sequence[Shard], runner: str, options: Sequence[str]) -> None:
    """Write files by an Apache Beam pipeline, one file a task.

    Args:
        shards: what to write; every worker sees the dataset and the output folder under the same paths.
        runner: one of BEAM_RUNNERS.
        options: Beam's own, such as "--direct_num_workers=2".

    Raises:
        DeepLabError: there is no Beam, an option is unknown, or a task fails.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise DeepLabError(
            "Apache Beam is not installed. It needs an environment of its own: sh tools/environments/beam.sh, or pip "
            "install 'deeplab_tf[train,beam]' in a new one."
        ) from None
    try:
        with contextlib.ExitStack() as stack:
            pipeline = stack.enter_context(
                beam.Pipeline(runner=BEAM_RUNNERS[runner], options=PipelineOptions(list(options)))
            )
            tasks = pipeline | "Shards" >> beam.Create([tuple(shard) for shard in shards]) | beam.Reshuffle()
            _ = tasks | "Write" >> beam.Map(_write_task)
    except DeepLabError:
        raise
    except Exception as error:  # Beam's runners wrap what a worker raises, each in its own way
        found = re.search(r"DeepLabError: (.+?)(?: \[while running|\n|\\n|$)", str(error))
        reason = found[1] if found else " ".join(str(error).split())[-300:]
        raise DeepLabError(f"The Beam pipeline failed: {reason}") from error


def _write_task(task: tuple) -> str:
    return write_shard(Shard(*task))
