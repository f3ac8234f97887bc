"""Writes the YAML that `deeplab_tf.core.yaml_text` reads."""

import re

import yaml

from deeplab_tf.core.yaml_text import FLOAT


def dump(value, **options) -> str:
    """Return the YAML of plain values, which `read` takes back; `options` are PyYAML's."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options)


class _Dumper(yaml.SafeDumper):
    """PyYAML's, which also quotes the text 1e3."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"(?:{FLOAT.pattern})$"), list("-+.0123456789"))
