"""Generated recipes and run folders: every key with values that it cannot have, files of other bytes."""

import json

import pytest
import tiny
import yaml
from generated import check, count, examples, time_limit
from hypothesis import given
from hypothesis import strategies as st

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.config import resolve
from deeplab_tf.lab.config.sections import Config
from deeplab_tf.lab.data import DataOptions, data_sets, load_data_set
from deeplab_tf.lab.models.registry import model_schema, networks
from deeplab_tf.lab.schema import Section, schema_of

NOWHERE = "/nowhere/data"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Do not collect the garbage of earlier networks, which takes longer than all else that fails here."""
    monkeypatch.setattr("keras.utils.clear_session", lambda: None)


def keys():
    """Yield (the sections of a recipe that has the key, section, key) for each key of docs/recipes.md."""
    for name in data_sets():
        options = schema_of(load_data_set(name).open_split, DataOptions)
        for key in options.model_fields:
            yield {"data": {"name": name, "size": [64, 64], "root": NOWHERE}}, "data", key
    for name in networks():
        for key in model_schema(name).model_fields:
            yield {"data": {"name": "camvid", "size": [64, 64], "root": NOWHERE}, "model": {"name": name}}, "model", key
    for section in Config.model_fields:
        options = Config.model_fields[section].annotation
        if isinstance(options, type) and issubclass(options, Section):
            for key in options.model_fields:
                yield {"data": {"name": "camvid", "size": [64, 64], "root": NOWHERE}}, section, key


KEYS = list(keys())


def for_keys(texts, also):
    """Every key for each of `texts`, and a seventh of the keys, others each time, for each of `also`."""
    return [(KEYS, text) for text in texts] + [(KEYS[index % 7 :: 7], text) for index, text in enumerate(also)]


WRONG = for_keys(
    ["{a: {b: 1}}", "-1", "1e300", ".nan", "[[[]]]"],
    ["9" * 30, "9" * 5000, "-.inf", "[-1, 1e99]", "!!python/none x", '"\\0"', "*a", "'", "@"],
)
"""None of these is right for any key."""
ODD = for_keys(
    ["2024-01-01", "", "words"],
    [
        "no",
        "010",
        "12:30",
        "[]",
        "0",
        "1e-300",
        "[1,1]",
        "true",
        "~nobody/x",
        "café",
        "0x1F",
        "{}",
        "null",
        "[32,32]",
        "5",
    ],
)
"""Some of these are right for some keys."""


def write(path, sections, section, key, text):
    """Write a recipe with `key: text` as it stands, in line 2."""
    others = {name: dict(values) for name, values in sections.items()}
    others.setdefault(section, {}).pop(key, None)
    own = yaml.safe_dump(others.pop(section))
    lines = [f"  {line}\n" for line in own.splitlines() if line != "{}"]
    path.write_text(f"{section}:\n  {key}: {text}\n{''.join(lines)}{yaml.safe_dump(others) if others else ''}")


def train(path, folder, counted):
    """Train by a recipe without data, which must fail; return what it said."""
    result = check(["train", path, "--run", folder / "run"], inputs=[path], counted=counted)
    assert result.exit_code == 1 and not (folder / "run").exists()
    return result.stderr


@pytest.mark.parametrize("chosen, text", WRONG, ids=range(len(WRONG)))
def test_a_key_with_a_wrong_value(tmp_path, chosen, text):
    for sections, section, key in chosen:
        path = tmp_path / "recipe.yaml"
        write(path, sections, section, key, text)
        said = train(path, tmp_path, (section, key, text, str(sections)))
        assert f"{path}, line " in said, said


@pytest.mark.parametrize("chosen, text", ODD, ids=range(len(ODD)))
def test_a_key_with_an_odd_value(tmp_path, chosen, text):
    for sections, section, key in chosen:
        path = tmp_path / "recipe.yaml"
        write(path, sections, section, key, text)
        train(path, tmp_path, (section, key, text, str(sections)))


def test_every_key_twice(tmp_path):
    for sections, section, key in KEYS:
        path = tmp_path / "recipe.yaml"
        write(path, sections, section, key, f"1\n  {key}: 1")
        said = train(path, tmp_path, (section, key, "twice", str(sections)))
        assert f"{path}, line 3: {section}.{key} is given twice, in line 2 too" in said


PIECES = [
    b"\0",
    b"\n",
    b"\t",
    b":",
    b"- ",
    b"9" * 20,
    b"\xff",
    b"[",
    b"{",
    b"&a ",
    b"*a",
    b"!!x ",
    b"'",
    b"NaN",
    b"-",
    b"e9",
]


def mutated(data):
    """Strategy: the bytes with up to three changes: others, missing ones, or a part of the same put in once more."""
    place = st.integers(0, len(data) - 1)
    copied = st.tuples(place, st.integers(1, 40)).map(lambda pair: data[pair[0] : sum(pair)])
    put = st.one_of(st.binary(max_size=3), st.sampled_from(PIECES), copied)

    def apply(changes):
        result = data
        for at, removed, added in changes:
            result = result[:at] + added + result[at + removed :]
        return result

    return st.lists(st.tuples(place, st.integers(0, 20), put), min_size=1, max_size=3).map(apply)


@examples(70)
@given(mutated(yaml.safe_dump(tiny.recipe(NOWHERE)).encode()))
def test_a_recipe_of_other_bytes(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "mutated.yaml"
    path.write_bytes(data)
    train(path, folder, data)


ROWS = b'{"step": 1, "loss": 0.5, "learning_rate": 0.1, "seconds": 2.5}\n{"step": 1, "val": {"miou": 0.25}}\n'
CLASSES = json.dumps([{"name": name, "color": color, "thing": True} for name, color in tiny.COLORS.items()]).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe with its data, and a run of it whose states and network are damaged, so that nothing is ever trained or
    predicted."""
    root = tmp_path_factory.mktemp("made")
    tree = tiny.recipe(tiny.write_data(root / "data", train=2, val=1))
    recipe, run = tiny.write_recipe(root / "recipe.yaml", tree), root / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("checkpoints/step_00000004.npz", "best.keras"):
        (run / name).write_bytes(b"words")
    (run / "config.yaml").write_text(resolve(tree).to_yaml())
    (run / "classes.json").write_bytes(CLASSES)
    (run / "metrics.jsonl").write_bytes(ROWS)
    return recipe, run


