"""What a run folder holds, damaged or of another project: each file is named in one sentence, and nothing changes."""

import hashlib
import io
import json
import shutil
import struct
import zipfile

import keras
import numpy as np
import pytest
import tiny
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.files import files_below
from deeplab_tf.lab.export import calibration
from deeplab_tf.lab.runs import folder, keras_runtime, metrics
from deeplab_tf.lab.runs.network_file import load_network_file
from deeplab_tf.lab.training import rewind, state

LOSS = '{"step": %d, "loss": 0.5, "learning_rate": 0.1, "seconds": 2.5}\n'
SCORE = '{"step": %d, "val": {"miou": %s}}\n'


def said(function, *arguments):
    """The sentence with which a call fails."""
    with pytest.raises(DeepLabError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text[-1] in ".?!"
    return text


GOOD = LOSS % 1 + LOSS % 2 + SCORE % (2, 0.25) + LOSS % 3 + SCORE % (3, "null")


@pytest.mark.parametrize(
    "text, line, fact",
    [
        (GOOD + "words\n" + GOOD, 6, "is no row of JSON"),
        (GOOD + "[1]\n", 6, "must be an object"),
        (GOOD + "\n", 6, "is no row of JSON"),
        (GOOD + "[" * 100_000 + "\n", 6, "is no row of JSON"),
        (GOOD + '{"loss": 1}\n', 6, "step is missing"),
        (GOOD + '{"step": "4"}\n', 6, "step must be an integer"),
        (GOOD + '{"step": 4.0}\n', 6, "step must be an integer"),
        (GOOD + '{"step": true}\n', 6, "step must be an integer"),
        (GOOD + '{"step": -1}\n', 6, "step must be an integer from 0"),
        (GOOD + '{"step": %s}\n' % ("9" * 5000), 6, "is no row of JSON"),
        (GOOD + '{"step": 4, "loss": NaN}\n', 6, "is no row of JSON"),
        (GOOD + '{"step": 4, "loss": 1e999}\n', 6, "loss must be a number"),
        (GOOD + '{"step": 4, "seconds": "long"}\n', 6, "seconds must be a number"),
        (GOOD + '{"step": 4, "val": 3}\n', 6, "val must be an object"),
        (GOOD + '{"step": 4, "val": {"miou": 25}}\n', 6, "val.miou must be a number from 0 to 1"),
        (GOOD + LOSS % 3, 6, "step 3 stands after step 3"),
        (LOSS % 9 + GOOD, 2, "step 1 stands after step 9"),
        (SCORE % (9, 0.5) + LOSS % 8, 2, "step 8 stands after step 9"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, text, line, fact):
    (tmp_path / "metrics.jsonl").write_text(text)
    found = said(metrics.read_metrics, tmp_path)
    assert found.startswith(f"{tmp_path / 'metrics.jsonl'}, line {line}") and fact in found
    assert said(metrics.best_step, tmp_path) == found


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(GOOD.encode() + b'{"step": 4, "note": "\xff"}\n')
    assert "metrics.jsonl, line 6 is no row" in said(metrics.read_metrics, tmp_path)


@pytest.mark.parametrize("torn", ['{"step": 4, "lo', "\0\0\0", "\n"[:0]])
def test_an_incomplete_last_line_is_left_out(tmp_path, torn):
    (tmp_path / "metrics.jsonl").write_text(GOOD + torn)
    heard = []
    assert [row["step"] for row in metrics.read_metrics(tmp_path, heard.append)] == [1, 2, 2, 3, 3]
    assert len(heard) == bool(torn) and metrics.best_step(tmp_path) == 2


def test_no_metrics_and_a_pipe(tmp_path):
    assert metrics.read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").mkdir()
    assert str(tmp_path / "metrics.jsonl") in said(metrics.read_metrics, tmp_path)


IMAGE = keras.Input((None, None, 3), name="image")


def network(make=lambda x: {"logits": keras.layers.Conv2D(3, 1)(x)}, image=IMAGE):
    return keras.Model(image, make(image))


class Doubled(keras.layers.Layer):
    """A layer of another project."""

    def call(self, x):
        return 2 * x


def archive(**members):
    """A ZIP file, compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return file.getvalue()


def keras_file(**changes):
    """The members of a network's file, some of them changed."""
    return {"metadata.json": "{}", "config.json": "{}", "model.weights.h5": "", **changes}


FOREIGN = {
    "Lambda": (lambda x: {"logits": keras.layers.Lambda(lambda y: y)(x)}, "made of Lambda"),
    "a layer of its own": (lambda x: {"logits": Doubled()(x)}, "made of Doubled"),
    "a network in a network": (lambda x: {"logits": keras.Sequential([keras.layers.ReLU()])(x)}, "made of Sequential"),
    "no dictionary": (lambda x: keras.layers.Conv2D(3, 1)(x), "from RGB images to logits"),
    "no logits": (lambda x: {"scores": keras.layers.Conv2D(3, 1)(x)}, "from RGB images to logits"),
    "flat logits": (lambda x: {"logits": keras.layers.GlobalAveragePooling2D()(x)}, "from RGB images to logits"),
    "centers alone": (
        lambda x: {"logits": keras.layers.ReLU()(x), "center": keras.layers.ReLU()(x)},
        "only one of the centers and the offsets",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_network_of_another_project(tmp_path, kind):
    make, fact = FOREIGN[kind]
    path = tmp_path / "best.keras"
    network(make).save(path)
    found = said(load_network_file, path)
    assert str(path) in found and fact in found


def test_a_network_of_gray_images(tmp_path):
    image = keras.Input((None, None, 1))
    network(image=image).save(tmp_path / "best.keras")
    assert "RGB" in said(load_network_file, tmp_path / "best.keras")


def test_weights_that_are_not_finite(tmp_path):
    model = network()
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    model.save(tmp_path / "best.keras")
    assert "kernel are not finite" in said(load_network_file, tmp_path / "best.keras")


OF_KERAS = {"module": "keras.layers", "class_name": "InputLayer", "config": {}}
CONFIGS = {
    "a function": {"module": "builtins", "class_name": "function", "config": "print"},
    "a module of Python": {"module": "os", "class_name": "system", "config": "true"},
    "a saved model": {**OF_KERAS, "class_name": "TFSMLayer", "config": {"filepath": "/etc"}},
    "a vocabulary in a file": {**OF_KERAS, "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
    "a tool of Keras": {"module": "keras.utils", "class_name": "get_file", "config": {}},
    "a name that is no text": {**OF_KERAS, "class_name": ["Conv2D"]},
    "hidden in a layer": {**OF_KERAS, "config": {"activation": {"class_name": "Lambda", "config": {}}}},
    "a billion channels": {**OF_KERAS, "class_name": "Conv2D", "config": {"filters": 10**9}},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_a_config_may_not_make(tmp_path, kind):
    path = tmp_path / "best.keras"
    path.write_bytes(archive(**keras_file(**{"config.json": json.dumps({"config": {"layers": [CONFIGS[kind]]}})})))
    assert str(path) in said(load_network_file, path)


FILES = {
    "nothing": b"",
    "words": b"words",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(1000),
    "another archive": archive(**{"a.txt": "words"}),
    "a member too many": archive(**keras_file(**{"../evil": "words"})),
    "a bomb": archive(**keras_file(**{"model.weights.h5": bytes(1 << 27)})),
    "deep": archive(**keras_file(**{"config.json": "[" * 100_000})),
    "a list": archive(**keras_file(**{"config.json": "[]"})),
    "no network": archive(**keras_file(**{"config.json": json.dumps({"config": {}})})),
}


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_network(tmp_path, kind):
    path = tmp_path / "best.keras"
    path.write_bytes(FILES[kind])
    assert str(path) in said(load_network_file, path)


def flip(path, name):
    """Flip a bit in the middle of a member of an archive that is not compressed."""
    with zipfile.ZipFile(path) as file:
        at = path.read_bytes().index(file.read(name)) + file.getinfo(name).file_size // 2
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_one_flipped_bit_in_the_weights(tmp_path):
    path = tmp_path / "best.keras"
    network().save(path)
    flip(path, "model.weights.h5")
    assert "model.weights.h5 in it is damaged" in said(load_network_file, path)


@pytest.fixture(scope="module")
def trained():
    """A network of one layer, with its optimizer."""
    model = network()
    model.compile(keras.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def save(folder, model, step):
    return state.save(folder, step, model, model.optimizer, {"best": 0.25, "pending": False})


def rewritten(path, change):
    """Write a state's arrays again, changed by a function of their dictionary."""
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


def with_extra(**changes):
    def change(arrays):
        arrays["extra"] = np.array(json.dumps({**json.loads(str(arrays["extra"])), **changes}))

    return change


def overlapping(path):
    """Let every member of an archive have the size of all."""
    data = bytearray(path.read_bytes())
    start = data.find(b"PK\x01\x02")
    while start >= 0:
        data[start + 20 : start + 28] = struct.pack("<II", len(data), len(data))
        start = data.find(b"PK\x01\x02", start + 1)
    path.write_bytes(data)


def compressed(path):
    with np.load(path) as file:
        np.savez_compressed(path, **file)


DAMAGE = {
    "half a file": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "an empty file": lambda path: path.write_bytes(b""),
    "words": lambda path: path.write_text("words"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a flipped bit": lambda path: flip(path, "00000.npy"),
    "compressed": compressed,
    "overlapping": overlapping,
    "no extra": lambda path: rewritten(path, lambda arrays: arrays.pop("extra")),
    "an extra of numbers": lambda path: rewritten(path, lambda arrays: arrays.update(extra=np.zeros(3))),
    "an extra of words": lambda path: rewritten(path, lambda arrays: arrays.update(extra=np.array("words"))),
    "another step": lambda path: rewritten(path, with_extra(step=3)),
    "a step that is no number": lambda path: rewritten(path, with_extra(step="8")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_state_is_passed_over_and_named(tmp_path, trained, kind):
    for step in (4, 8):
        save(tmp_path, trained, step)
    DAMAGE[kind](tmp_path / "step_00000008.npz")
    assert state.latest(tmp_path) == tmp_path / "step_00000004.npz" and state.saved_step(tmp_path) == 4
    ((path, reason),) = state.damaged(tmp_path)
    assert path == tmp_path / "step_00000008.npz" and reason and "\n" not in reason
    assert "step_00000008.npz is damaged" in said(
        state.restore, tmp_path / "step_00000008.npz", trained, trained.optimizer
    )


WRONG = {
    "an array too few": lambda arrays: arrays.pop("00001"),
    "an array too many": lambda arrays: arrays.update(other=np.zeros(3)),
    "another shape": lambda arrays: arrays.update({"00000": arrays["00000"].reshape(-1)}),
    "a million times the size": lambda arrays: arrays.update({"00000": np.zeros((1000, 1000), np.float32)}),
    "another kind": lambda arrays: arrays.update({"00000": arrays["00000"].astype(np.float64)}),
    "Python objects": lambda arrays: arrays.update({"00000": np.array([Doubled, None], object)}),
    "text": lambda arrays: arrays.update({"00000": np.array("words")}),
    "of another network": with_extra(layout="0123456789abcdef"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_state_of_other_arrays(tmp_path, trained, kind):
    """NumPy would unpickle Python objects, which may run any code."""
    path = save(tmp_path, trained, 8)
    rewritten(path, WRONG[kind])
    before = state.digest(trained, trained.optimizer)
    assert str(path) in said(state.restore, path, trained, trained.optimizer)
    assert state.digest(trained, trained.optimizer) == before


def test_damaged_states_are_removed_with_the_others(tmp_path, trained):
    for step in (4, 8, 12, 16):
        save(tmp_path, trained, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000012.npz", "step_00000016.npz"]


TABLES = {
    "no list": '{"name": "road"}',
    "empty": "[]",
    "no names": '[{"color": [1, 2, 3]}]',
    "a number for a name": '[{"name": 5, "color": [1, 2, 3]}]',
    "two names alike": '[{"name": "a", "color": [1, 2, 3]}, {"name": "a", "color": [1, 2, 3]}]',
    "a color of two": '[{"name": "a", "color": [1, 2]}]',
    "a color above 255": '[{"name": "a", "color": [1, 2, 256]}]',
    "a color of text": '[{"name": "a", "color": "red"}]',
    "a thing that is no boolean": '[{"name": "a", "color": [1, 2, 3], "thing": 1}]',
    "too many": json.dumps([{"name": str(i), "color": [1, 2, 3]} for i in range(256)]),
    "no JSON": "words",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_class_table(tmp_path, kind):
    (tmp_path / "classes.json").write_text(TABLES[kind])
    assert str(tmp_path / "classes.json") in said(keras_runtime.read_table, tmp_path)


RANGES = {
    "measured": {"image": 255.0},
    "float_layers": [],
    "method": "entropy",
    "agreement": {"entropy": 0.9},
    "frames": 8,
}


@pytest.mark.parametrize(
    "key, value",
    [
        ("measured", {"image": float("nan")}),
        ("measured", {"image": -1}),
        ("measured", {"image": 1e300}),
        ("measured", {"image": "wide"}),
        ("measured", [255]),
        ("float_layers", "logits"),
        ("float_layers", [1]),
        ("method", "guess"),
        ("agreement", None),
        ("frames", 0),
        ("frames", 8.5),
    ],
)
def test_damaged_ranges(tmp_path, key, value):
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(RANGES))
    assert calibration.load(tmp_path) == calibration.Calibration(**RANGES)
    path.write_text(json.dumps({**RANGES, key: value}))
    assert str(path) in said(calibration.load, tmp_path)
    path.write_text(json.dumps({name: each for name, each in RANGES.items() if name != key}))
    assert key in said(calibration.load, tmp_path)


COUNTS = {"images": 2, "pixels": {"road": 5}, "images_with": {"road": 1}, "ignored": {"255": 3}, "unlabeled": ["a.png"]}
CHECKED = {"counts": {"train": COUNTS, "val": COUNTS}, "warnings": ["few"], "files": "0123"}


@pytest.mark.parametrize(
    "text",
    [
        "words",
        "[1]",
        "[" * 100_000,
        json.dumps({**CHECKED, "files": 5}),
        json.dumps({**CHECKED, "warnings": "few"}),
        json.dumps({**CHECKED, "counts": {"train": COUNTS}}),
        json.dumps({**CHECKED, "counts": {"train": COUNTS, "val": {**COUNTS, "images": -1}}}),
        json.dumps({**CHECKED, "counts": {"train": COUNTS, "val": {**COUNTS, "more": 1}}}),
        json.dumps({**CHECKED, "counts": {"train": COUNTS, "val": {**COUNTS, "pixels": {"road": 0.5}}}}),
        json.dumps({**CHECKED, "counts": {"train": COUNTS, "val": {**COUNTS, "unlabeled": [1]}}}),
    ],
)
def test_a_damaged_check_of_the_data_is_made_again(tmp_path, text):
    path = tmp_path / "data_check.json"
    path.write_text(json.dumps(CHECKED))
    assert folder.read_data(tmp_path) == CHECKED
    path.write_text(text)
    assert folder.read_data(tmp_path) == {}


@pytest.fixture(scope="module")
def run():
    return tiny.trained_run()


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def contents(folder):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files_below(folder)}


def fails(*arguments, monkeypatch=None):
    result = CliRunner().invoke(group, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit) and result.exit_code == 1, repr(result.exception)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "Traceback" not in result.stderr
    return errors[0]


def another_network(path):
    network(lambda x: {"logits": keras.layers.Conv2D(7, 1)(x)}).save(path)


BROKEN = {
    "another number of classes": ("best.keras", another_network, "predicts 7"),
    "a class too many": (
        "classes.json",
        lambda path: path.write_text(json.dumps([*json.loads(path.read_text()), {"name": "x", "color": [1, 2, 3]}])),
        "names 4 classes",
    ),
    "a key twice": ("config.yaml", lambda path: path.write_text(path.read_text() + "data: {}\n"), "given twice"),
    "a changed value": (
        "config.yaml",
        lambda path: path.write_text(path.read_text().replace("batch_size: 4", "batch_size: four")),
        "training.batch_size must be an integer",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("command", ["evaluate", "report", "predict", "convert", "prune"])
def test_a_command_on_a_damaged_run(copy, run, tmp_path, kind, command):
    name, damage, fact = BROKEN[kind]
    damage(copy / name)
    before = contents(copy)
    options = {
        "predict": [run.parent / "data/images/val/frame_0.png", "--out", tmp_path / "out"],
        "prune": ["--gmac", "1", "--out", tmp_path / "out"],
    }.get(command, [])
    found = fails(command, copy, *options)
    assert str(copy / name) in found and fact in found
    assert contents(copy) == before


def change_line(number, text):
    def change(path):
        lines = path.read_text().splitlines()
        lines[number] = text
        path.write_text("\n".join(lines) + "\n")

    return change


RESUMED = {
    "metrics": ("metrics.jsonl", change_line(2, "words"), "metrics.jsonl, line 3 is no row"),
    "classes": ("classes.json", lambda path: path.write_text("[]"), "classes.json"),
    "recipe": ("config.yaml", lambda path: path.write_text("words"), "config.yaml"),
}


@pytest.mark.parametrize("kind", RESUMED)
def test_a_damaged_run_is_not_resumed(copy, run, monkeypatch, kind):
    tiny.use_backbone(monkeypatch)
    name, damage, fact = RESUMED[kind]
    damage(copy / name)
    before = contents(copy)
    assert fact in fails("train", run.parent / "recipe.yaml", "--run", copy, "--resume")
    assert contents(copy) == before


def test_a_run_with_damaged_states_alone_is_not_resumed(copy, run, monkeypatch):
    tiny.use_backbone(monkeypatch)
    for path in (copy / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    before = contents(copy)
    found = fails("train", run.parent / "recipe.yaml", "--run", copy, "--resume")
    assert "step_00000030.npz is damaged" in found and "no other state" in found
    assert contents(copy) == before


def test_a_damaged_newest_state_costs_steps_and_nothing_else(copy, run, monkeypatch):
    """The run goes on from the state before, says so, and ends with the same weights."""
    tiny.use_backbone(monkeypatch)
    newest, older = sorted((copy / "checkpoints").iterdir())[::-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    result = CliRunner().invoke(
        group, ["train", str(run.parent / "recipe.yaml"), "--run", str(copy), "--resume", "--json", "-"]
    )
    assert result.exit_code == 0, result.output
    assert f"{newest} is damaged" in result.stderr and "continuing from the state of step 28" in result.stderr
    digest = json.loads((run.parent / "result.json").read_text())["digest"]
    assert json.loads(result.stdout)["digest"] == digest and older.name == "step_00000028.npz"


def test_files_of_events_that_are_none(tmp_path, capsys):
    folder = tmp_path / "logs" / "train"
    folder.mkdir(parents=True)
    junk = folder / "events.out.tfevents.1"
    junk.write_bytes(b"words" * 100)
    (folder / "events.out.tfevents.2").mkdir()
    rewind.rewind(tmp_path, 5)
    assert junk.read_bytes() == b"words" * 100 and f"{junk} is damaged" in capsys.readouterr().err
