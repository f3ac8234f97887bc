"""Recipes in configs/ and in documents are valid, and docs/recipes.md is generated from the code."""

import re
import typing
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from annotated_types import Ge, Le

from deeplab_tf.lab.config import load, reference
from deeplab_tf.lab.config.sections import Config
from deeplab_tf.lab.data import DataOptions, data_sets, load_data_set
from deeplab_tf.lab.models.registry import model_schema, networks
from deeplab_tf.lab.schema import Section, meaning, schema_of

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks():
    """(page, recipe) of every recipe in a document."""
    for page in PAGES:
        for body in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if re.search("^data:", body, re.MULTILINE):
                yield page.name, re.sub(r"name: kitti\b", "name: cityscapes", body)  # CONTRIBUTING.md's own dataset


def fields():
    """((section, part, key), field) of every key that a recipe may hold."""
    for name, section in Config.model_fields.items():
        if name not in ("data", "model"):
            yield from (((name, "", key), field) for key, field in section.annotation.model_fields.items())
    for name in data_sets():
        schema = schema_of(load_data_set(name).open_split, DataOptions)
        yield from ((("data", name, key), field) for key, field in schema.model_fields.items())
    for name in networks():
        yield from ((("model", name, key), field) for key, field in model_schema(name).model_fields.items())


FIELDS = dict(fields())


def test_the_page_is_generated():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert page == reference.page(), "run: python -m deeplab_tf.lab.config.reference docs/recipes.md"


@pytest.mark.parametrize("section, part, key", FIELDS)
def test_every_key_has_a_meaning_of_one_line(section, part, key):
    text = meaning(FIELDS[section, part, key])
    assert text and "\n" not in text and "|" not in text


def numbers(hint, limits=()):
    """Yield the limits of every number in a type: ge=1 and le=5 are {"Ge", "Le"}."""
    if hint in (int, float):
        yield {type(limit).__name__ for limit in limits}
    if isinstance(hint, type) and issubclass(hint, Section):
        for field in hint.model_fields.values():
            yield from numbers(field.annotation, field.metadata)
    if typing.get_origin(hint) is Annotated:
        yield from numbers(hint.__origin__, hint.__metadata__)
    else:
        for part in typing.get_args(hint):
            yield from numbers(part)


@pytest.mark.parametrize("section, part, key", FIELDS)
def test_every_number_has_a_lowest_and_a_highest_value(section, part, key):
    field = FIELDS[section, part, key]
    for limits in numbers(field.annotation, field.metadata):
        assert limits & {"Ge", "Gt"} and limits & {"Le", "Lt"}


def test_numbers_are_found():
    limited = Annotated[int, Ge(1), Le(5)]
    assert list(numbers(tuple[limited, ...] | dict[str, float] | None)) == [{"Ge", "Le"}, set()]


def test_every_key_is_on_the_page():
    page = reference.page()
    rows = {section: set() for section in Config.model_fields}
    for heading, text in re.findall(r"^##+ (\w+).*?\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL):
        rows[heading] |= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    for section, _, key in FIELDS:
        assert key in rows[section]


@pytest.mark.parametrize(
    "row",
    [
        "| `steps` | 60000 | an integer from 1 to 10,000,000 | ",
        "| `schedule` | cosine | one of cosine, poly, constant | ",
        "| `root` | required | a string | ",
        "| `ema` | none | a number >= 0 and < 1 or none | ",
        "| `scale` | [1.0, 1.0] | a list of 2 numbers from 0.01 to 100 | ",
        "| `backbone` | resnet50 | one of efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, "
        "efficientnet_lite3, efficientnet_lite4, mobilenet_v3_large, mobilenet_v3_small, "
        "resnet101, resnet18, resnet34, resnet50, swin_tiny, vit_small, vit_tiny | ",
    ],
)
def test_rows_hold_default_and_range(row):
    assert row in reference.page()


def test_keys_that_documents_set_exist():
    known = {(section, key) for section, _, key in FIELDS}
    found = set()
    for path in [*PAGES, *RECIPES]:
        found |= set(re.findall(r"--set ['\"]?(\w+)\.(\w+)=", path.read_text(encoding="utf-8")))
    assert found - {("section", "key")} <= known
    assert ("data", "root") in found


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipes_open_with_command_cost_and_score(path):
    text = path.read_text(encoding="utf-8")
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert text.startswith(f"# deeplab-tf train configs/{path.name}")
    assert "mIoU" in comment, "the score to expect, or that it is not measured"
    assert re.search(r"\d (minutes?|hours?|days?)\b|[Cc]ost not measured", comment), "what it costs"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipes_are_valid(path):
    assert load(path).training.steps > 0


@pytest.mark.parametrize("page, body", blocks())
def test_recipes_in_documents_are_valid(page, body, tmp_path):
    (tmp_path / "recipe.yaml").write_text(body, encoding="utf-8")
    assert load(tmp_path / "recipe.yaml").training.steps > 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_no_section_stands_twice(path):
    """YAML takes the last one without a warning."""
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and line[0] not in " #-"]
    assert len(lines) == len(set(lines)) == len(yaml.safe_load(text))
