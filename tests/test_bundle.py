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
from deeplab_tf.core.errors import DeepLabError, WrongCall

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
    "text, message", [("{", "Cannot read"), ("[]", r"got \[\]"), ('{"format": 99}', "of format 1, 2, 3, got 99")]
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
    with pytest.raises(DeepLabError, match=f"bundle.json: {key} is missing"):
        open_bundle(path)


DIGEST = 64 * "0"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"size": [64]}, "size must have 2 values; got 1"),
        ({"size": [0, 8]}, r"size\[0\] must be an integer from 1 to 16384; got 0"),
        ({"size": [6, 1e9]}, r"size\[1\] must be an integer from 1 to 16384; got 1000000000.0"),
        ({"size": "6x8"}, 'size must be a list .*; got "6x8"'),
        ({"label_stride": 3}, "label_stride must be 1 or 2 or 4 or 8 or 16; got 3"),
        ({"label_stride": True}, "label_stride must be .* got true"),
        ({"output": "masks"}, 'output must be labels or logits; got "masks"'),
        ({"instances": "no"}, 'instances must be true or false; got "no"'),
        ({"precision": ["int4"]}, r"precision\[0\] must be int8 or float16 or float32"),
        ({"classes": []}, "classes must have 1 to 255 values; got 0"),
        ({"classes": [{"name": "a", "color": [0, 0, 0]}] * 2}, "classes: Class names must differ.*: a"),
        (
            {"classes": [{"name": "a", "color": [0, 0, 256]}]},
            r"classes\[0\].color\[2\] must be an integer from 0 to 255",
        ),
        ({"classes": [{"name": "a", "color": [0, 0]}]}, r"classes\[0\].color must have 3 values; got 2"),
        ({"classes": [{"name": " ", "color": [0, 0, 0]}]}, r"classes\[0\].name must be text of 1 to 200 characters"),
        ({"classes": [{"name": "a\nb", "color": [0, 0, 0]}]}, r"classes\[0\].name must be text without control"),
        ({"classes": [{"name": None, "color": [0, 0, 0]}]}, r"classes\[0\].name must be text .* got null"),
        ({"classes": [{"name": "a", "color": [0, 0, 0], "thing": "yes"}]}, r"classes\[0\].thing must be true or false"),
        ({"classes": [7]}, r"classes\[0\] must be an object"),
        ({"label_ids": {"256": 0}}, 'the keys of label_ids must be ids from 0 to 255; got "256"'),
        ({"label_ids": {"7": 3}}, "label_ids.7 must be an integer from 0 to 2; got 3"),
        ({"ranges": {"conv1": -1.0}}, "ranges.conv1 must be a number from 0 to"),
        ({"ranges": {"conv1": "wide"}}, "ranges.conv1 must be a number"),
        ({"layers": [{"name": "a"}]}, r"layers\[0\].kind is missing"),
        ({"calibration": {"method": "guess"}}, "calibration.method must be min-max or percentile or entropy"),
        ({"data": {"name": 5}}, "data.name must be text"),
        ({"scores": 0.9}, "scores must be an object"),
        ({"files": {"../model.onnx": DIGEST}}, "files names .*model.onnx.*, which is no file below"),
        ({"files": {"/etc/passwd": DIGEST}}, "files names .*passwd"),
        ({"files": {"a//b": DIGEST}}, "files names"),
        ({"files": {"engines/x": DIGEST}}, "files names"),
        ({"files": {"model.onnx": "0" * 63}}, "files.model.onnx must be a SHA-256 of 64 digits"),
    ],
)
def test_each_wrong_value_in_a_description_is_named(path, changes, message):
    info = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps({**info, **changes}))
    with pytest.raises(DeepLabError, match=f"bundle.json: {message}") as error:
        open_bundle(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    "text, message",
    [
        (b'{"format": 3, "format": 3}', 'the key "format" is given twice'),
        (b'{"format": NaN}', "NaN is no number in JSON"),
        (b'{"size": [1e999, 1]}', "the number 1e999 is too large"),
        (b'{"format": ' + b"9" * 5000 + b"}", "4300"),
        (b"[" * 100000, "nested too deeply"),
        (b'{"format": "\xff"}', "byte 12 is no UTF-8 text"),
        (b'{"format": "\\ud800"}', "half a surrogate pair"),
        (b'{"format": "\\u0000"}', "holds a NUL"),
        (b" " * (1 << 24) + b"{}", "more than 16 MB"),
        (b"", "is empty"),
    ],
)
def test_a_description_that_is_no_plain_json(path, text, message):
    (path / "bundle.json").write_bytes(text)
    with pytest.raises(DeepLabError, match=f"bundle.json.*{message}") as error:
        open_bundle(path)
    assert len(str(error.value)) < 400


def test_a_description_covers_itself(path):
    place = path / "bundle.json"
    info = json.loads(place.read_text())
    assert info["format"] == 3
    rest = {key: value for key, value in info.items() if key != "sha256"}
    compact = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    assert info["sha256"] == subprocess.check_output(["sha256sum"], input=compact.encode()).decode().split()[0]
    changed = [{**info["classes"][0], "color": [9, 9, 9]}, *info["classes"][1:]]
    for changes in ({"classes": changed}, {"size": [8, 6]}, {"sha256": DIGEST}, {"more": 1}):
        place.write_text(json.dumps({**info, **changes}))
        with pytest.raises(DeepLabError, match="bundle.json has been changed"):
            open_bundle(path)
        with pytest.raises(WrongCall, match="bundle.json was changed since the bundle was written"):
            check_target(path)
        check_target(path, overwrite=True)
    place.write_text(json.dumps(rest))
    with pytest.raises(DeepLabError, match="bundle.json: sha256 is missing"):
        open_bundle(path)
    for older in (1, 2):
        place.write_text(json.dumps({**rest, "format": older}))
        assert open_bundle(path).table.names == ["a", "b", "c"]


@pytest.mark.parametrize("place", ["secret", "saved_model/secret", "engines/secret"])
def test_links_out_of_a_bundle_are_refused(path, place, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "key").write_text("private")
    (path / "engines").mkdir()
    for target in (tmp_path / "home", tmp_path / "home" / "key"):
        (path / place).symlink_to(target)
        with pytest.raises(DeepLabError, match=f"holds a link that leads out of it: {place}"):
            open_bundle(path)
        (path / place).unlink()
    os.mkfifo(path / place)
    with pytest.raises(DeepLabError, match=f"holds a pipe, a socket or a device: {place}"):
        open_bundle(path)


def test_links_within_a_bundle(path, tmp_path):
    (tmp_path / "alias").symlink_to(path)
    (path / "model.onnx").rename(path / "engines_model")
    info = json.loads((path / "bundle.json").read_text())
    (path / "model.onnx").symlink_to("engines_model")
    with pytest.raises(DeepLabError, match="foreign file: engines_model"):
        open_bundle(path)
    (path / "model.onnx").unlink()
    (path / "engines_model").rename(path / "model.onnx")
    assert open_bundle(tmp_path / "alias").digests == info["files"]
    (path / "saved_model" / "loop").symlink_to("..")
    with pytest.raises(DeepLabError, match="foreign file: saved_model/loop"):
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
