"""mkdocs hooks: fill marks in the pages.

`<!-- options: COMMAND -->` becomes the options of a command, as click knows them; `<!-- examples -->` the scripts of
docs/examples.
"""

import ast
import html
import re
from pathlib import Path

import click

from deeplab_tf.cli import group

_OPTIONS = re.compile(r"^<!-- options: (\w+) -->$", re.MULTILINE)
_COMMON = ("--json ", "--overwrite", "-v", "-h", "--help")
"""Options of every command, which the page explains once."""
_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def on_page_markdown(markdown, **_):
    """Replace the marks of a page."""
    markdown = _OPTIONS.sub(lambda match: options(match[1]), markdown)
    return markdown.replace("<!-- examples -->", "\n".join(map(example, sorted(_EXAMPLES.glob("*.py")))))


def options(name):
    """Return usage line and table of options of one command, as Markdown."""
    with click.Context(group, info_name="deeplab-tf") as parent:
        command = group.get_command(parent, name)
        if command is None:
            raise click.UsageError(f"There is no command '{name}'.")
        with click.Context(command, info_name=name, parent=parent) as context:
            usage = " ".join(command.collect_usage_pieces(context))
            records = [each.get_help_record(context) for each in command.get_params(context)]
    own = [(flags, text) for flags, text in filter(None, records) if text and not flags.startswith(_COMMON)]
    rows = [f"| `{' '.join(flags.split())}` | {_escaped(text)} |" for flags, text in own]
    return "\n".join([f"```text\ndeeplab-tf {name} {usage}\n```\n", "| option | meaning |", "| --- | --- |", *rows])


def _escaped(text):
    return re.sub(r"([\[\]|*_])", r"\\\1", " ".join(html.escape(text).split()))


def example(path):
    """Return heading, purpose, command and code of one script, as Markdown."""
    source = path.read_text(encoding="utf-8")
    purpose, command = ast.get_docstring(ast.parse(source)).rsplit("\n", 1)
    code = source.split('"""', 2)[2].strip()
    title = path.stem.replace("_", " ").capitalize().replace("Onnx", "ONNX")
    return f"## {title}\n\n{purpose}\n\n```text\n{command}\n```\n\n```python\n{code}\n```\n"
