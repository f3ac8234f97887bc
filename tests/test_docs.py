"""The documents name what exists: commands, options, files, links, errors; their examples work.

`test_docs_commands.py` runs the commands and the Python of the pages.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from deeplab_tf.cli import group

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "tools/README.md", "jetson/README.md"))]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
GUIDE = (ROOT / "docs" / "developer-guide.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^`([\w./]+)`:\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEW_COMMANDS = re.findall(r"^`deeplab_tf/cli/(\w+)\.py`:$", GUIDE, re.MULTILINE)
"""Commands that the developer guide adds."""


def blocks(text, *kinds):
    """The fenced blocks of a page of these kinds."""
    return [
        body for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if kind in kinds
    ]


def shell_lines(text):
    """The lines of a page's shell blocks, continued ones joined."""
    return [
        line.strip() for body in blocks(text, "sh") for line in body.replace("\\\n", " ").splitlines() if line.strip()
    ]


def command_lines():
    """(source, whole, words) of every `deeplab-tf ...`: whole ones in shell blocks and heads of recipes, pieces in
    running text."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [(page.name, True, line) for line in shell_lines(text) if line.startswith("deeplab-tf ")]
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        found += [(page.name, False, line) for line in re.findall(r"`(deeplab-tf [^`]+)`", prose)]
    for recipe in RECIPES:
        lines = recipe.read_text(encoding="utf-8").splitlines()
        found += [(recipe.name, True, line[1:].strip()) for line in lines if re.match(r"# *deeplab-tf ", line)]
    lines = [
        (source, whole, shlex.split(line.split("     (")[0].replace("...", ""), comments=True))
        for source, whole, line in found
    ]
    return [line for line in lines if line[2][1] not in NEW_COMMANDS]


COMMAND_LINES = command_lines()


def check(words, whole):
    """Raises click.UsageError for a command, an option or a value that does not exist, and for a whole line that lacks
    something."""
    with click.Context(group, info_name="deeplab-tf") as parent:
        if words[1].startswith("-"):
            group.make_parser(parent).parse_args(words[1:])
            return
        command = group.get_command(parent, words[1])
        if command is None:
            raise click.UsageError("no command " + words[1])
        with click.Context(command, info_name=words[1], parent=parent) as context:
            given = command.make_parser(context).parse_args(words[2:])[0]
            for parameter in command.params:
                value = given.get(parameter.name)
                if value in (None, ()) or parameter.value_is_missing(value):
                    if whole and parameter.required:
                        raise click.UsageError("lacks " + parameter.name)
                elif (
                    not isinstance(parameter.type, click.Path) and parameter.name != "json_target"
                ):  # whose folders need not be here
                    parameter.process_value(context, value)


@pytest.mark.parametrize(
    "source, whole, words", COMMAND_LINES, ids=["{}: {}".format(s, " ".join(w)) for s, _, w in COMMAND_LINES]
)
def test_command_lines_name_what_exists(source, whole, words):
    check(words, whole)
    if source == "developer-guide.md":
        return  # its recipes are there once its examples are followed
    for path in [word for word in words if word.startswith("configs/") and "NAME" not in word]:
        assert (ROOT / path).is_file()


def test_command_lines_are_found_everywhere():
    sources = [source for source, whole, _ in COMMAND_LINES if whole]
    assert sources.count("README.md") > 10 and sources.count("commands.md") >= len(group.list_commands(None))
    assert {recipe.name for recipe in RECIPES} <= set(sources), "the first line of a recipe is the command that runs it"


@pytest.mark.parametrize(
    "line",
    [
        "deeplab-tf trian a.yaml",
        "deeplab-tf train a.yaml --sett a=b",
        "deeplab-tf train",
        "deeplab-tf predict run a.png",
        "deeplab-tf predict run a.png --out b --format colr",
        "deeplab-tf evaluate run --scales one",
    ],
)
def test_a_wrong_command_line_is_noticed(line):
    with pytest.raises(click.UsageError):
        check(line.split(), True)


def slug(heading):
    """The anchor that a heading gets on a Git server."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name} links to {target}"


