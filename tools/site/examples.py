"""A griffe extension: the `Example:` section of a docstring becomes a code block in the API reference."""

import re
import textwrap

import griffe

_EXAMPLE = re.compile(r"^Example:\n((?:[ ]{4}.*\n?|\n)+)", re.MULTILINE)


class Examples(griffe.Extension):
    """Rewrite docstrings as they are loaded."""

    def on_object(self, *, obj, **_):
        """Fence the example of an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(match):
    code = textwrap.dedent(match[1]).strip()
    return f"**Example**\n\n```python\n{code}\n```\n\n"
