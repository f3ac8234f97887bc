"""A bundle is whole or refused, by the name of what is wrong; and writing one never loses what was there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_bundle

from deeplab_tf.core.bundle import check_run_or_bundle, check_target, is_bundle, new_bundle, open_bundle, seal
from deeplab_tf.core.errors import DeepLabError

ROOT = Path(__file__).parent.parent


def write(path, text="weights", **more):
    """A bundle of two files, one in a folder."""
    with new_bundle(path) as part:
        os.mkdir(os.path.join(part, "saved_model"))
        Path(part, "model.onnx").write_text(text)
        Path(part, "saved_model", "saved_model.pb").write_text("graph")
        seal(part, dict(tiny_bundle.INFO, **more))
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "bundle")


def leftovers(path):
    return sorted(each.name for each in path.parent.iterdir() if each != path)


def test_what_is_written_is_read(path):
    bundle = open_bundle(path)
    assert (
        bundle.size == (6, 8)
        and bundle.label_stride == 2
        and bundle.output == "labels"
        and bundle.table.names == ["a", "b", "c"]
    )
    assert set(bundle.digests) == {"model.onnx", "saved_model/saved_model.pb"}
    assert "model.onnx" in bundle and "saved_model" in bundle and "model" not in bundle and "tf_trt" not in bundle
    assert bundle.file("saved_model") == os.path.join(str(path), "saved_model")
    assert leftovers(path) == []


def test_digests_are_sha_256(path):
    result = subprocess.run(["sha256sum"], input=b"weights", stdout=subprocess.PIPE, check=True)
    assert open_bundle(path).digests["model.onnx"] == result.stdout.decode().split()[0]


@pytest.mark.parametrize("name", ["model.onnx", "saved_model/saved_model.pb"])
def test_a_flipped_bit_is_found_in_any_file(path, name):
    data = bytearray((path / name).read_bytes())
    data[-1] ^= 1
    (path / name).write_bytes(bytes(data))
    with pytest.raises(DeepLabError, match=f"{name} has been changed"):
        open_bundle(path)
    open_bundle(path, verify=False)


def test_a_missing_file_is_named(path):
    (path / "saved_model" / "saved_model.pb").unlink()
    for verify in (True, False):
        with pytest.raises(DeepLabError, match="saved_model/saved_model.pb is missing"):
            open_bundle(path, verify=verify)


def test_foreign_files_are_named(path):
    (path / "saved_model" / "notes.txt").write_text("mine")
    (path / "zzz").write_text("mine too")
    with pytest.raises(DeepLabError, match=r"holds a foreign file: saved_model/notes.txt \(and 1 more\). Remove it"):
        open_bundle(path)


def test_engines_are_no_foreign_files_but_a_folder_of_that_name_elsewhere_is(path):
    engines = Path(open_bundle(path).engines)
    (engines / "orin-sm87").mkdir(parents=True)
    (engines / "orin-sm87" / "int8.engine").write_text("plan")
    open_bundle(path)
    (path / "saved_model" / "engines").mkdir()
    (path / "saved_model" / "engines" / "x").write_text("plan")
    with pytest.raises(DeepLabError, match="holds a foreign file: saved_model/engines/x"):
        open_bundle(path)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda place: None, "does not exist"),
        (lambda place: place.write_text(""), "is a file"),
        (lambda place: place.mkdir(), "has no bundle.json in it"),
    ],
)
def test_what_is_no_bundle(tmp_path, make, message):
    make(tmp_path / "place")
    with pytest.raises(DeepLabError, match=message):
        open_bundle(tmp_path / "place")


@pytest.mark.parametrize(
    "text, message", [("{", "Cannot read"), ("[]", "got None"), ('{"format": 99}', "of format 1 or 2, got 99")]
)
def test_a_description_that_cannot_be_read(path, text, message):
    (path / "bundle.json").write_text(text)
    with pytest.raises(DeepLabError, match=message):
        open_bundle(path)


@pytest.mark.parametrize("key", ["classes", "size", "label_stride", "output", "files"])
def test_a_description_that_lacks_something(path, key):
    info = json.loads((path / "bundle.json").read_text())
    del info[key]
    (path / "bundle.json").write_text(json.dumps(info))
    with pytest.raises(DeepLabError, match=f"is not a description of a bundle: KeyError.*{key}"):
        open_bundle(path)


def test_a_file_that_was_not_exported_says_how_to_get_it(path):
    with pytest.raises(DeepLabError, match="has no model_int8.onnx. Convert the run again with --int8"):
        open_bundle(path).file("model_int8.onnx")


def test_a_new_bundle_takes_the_place_of_an_old_one(path):
    write(path, "other weights")
    assert (path / "model.onnx").read_text() == "other weights" and leftovers(path) == []
    open_bundle(path)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_one(path, error):
    with pytest.raises(error), new_bundle(path) as part:
        Path(part, "model.onnx").write_text("half")
        raise error
    assert open_bundle(path) and (path / "model.onnx").read_text() == "weights" and leftovers(path) == []


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(ValueError), new_bundle(tmp_path / "bundle") as part:
        Path(part, "model.onnx").write_text("half")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


FILL_SLOWLY = """
import sys, time
from pathlib import Path
from deeplab_tf.core.bundle import new_bundle
with new_bundle(sys.argv[1]) as part:
    Path(part, "model.onnx").write_text("half")
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("there_before", [False, True])
def test_killed_in_the_middle_there_is_no_half_bundle(tmp_path, there_before):
    path = tmp_path / "bundle"
    if there_before:
        write(path)
    process = subprocess.Popen([sys.executable, "-c", FILL_SLOWLY, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.exists() == there_before
    if there_before:
        assert open_bundle(path) and (path / "model.onnx").read_text() == "weights"
    (part,) = leftovers(path)
    assert part.endswith(".part") and not is_bundle(tmp_path / part), "what is left is no bundle, and says so"
    write(path, "second try")
    assert open_bundle(path) and leftovers(path) == [], "the next one tidies up"


def test_a_conversion_at_work_is_left_alone(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", FILL_SLOWLY, str(tmp_path / "bundle")], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"half\n"
    write(tmp_path / "bundle")
    assert len(leftovers(tmp_path / "bundle")) == 1, "the other one's folder"
    process.kill()
    process.communicate()


def test_other_peoples_files_are_not_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, message in (("thesis", "holds other files"), ("file", "is a file")):
        with pytest.raises(DeepLabError, match=message):
            write(tmp_path / name)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "years of work"
    check_target(tmp_path / "empty")
    write(tmp_path / "empty")
    assert open_bundle(tmp_path / "empty")


def test_written_twice_it_is_the_same_to_the_byte(tmp_path):
    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    assert (first / "bundle.json").read_bytes() == (second / "bundle.json").read_bytes()


def test_errors_say_what_is_there_instead(tmp_path):
    run = tmp_path / "run"
    (run / "kept").mkdir(parents=True)
    (run / "config.yaml").write_text("")
    with pytest.raises(DeepLabError, match=f"{run} is a run, .*deeplab-tf convert {run}$"):
        open_bundle(run)
    for name in ("best.keras", "kept/step_00000010.keras"):
        (run / name).write_text("")
        with pytest.raises(DeepLabError, match=f"{name} is a checkpoint .* folder: {run}.$"):
            check_run_or_bundle(run / name)
    (tmp_path / "file").write_text("")
    for name, kind in (("nowhere", "does not exist"), ("run/kept", "has neither"), ("file", "is a file")):
        with pytest.raises(DeepLabError, match=f"config.yaml.*bundle.json.*{name} {kind}"):
            check_run_or_bundle(tmp_path / name)
    check_run_or_bundle(run)
