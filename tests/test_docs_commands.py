"""Run the commands and the Python of the pages on a small demo: tools/demo.sh at 64x128 with a tiny network.

A shell block, or a line of it, with a comment `# needs ...` (a GPU, Cityscapes, minutes) is not run; `test_docs.py`
checks that its commands and options exist. `make` targets are run by hand and by CI.
"""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
import tiny
from click.testing import CliRunner
from test_docs import PAGES, README, ROOT, blocks

from deeplab_tf.cli import group

SETTINGS = (
    "data.size=[64,128] augment.crop=[64,128] training.steps=100 training.batch_size=2 training.validate_every=100 "
    "training.save_steps=[100] training.precision=float32 model.aspp_channels=16 model.decoder_channels=16"
)
SMALL = {
    "sample": "--scenes 10",
    "train": " ".join(f"--set {setting}" for setting in SETTINGS.split()),
    "prepare": "--set data.size=[64,128]",
    "init": "--steps 20",
    "convert": "--calibration-images 2 --score-images 2",
    "compare": "--runtimes onnx --seconds 0",
    "stream": "--frames 5",
}
"""Options that make a command take a second; the last value of an option counts."""
SHELL = re.compile(r"make [\w./]+|\. \.venv/bin/activate")
"""Lines that are run by hand and by CI."""
NEEDS = re.compile(r"# needs \w+")


def lines_of(body):
    """The lines of a shell block that are to be run, continued ones joined; none if the block begins with its needs."""
    lines = [line.strip() for line in body.replace("\\\n", " ").splitlines() if line.strip()]
    return [] if NEEDS.match(lines[0]) else [line for line in lines if not NEEDS.search(line)]


def runnable(page):
    """The `deeplab-tf` lines of a page that are to be run, and its Python blocks, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for kind, body in re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if kind == "sh":
            found += [line for line in lines_of(body) if line.startswith("deeplab-tf ")]
        elif "deeplab_tf.load" in body:
            found.append(body)
    return found


RUNNABLE = {page: runnable(page) for page in PAGES if page.name != "developer-guide.md"}


class Workspace:
    """A folder with `demo/` in it, and which lines were run there already."""

    def __init__(self, folder):
        self.folder, self.done = folder, set()

    def run(self, line):
        """Run one `deeplab-tf` line in this process, made small."""
        if line in self.done:
            return
        words = shlex.split(line, comments=True)[1:]
        result = CliRunner().invoke(group, [*words, *SMALL.get(words[0], "").split()])
        assert result.exit_code == 0, f"{line}: {result.output}" + (
            f" {result.exception!r}" if result.exception else ""
        )
        self.done.add(line)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What `make demo` leaves behind, made by its own commands."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "configs").symlink_to(ROOT / "configs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        tiny.use_backbone(monkeypatch)
        space = Workspace(folder)
        script = (ROOT / "tools" / "demo.sh").read_text(encoding="utf-8")
        for line in re.findall(r'^step ".*?" "(deeplab-tf .*)"$', script, re.MULTILINE):
            space.run(line.replace("$out", "demo").replace("'", '"'))
        shutil.copy(next(Path("demo/scenes/leftImg8bit/val").rglob("*.png")), "photo.jpg")
        yield space


@pytest.mark.parametrize("page", [page for page, lines in RUNNABLE.items() if lines], ids=lambda page: page.name)
def test_commands_and_python_of_the_pages_run(page, workspace):
    for piece in RUNNABLE[page]:
        if piece.startswith("deeplab-tf "):
            workspace.run(piece)
        else:
            exec(compile(piece, page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_is_run_or_says_what_it_needs(page):
    for body in blocks(page.read_text(encoding="utf-8"), "sh"):
        for line in lines_of(body):
            assert line.startswith("deeplab-tf ") or SHELL.match(line), f"{page.name}: nothing runs '{line}'"


def test_the_readme_runs_most_of_what_it_shows():
    assert len(RUNNABLE[README]) >= 8


@pytest.mark.parametrize(
    "tool, arguments",
    [
        ("architecture", ["configs/camvid_slim.yaml", "architecture.png"]),
        ("augmentations", ["augmentations.png"]),
        ("figures", [".", "--run", "demo/run", "--scene", "000004", "--frames", "1"]),
    ],
)
def test_the_figures_of_the_documents_can_be_drawn(tool, arguments, workspace):
    spec = importlib.util.spec_from_file_location(tool, ROOT / "tools" / "draw" / f"{tool}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = CliRunner().invoke(module.main, arguments)
    assert result.exit_code == 0, result.output
    drawn = re.findall(r"^Drew (.*)$", result.output, re.MULTILINE)
    assert drawn and all(Path(path).stat().st_size > 1000 for path in drawn)
