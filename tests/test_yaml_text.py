"""YAML of recipes: what is text and what is not, and everything else that a file may hold is an error with its line."""

import math

import pytest
import tiny
import yaml
from generated import examples
from hypothesis import given
from hypothesis import strategies as st

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.yaml_text import MAX_BYTES, read, read_file
from deeplab_tf.lab.config import load
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.yaml_text import dump


@pytest.mark.parametrize(
    "text, value",
    [
        ("no", "no"),
        ("on", "on"),
        ("010", "010"),
        ("-08", "-08"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("12:30", "12:30"),
        ("1:30:00", "1:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("=", "="),
        ("'1e3'", "1e3"),
        ('"null"', "null"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("1e3", 1000.0),
        ("-0", 0),
        ("60_000", 60_000),
        ("0.50", 0.5),
        (".inf", math.inf),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(text, value):
    found = read(f"key: {text}", "x").value["key"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("name", ["no", "yes", "on", "off", "n", "010", "0x1F", "12:30", "2024-01-01", "1_000.5", "="])
def test_a_class_keeps_its_name(tmp_path, name):
    path = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(tiny.write_data(tmp_path / "data")))
    path.write_text(path.read_text().replace("name: tree", f"name: {name}"))
    assert open_split(load(path).data, "val").table.names == ["road", name, "sky"]
    again = tmp_path / "config.yaml"
    again.write_text(load(path).to_yaml())
    assert load(again) == load(path)


@pytest.mark.parametrize("name", ["null", "~", "", "1e3", "1.5", "true", ".nan"])
def test_a_name_that_is_not_text_is_refused_with_the_way_out(tmp_path, name):
    path = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe("somewhere"))
    path.write_text(path.read_text().replace("name: tree", f"name: {name}"))
    line = path.read_text().splitlines().index(f"    name: {name}") + 1
    with pytest.raises(DeepLabError, match="quotation marks") as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}, line {line}: data.classes[1].name must be a string")
    path.write_text(path.read_text().replace(f"name: {name}\n", f"name: '{name or 'x'}'\n"))
    assert load(path).data["classes"][1]["name"] == (name or "x")


@pytest.mark.parametrize("word, value", [("yes", True), ("No", False), ("on", True), ("OFF", False), ("true", True)])
def test_a_boolean_may_be_yes_or_no(tmp_path, word, value):
    path = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe("somewhere"))
    assert load(path, [f"model.separable={word}"]).model["separable"] is value


LETTERS = "abcdefghijklmn"
BOMB = "a: &a [1, 1]\n" + "".join(f"{key}: &{key} [*{last}, *{last}]\n" for last, key in zip(LETTERS, LETTERS[1:]))
"""Line i holds 2**(i + 1) - 1 values; the first 12 lines hold 16,370 of them, and the 13th passes the limit."""


@pytest.mark.parametrize(
    "text, line, fact",
    [
        ("data:\n  size: 1\ndata:\n  size: 2", 3, "data is given twice, in line 1 too"),
        ("data:\n  size: 1\n  name: x\n  size: 2", 4, "data.size is given twice, in line 2 too"),
        ("a:\n- {b: 1,\n   'b': 2}", 3, "a[0].b is given twice, in line 2 too"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "python/object/apply:os.system is not read"),
        ("a: !mine 1", 1, "!mine is not read"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("a:\n\tb: 1", 2, "cannot start any token"),
        ("a: 1\nb: \0", 2, "U+0000"),
        ('a: 1\nb: "\\0"', 2, "U+0000"),
        ('a: "\\ud800"', 1, "U+D800"),
        ('a: "\\UFFFFFFFF"', 1, "not valid YAML"),
        ("a: |\n  two\n  lines", 1, "U+000A"),
        ("a: 1\nb: " + "7" * 5000, 2, "5000 digits"),
        ("a: 0." + "7" * 5000, 1, "5002 digits"),
        ("%YAML " + "1" * 5000 + ".1\n---\na: 1", 1, "not valid YAML"),
        ("[" * 10_000, 1, "more than 20 lists or mappings"),
        ("{a: " * 10_000, 1, "more than 20 lists or mappings"),
        (BOMB, 13, "more than 20000 values"),
        ("a: &a 1\n<<: *a", 2, "merge keys"),
        ("a: &a [*a]", 1, "names no value before it"),
        ("? [a]\n: 1", 1, "a key must be a word"),
        ("? *a\n: 1", 1, "a key must be a word"),
        ("'': 1", 1, "a key is empty"),
        ("a: 1\nb: [1, 2", 2, "not valid YAML"),
        ("x" * 5000, 1, "5000 characters"),
    ],
)
def test_what_no_recipe_holds_is_an_error_with_its_line(text, line, fact):
    with pytest.raises(DeepLabError) as caught:
        read(text, "recipe.yaml")
    said = str(caught.value)
    assert said.startswith(f"recipe.yaml, line {line}: ") and fact in said and "\n" not in said and len(said) < 300


def test_a_value_may_be_named_and_used_again():
    assert read("a: &size [1, 2]\nb: *size", "x").value == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    "data, fact",
    [
        (b"\xef\xbb\xbfa: 1", None),
        (b"a: 1\r\nb: 2\r\n", None),
        (b"a: 1\nb: caf\xe9", "line 2: not valid YAML, which is UTF-8 text"),
        ("a: 1".encode("utf-16"), "line 1: not valid YAML, which is UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), "more than 200000 bytes"),
    ],
)
def test_bytes(tmp_path, data, fact):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(data)
    if fact is None:
        assert read_file(path).value["a"] == 1
        return
    with pytest.raises(DeepLabError) as caught:
        read_file(path)
    assert str(path) in str(caught.value) and fact in str(caught.value)


@pytest.mark.parametrize("path", ["/dev/zero", ".", "no/such/file"])
def test_what_is_no_file(path):
    with pytest.raises(DeepLabError, match=f"Cannot read the recipe {path}"):
        read_file(path)


words = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029"), min_size=1)
scalars = st.one_of(words, st.booleans(), st.none(), st.integers(-(10**30), 10**30), st.floats(allow_nan=False))
RESEMBLING = "no yes ~ null 010 1e3 1e+3 .5 5. +1 12:30 2024-01-01 0x1F << = 1_000 .inf - ? :"
resembling = st.one_of([st.just(word) for word in RESEMBLING.split()])


@examples(300)
@given(st.dictionaries(words, st.lists(scalars | resembling, max_size=5), max_size=4))
def test_what_is_written_is_read_back(tree):
    for options in ({}, {"default_flow_style": True, "width": 10**6}):
        assert read(dump(tree, **options), "x").value == tree


@examples(300)
@given(st.text(st.sampled_from("ab01 \n\t-:?[]{},&*!|>'\"%@`#.~<\\x\x00\ufeff\u2028"), max_size=40))
def test_every_text_is_read_or_refused_in_one_sentence(text):
    try:
        read(text, "recipe.yaml")
    except DeepLabError as error:
        assert str(error).startswith("recipe.yaml, line ") and "\n" not in str(error)


def test_pyyaml_agrees_where_both_versions_do():
    text = "a: {b: [1, -2, 3.5, 1.0e+3, true, null, word, 'two words']}\nc:\n- d: x\n  e: y\n"
    assert read(text, "x").value == yaml.safe_load(text)
