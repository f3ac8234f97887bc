"""`prepare` with several processes: the records of one process, in files that are bounded by size; nothing half written
where one is killed."""

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny
import yaml
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.data import open_split, record_shards, record_writer
from deeplab_tf.lab.data.processes import each_in_processes
from deeplab_tf.lab.data.record_shards import Shard, boundaries
from deeplab_tf.lab.data.records import VERSION

SIZE = [32, 64]
COUNTS = {"train": 7, "val": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tiny.write_data(tmp_path_factory.mktemp("data"), **COUNTS)
    return {**tiny.recipe(root)["data"], "size": SIZE}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(record_shards, "SHARD_BYTES", 2 * 4 * SIZE[0] * SIZE[1])


def prepare(folder, data, *arguments, code=0):
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"data": data}))
    call = ["prepare", str(folder / "recipe.yaml"), "--out", str(folder / "out"), *arguments]
    result = CliRunner().invoke(group, call)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def raw(folder):
    """The bytes of all records of each split, and the lengths of its files."""
    builder = tfds.builder_from_directory(folder / "out" / "records" / VERSION)
    raw_bytes = tfds.decode.DeserializeMethod.RAW_BYTES
    sources = {name: builder.as_data_source(name, deserialize_method=raw_bytes) for name in builder.info.splits}
    records = {name: [source[i] for i in range(len(source))] for name, source in sources.items()}
    return records, {name: split.shard_lengths for name, split in builder.info.splits.items()}


def test_boundaries_by_hand():
    """128 MiB hold 64 samples of 2 MiB: 64 need one file, 65 two of 32 and 33, 3 one; 3 of 100 MiB need three."""
    mib = 1 << 20
    assert boundaries(64, 2 * mib) == [0, 64] and boundaries(65, 2 * mib) == [0, 32, 65]
    assert boundaries(3, 2 * mib) == [0, 3] and boundaries(3, 100 * mib) == [0, 1, 2, 3]
    assert boundaries(1, 1000 * mib) == [0, 1]


def test_processes_write_the_records_of_one(data, small_shards, tmp_path, monkeypatch):
    """Files of two samples: four for train, two for val. One process of its own: each imports TensorFlow anew."""
    monkeypatch.setattr(record_writer, "each_in_processes", lambda *arguments: each_in_processes(*arguments[:2], 1))
    (tmp_path / "one").mkdir()
    prepare(tmp_path, data, "--processes", "2", "--json", str(tmp_path / "report.json"))
    several, lengths = raw(tmp_path)
    assert lengths == {"train": [2, 2, 1, 2], "val": [2, 1]}
    record_shards.SHARD_BYTES = 1 << 27  # put back by `small_shards`
    prepare(tmp_path / "one", data)
    one, length = raw(tmp_path / "one")
    assert length == {"train": [7], "val": [3]} and several == one
    written = open_split({**data, "records": str(tmp_path / "out")}, "train")
    files = open_split(data, "train")
    for i in range(7):
        np.testing.assert_array_equal(written.label_map(i), files.label_map(i))
    assert json.loads((tmp_path / "report.json").read_text())["splits"] == COUNTS
    names = sorted(os.listdir(tmp_path / "out" / "records" / VERSION))
    assert names[3:7] == [f"records-train.array_record-0000{i}-of-00004" for i in range(4)]


def test_an_error_in_a_process_is_one_sentence(data, small_shards, tmp_path):
    """Damaged in the last file, after the check: no records, no process, no folder are left."""
    image = os.path.join(data["root"], "images", "val", "frame_2.png")
    with open(image, "rb") as file:
        whole = file.read()
    try:
        with open(image, "wb") as file:
            file.write(whole[: len(whole) // 2])
        result = prepare(tmp_path, data, "--processes", "2", code=1)
    finally:
        with open(image, "wb") as file:
            file.write(whole)
    assert result.stderr.count("Error: ") == 1 and "frame_2.png is truncated" in result.stderr
    assert not (tmp_path / "out" / "records").exists()


def test_processes_end_with_the_one_that_started_them(tmp_path):
    """SIGKILL to the parent while they work: they end, and what they hold, such as locks, is free."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from deeplab_tf.lab.data.processes import each_in_processes\n"
        "if __name__ == '__main__':\n"
        "    for item in each_in_processes(time.sleep, [0, 600, 600], 2):\n"
        "        print('done', item, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout.readline() == b"done 0\n"
        assert len(group_of(process.pid)) >= 3
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    deadline = time.monotonic() + 30
    while group_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_of(process.pid)


def group_of(number):
    """The processes of a process group that run."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.getpgid(int(name)) == number and Path(f"/proc/{name}/stat").read_text().split(") ")[1][0] != "Z":
                found.append(int(name))
    return found


def test_a_killed_process_is_one_sentence():
    """The first item ends its process as SIGKILL would."""
    with pytest.raises(DeepLabError, match="A process was ended from outside"):
        list(each_in_processes(os._exit, [9, 9], 1))
    assert not multiprocessing.active_children()


def test_files_that_changed_meanwhile_are_named(data, tmp_path):
    shard = Shard(json.dumps(data), "val", 0, ["other"], tuple(SIZE), str(tmp_path / "x.array_record"))
    with pytest.raises(DeepLabError, match="The files of val changed while records were written"):
        record_shards.write_shard(shard)


def test_beam_options_need_a_runner(data, tmp_path):
    assert "--beam-options goes with --beam-runner" in prepare(tmp_path, data, "--beam-options", "--x", code=2).stderr
    both = prepare(tmp_path, data, "--beam-runner", "direct", "--processes", "2", code=2)
    assert "--processes does not go with --beam-runner" in both.stderr