def test_every_command_tool_and_recipe_is_explained():
    text = README.read_text(encoding="utf-8")
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in group.list_commands(None):
        assert f"\n| `deeplab-tf {name}" in text, f"README's table of commands lacks {name}"
        assert f"\n## {name}\n" in reference and f"<!-- options: {name} -->" in reference
    index = (ROOT / "tools" / "README.md").read_text(encoding="utf-8")
    for tool in [*(ROOT / "tools").glob("*/*.py"), *(ROOT / "tools").glob("*/*.sh")]:
        assert f"({tool.relative_to(ROOT / 'tools')})" in index, f"tools/README.md lacks {tool.name}"
    for recipe in RECIPES:
        assert f"(configs/{recipe.name})" in text, f"README's table of recipes lacks {recipe.name}"


def test_files_and_targets_that_are_named_exist():
    targets = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue  # names what is gone
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|`)make ([a-z.][\w./]*)", text, re.MULTILINE):
            assert target in targets, f"{page.name} says make {target}"
        new = {path for path, _, _ in EXAMPLE.findall(text)}
        for path in re.findall(
            r"\b((?:deeplab_tf|configs|docs|tests|tools)/[\w/]+\.(?:py|yaml|sh|md|png|jpg))\b", text
        ):
            assert path in new or "NAME" in path or (ROOT / path).exists(), f"{page.name} names {path}"


def test_the_readme_stays_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


def test_pages_of_the_site_are_linked_from_the_readme():
    text = README.read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        if page.stem not in ("index", "changelog"):
            assert f"(docs/{page.name}" in text, f"README does not link {page.name}"


def messages():
    """Every string of the package, with {} for what is filled in."""
    found = []
    for path in (ROOT / "deeplab_tf").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_errors_in_the_troubleshooting_page_are_those_of_the_package():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    sentences = re.findall(r"^#### `(.+)`$", text, re.MULTILINE)
    assert len(sentences) > 15
    known = messages()
    for sentence in sentences:
        pieces = [piece for piece in re.split(r"'?\b[A-Z]{3,}\b'?", sentence) if len(piece.strip()) > 3]
        kept = [message for message in known if all(piece.strip() in message for piece in pieces)]
        assert kept, f"no error of the package reads: {sentence}"


YAML_BLOCKS = [
    (page.name, body) for page in PAGES for body in blocks(page.read_text(encoding="utf-8"), "yaml") if "data:" in body
]


def test_the_folder_that_is_described_opens(tmp_path):
    import numpy as np

    from deeplab_tf.core.image_files import write_image
    from deeplab_tf.lab.data import open_split

    (body,) = [body for source, body in YAML_BLOCKS if source == "your-data.md"]
    data = yaml.safe_load(body)["data"]
    colors = [row["color"] for row in data["classes"]] + data["ignore_colors"]
    label = np.array(colors, np.uint8).reshape(1, -1, 3)
    write_image(str(tmp_path / "images" / "train" / "a.jpg"), label)
    write_image(str(tmp_path / "labels" / "train" / "a.png"), label)
    split = open_split({**data, "root": str(tmp_path)}, "train")
    assert split.sample(0).label_map.tolist() == [[0, 1, 2, 3, 255]]


def test_the_examples_for_contributors_pass_their_own_tests(tmp_path):
    """Copies the package, adds the new files that the developer guide shows, and runs the tests that it shows."""
    import shutil

    shutil.copytree(ROOT / "deeplab_tf", tmp_path / "deeplab_tf", ignore=shutil.ignore_patterns("__pycache__"))
    examples = EXAMPLE.findall(GUIDE)
    for path, _kind, body in examples:
        assert not (ROOT / path).exists(), f"the guide shows {path} as new; it is there already"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(body, encoding="utf-8")
    tests = sorted(path for path, _, _ in examples if path.startswith("tests/"))
    assert len(tests) >= 5
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "conftest", *tests]
    paths = os.pathsep.join([str(tmp_path), str(ROOT / "tests")])  # with the fixtures and checks of all tests
    environment = {**os.environ, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert result.returncode == 0, result.stdout.decode()
