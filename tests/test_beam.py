"""`prepare --beam-runner direct` with two processes writes the records of `prepare`; in an environment of its own."""

import json
import os
import subprocess

import pytest
import tiny
import yaml
from environments import ROOT, beam

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.data.record_shards import write_with_beam

COUNTS = {"train": 7, "val": 3}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beam")
    data = {**tiny.recipe(tiny.write_data(folder / "data", **COUNTS))["data"], "size": [32, 64]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"data": data}))
    call = [str(beam()), str(ROOT / "tests" / "beam_script.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_processes_write_the_records_of_one(found):
    assert found["here"][0] == found["beam"][0] == 0, (found["here"], found["beam"])
    assert found["same"] and found["records"] == COUNTS
    assert found["files"] == [{"train": [7], "val": [3]}, {"train": [2, 2, 1, 2], "val": [2, 1]}]


def test_a_damaged_image_is_one_sentence_and_leaves_nothing(found):
    code, stderr, _ = found["damaged"]
    assert code == 1 and "frame_2.png" in stderr and stderr.count("Error: ") == 1, stderr
    assert found["left"] == []


def test_without_beam_the_sentence_says_where_to_get_it():
    with pytest.raises(DeepLabError, match=r"Apache Beam is not installed.*tools/environments/beam.sh"):
        write_with_beam([], "direct", [])
