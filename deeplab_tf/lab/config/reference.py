"""Writes docs/recipes.md from the declarations: `python -m deeplab_tf.lab.config.reference docs/recipes.md`."""

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from deeplab_tf.core.files import write_text
from deeplab_tf.lab.config.sections import Config
from deeplab_tf.lab.data import DataOptions, data_sets, load_data_set
from deeplab_tf.lab.models.registry import ModelOptions, backbones, load_network, model_schema, networks
from deeplab_tf.lab.schema import Section, describe, meaning, schema_of, show

INTRODUCTION = """# Recipes

A recipe is a YAML file with everything about a training: data, augmentation, network, loss, optimizer, schedule. Those
that come with the project are in `configs/`. This page lists every key; it is generated from the code.

- Only `data.name`, `data.size` and what the dataset requires must be there; everything else has a default.
- An unknown section or key is an error that says which one was probably meant. So is a key that is given twice, a wrong
  type, or a number outside its range.
- What is not true, false, null or a number in YAML 1.2 is text: a class may be called no, 010 or 12:30. Quotation marks
  make text of anything: `name: "1e3"`.
- `--set section.key=value` on the command line overrides the file, with the value in YAML:
  `--set training.steps=2000 --set augment.crop='[256, 512]' --set loss.class_weights=none`.
- A run's `config.yaml` holds its recipe with every default filled in; it is a recipe too.
- Sizes are [height, width]. `none` switches off.

A small example:

```yaml
data:
  name: cityscapes
  root: demo/scenes
  size: [256, 512]
augment:
  crop: [192, 384]
  flip: 0.5
model:
  width: 0.25
optimizer:
  learning_rate: 0.004
training:
  steps: 500
  batch_size: 8
```"""


def page() -> str:
    """Return the page that lists every key of a recipe."""
    return "\n\n".join([INTRODUCTION, *_data(), *_section("augment"), *_model(), *_others()]) + "\n"


def _data() -> Iterator[str]:
    yield "## data"
    yield _text(DataOptions)
    yield _table(DataOptions.model_fields, {"name": data_sets()})
    for name in data_sets():
        module = load_data_set(name)
        yield f"### data: {name}"
        yield _text(module)
        yield _table(schema_of(module.open_split, Section).model_fields)


def _model() -> Iterator[str]:
    yield "## model"
    yield _text(ModelOptions)
    yield _table(ModelOptions.model_fields, {"name": networks()})
    for name in networks():
        fields = model_schema(name).model_fields.items()
        yield f"### model: {name}"
        yield _text(inspect.getmodule(load_network(name)))
        yield _table({k: v for k, v in fields if k not in ModelOptions.model_fields}, {"backbone": backbones()})


def _others() -> Iterator[str]:
    for name in Config.model_fields:
        if name not in ("data", "augment", "model"):
            yield from _section(name)


def _section(name: str) -> Iterator[str]:
    section: Any = Config.model_fields[name].annotation
    yield f"## {name}"
    yield _text(section)
    yield _table(section.model_fields)


def _text(documented: Any) -> str:
    return inspect.getdoc(documented) or ""


def _table(fields: Mapping[str, FieldInfo], choices: Mapping[str, Sequence[str]] = {}) -> str:
    lines = ["| key | default | values | meaning |", "| --- | --- | --- | --- |"]
    for key, field in fields.items():
        default = "required" if field.is_required() else show(field.default)
        values = f"one of {', '.join(choices[key])}" if key in choices else describe(field)
        lines.append(f"| `{key}` | {default} | {values} | {meaning(field)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    write_text(sys.argv[1], page())