def fails(made, name, data):
    """Change a file of the run, and let the command that reads it first fail; return what it said."""
    recipe, run = made
    whole = (run / name).read_bytes()
    (run / name).write_bytes(data)
    try:
        image = recipe.parent / "data/images/val/frame_0.png"
        arguments = ["predict", run, image, "--out", recipe.parent / "out"]
        if name == "metrics.jsonl":
            arguments = ["train", recipe, "--run", run, "--resume"]
        result = check(arguments, inputs=[recipe.parent], counted=(name, data))
    finally:
        (run / name).write_bytes(whole)
    assert result.exit_code == 1
    return result.stderr


@examples(30)
@given(mutated(ROWS * 2))
def test_metrics_of_other_bytes(made, data):
    fails(made, "metrics.jsonl", data)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(10**400))
names = st.sampled_from(["name", "color", "thing", "miou", "x"])
values = st.recursive(scalars, lambda each: st.lists(each, max_size=3) | st.dictionaries(names, each, max_size=2))


@examples(30)
@given(st.sampled_from(["step", "loss", "seconds", "learning_rate", "val"]), values)
def test_metrics_with_other_values(made, key, value):
    fails(made, "metrics.jsonl", ROWS + json.dumps({"step": 2, key: value}).encode() + b"\n")


@examples(30)
@given(st.lists(values, max_size=3))
def test_classes_with_other_values(made, table):
    assert str(made[1] / "classes.json") in fails(made, "classes.json", json.dumps(table).encode())


@examples(30)
@given(mutated(CLASSES))
def test_classes_of_other_bytes(made, data):
    fails(made, "classes.json", data)


@examples(30)
@given(st.data())
def test_a_run_s_recipe_of_other_bytes(made, data):
    fails(made, "config.yaml", data.draw(mutated((made[1] / "config.yaml").read_bytes())))


def read(function, path, data):
    """Write a file and read it with what the commands read it with: it is read, or refused in one sentence."""
    path.write_bytes(data)
    count(path.name, data)
    with time_limit(path):
        try:
            function(path)
        except DeepLabError as error:
            assert "\n" not in str(error) and str(path) in str(error)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder, a network of one layer with its optimizer, and the bytes of its Keras file and of its state."""
    import keras

    from deeplab_tf.lab.training import state

    folder = tmp_path_factory.mktemp("written")
    image = keras.Input((None, None, 3))
    model = keras.Model(image, {"logits": keras.layers.Conv2D(2, 1)(image)})
    model.compile(keras.optimizers.SGD())
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "best.keras")
    path = state.save(folder, 4, model, model.optimizer, {"best": 0.5, "pending": False})
    return folder, model, (folder / "best.keras").read_bytes(), path.read_bytes()


@examples(30)
@given(st.data())
def test_a_network_of_other_bytes(written, data):
    from deeplab_tf.lab.runs.network_file import load_network_file

    read(load_network_file, written[0] / "network.keras", data.draw(mutated(written[2])))


@examples(30)
@given(st.data())
def test_a_state_of_other_bytes(written, data):
    from deeplab_tf.lab.training import state

    folder, model, _, whole = written
    path, changed = folder / "step_00000004.npz", data.draw(mutated(whole))
    read(lambda path: state.restore(path, model, model.optimizer), path, changed)


RANGES = {
    "measured": {"image": 255.0},
    "float_layers": ["a"],
    "method": "entropy",
    "agreement": {"a": 0.9},
    "frames": 8,
}


@examples(30)
@given(mutated(json.dumps(RANGES).encode()))
def test_ranges_of_other_bytes(written, data):
    from deeplab_tf.lab.export import calibration

    read(lambda path: calibration.load(path.parent), written[0] / "ranges.json", data)
