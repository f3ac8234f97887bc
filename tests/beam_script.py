"""Runs in the environment with Apache Beam: python beam_script.py FOLDER. Writes the records of the recipe
FOLDER/recipe.yaml without and with Beam, and prints what `tests/test_beam.py` looks at, as JSON."""

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow_datasets as tfds
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.lab.data import record_shards
from deeplab_tf.lab.data.records import VERSION

TWO = "--direct_num_workers=2 --direct_running_mode=multi_processing"


def prepare(folder, name, *options):
    """The exit code, and what is said on standard error."""
    call = ["prepare", str(folder / "recipe.yaml"), "--out", str(folder / name), *options]
    result = CliRunner().invoke(group, call)
    return result.exit_code, result.stderr, repr(result.exception)


def raw(folder):
    """The bytes of all records of each split, in hexadecimal, and the lengths of its files."""
    builder = tfds.builder_from_directory(folder / "records" / VERSION)
    raw_bytes = tfds.decode.DeserializeMethod.RAW_BYTES
    sources = {name: builder.as_data_source(name, deserialize_method=raw_bytes) for name in builder.info.splits}
    records = {name: [source[i].hex() for i in range(len(source))] for name, source in sources.items()}
    return records, {name: split.shard_lengths for name, split in builder.info.splits.items()}


def main():
    folder = Path(sys.argv[1])
    found = {"here": prepare(folder, "here")}
    record_shards.SHARD_BYTES = 2 * 4 * 32 * 64  # two samples a file
    found["beam"] = prepare(folder, "beam", "--beam-runner", "direct", "--beam-options", TWO)
    one, two = raw(folder / "here"), raw(folder / "beam")
    found["same"], found["records"] = one[0] == two[0], {name: len(each) for name, each in one[0].items()}
    found["files"] = one[1], two[1]
    image = folder / "data" / "images" / "val" / "frame_2.png"
    image.write_bytes(image.read_bytes()[:900])
    found["damaged"] = prepare(folder, "damaged", "--beam-runner", "direct", "--beam-options", TWO)
    found["left"] = sorted(str(path) for path in (folder / "damaged").rglob("*"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
