"""The command line's manners: what is said, where, and with which exit code."""

import configparser
import errno
import json
import os
import re
import stat
import subprocess
import sys

import click
import numpy as np
import pytest
from click_runner import CliRunner

from deeplab_tf.cli import FolderGroup, group
from deeplab_tf.cli.options import Choice, example, json_option, renamed_option, show, verbose_option, write_json
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.extras import EXTRAS
from deeplab_tf.core.progress import counted, duration, progress

COMMANDS = group.list_commands(None)


class Loader(FolderGroup):
    """The group with one command more, `trial`, that ends as a test wishes."""

    def __init__(self, ending):
        super().__init__(name="deeplab-tf")
        self.ending = ending

    def list_commands(self, ctx):
        return ["trial"] + super().list_commands(ctx)

    def get_command(self, ctx, cmd_name):
        @click.command("trial", epilog=example("deeplab-tf trial"))
        @click.option("--fruit", type=Choice(["apple", "pear"]))
        @json_option
        @verbose_option
        def command(fruit, json_target, verbose):
            if self.ending is not None:
                raise self.ending
            show("a table", json_target)
            write_json({"fruit": fruit, "score": float("nan")}, json_target)

        return command if cmd_name == "trial" else super().get_command(ctx, cmd_name)


def trial(*arguments, ending=None):
    return CliRunner().invoke(Loader(ending), ["trial"] + list(arguments))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_json_and_verbose(name):
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0
    assert f"deeplab-tf {name} " in result.output.split("Example", 1)[1]
    for option in ("--json FILE", "-v"):
        assert option in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_list_with_what_it_does(name):
    line = next(
        line for line in CliRunner().invoke(group, ["--help"]).output.splitlines() if line.startswith(f"  {name} ")
    )
    assert len(line.split(None, 1)[1]) > 10


@pytest.mark.parametrize("name", ["__init__", "options", "../errors", "nothing"])
def test_other_files_are_no_commands(name):
    assert group.get_command(None, name) is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trail"], "No such command 'trail'. Did you mean 'trial'?"),
        (["qqqq"], "No such command 'qqqq'. Choose from: "),
        (["trial", "--friut", "pear"], "--fruit"),
        (["trial", "--fruit", "peer"], "'peer' is not one of apple, pear. Did you mean 'pear'?"),
        (["trial", "--fruit", "zzz"], "'zzz' is not one of apple, pear."),
        (["trial", "--json", "/nowhere/a.json"], "the folder '/nowhere' does not exist"),
        (["trial", "--json", "/"], "'/' is a folder"),
        (["trial", "more"], "more"),
    ],
)
def test_wrong_calls_exit_2_and_say_what_was_meant(arguments, message):
    result = CliRunner().invoke(Loader(None), arguments)
    assert result.exit_code == 2
    assert message in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    "ending, message",
    [
        (DeepLabError("a.png is empty."), "Error: a.png is empty.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/b"),
            "Error: The disk is full: cannot write /a/b. Free some space",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "Error: The disk is full: cannot write any further."),
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/b"),
            "Error: Cannot open or write /a/b: Permission denied.\n",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a"),
            "Error: Cannot open or write a: No such file or directory.\n",
        ),
        (
            ModuleNotFoundError("no", name="tensorflow.lite"),
            "Error: This command needs tensorflow, which is not installed here: in the clone, pip install",
        ),
        (ModuleNotFoundError("no", name="cv2"), "Error: OpenCV is missing"),
    ],
)
def test_failures_exit_1_with_one_sentence(ending, message, monkeypatch):
    monkeypatch.setattr("deeplab_tf.cli.LAB_PYTHON", ((3, 6),))  # whichever Python this is, it is not the reason
    result = trial(ending=ending)
    assert result.exit_code == 1
    assert result.stderr.startswith(message) and len(result.stderr.splitlines()) == 1
    verbose = trial("-v", ending=ending)
    assert verbose.exit_code == 1
    assert "Traceback" in verbose.stderr and message in verbose.stderr


def test_interruption_exits_130():
    assert (trial(ending=KeyboardInterrupt()).exit_code, trial(ending=KeyboardInterrupt()).stderr) == (
        130,
        "Interrupted.\n",
    )
    result = trial(ending=KeyboardInterrupt("Stopped at step 7; --resume goes on."))
    assert (result.exit_code, result.stderr) == (130, "Stopped at step 7; --resume goes on.\n")


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError(), ImportError("no such name"), ModuleNotFoundError("no", name="deeplab_tf.nothing")]
)
def test_bugs_keep_their_traceback(bug):
    assert trial(ending=bug).exception is bug


def test_python_of_a_jetson_is_named_where_the_lab_cannot_be_imported(monkeypatch):
    monkeypatch.setattr("deeplab_tf.cli.LAB_PYTHON", ((99, 0), (99, 1)))
    for ending in (SyntaxError("walrus"), ModuleNotFoundError("no", name="tensorflow")):
        assert trial(ending=ending).stderr.startswith("Error: This command needs Python 99.0 or 99.1")
    bug = TypeError("'type' object is not subscriptable")
    assert trial(ending=bug).exception is bug
    try:  # the same error while a module is imported
        exec(compile("list[int][0][0]", "lab.py", "exec"))
    except TypeError as error:
        assert trial(ending=error).stderr.startswith("Error: This command needs Python 99.0 or 99.1")


def test_the_extras_that_errors_name_exist():
    setup = configparser.ConfigParser()
    setup.read(os.path.join(os.path.dirname(__file__), "..", "setup.cfg"))
    required = setup["options.extras_require"]
    assert set(EXTRAS) <= set(required)
    distributions = {"yaml": "PyYAML", "tensorflow_datasets": "tensorflow-datasets"}
    not_ours = {"tensorflow-metadata", "importlib_resources"}  # of TensorFlow Datasets
    for extra, packages in EXTRAS.items():
        lines = (line for line in required[extra].split("\n") if line and not line.startswith("#"))
        named = {re.split(r"[<>=!~\[;]", line)[0].strip() for line in lines}
        assert {distributions.get(package, package) for package in packages} == named - not_ours, extra


def test_a_renamed_option_names_the_new_one():
    @click.command()
    @renamed_option("--old", "--new")
    @renamed_option("--flag", "--new-flag", is_flag=True)
    @click.option("--new")
    def command(new):
        pass

    for call, message in ((["--old", "1"], "--old has been renamed: use --new."), (["--flag"], "use --new-flag.")):
        result = CliRunner().invoke(command, call)
        assert result.exit_code == 2 and message in result.stderr
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0 and "--old" not in result.output
    assert CliRunner().invoke(command, ["--new", "1"]).exit_code == 0


def test_json_to_standard_output_leaves_the_table_to_standard_error():
    result = trial("--fruit", "pear", "--json", "-")
    assert json.loads(result.stdout) == {"fruit": "pear", "score": None}
    assert result.stderr == "a table\n"
    assert trial().stdout == "a table\n"


def test_json_in_plain_types(tmp_path):
    report = {
        "a": np.float32(0.5),
        "b": np.array([1.0, np.nan]),
        "c": [np.int64(3), float("inf")],
        "d": tmp_path,
        5: (None, True),
    }
    write_json(report, str(tmp_path / "a.json"))
    expected = {"a": 0.5, "b": [1.0, None], "c": [3, None], "d": str(tmp_path), "5": [None, True]}
    assert json.loads((tmp_path / "a.json").read_text()) == expected


def test_json_replaces_a_file_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to(path)

    def fail(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(DeepLabError, match="a.json: No space left on device"):
            write_json({"a": 1}, str(path))
    assert path.read_text() == "old"
    write_json({"a": 1}, str(link))
    assert json.loads(path.read_text()) == {"a": 1} and link.is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "link.json"]


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


@needs_full
def test_json_to_a_full_disk_is_one_sentence_and_leaves_the_device():
    result = trial("--json", "/dev/full")
    assert result.exit_code == 1
    assert result.stderr == "Error: Cannot write the JSON report to /dev/full: No space left on device.\n"
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@needs_full
@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["--version"]])
def test_standard_output_to_a_full_disk_is_one_sentence(arguments):
    with open("/dev/full", "w") as full:
        result = subprocess.run([sys.executable, "-m", "deeplab_tf"] + arguments, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert result.stderr.decode().startswith("Error: The disk is full") and len(result.stderr.splitlines()) == 1


def test_json_that_could_not_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a person who is not root
    result = trial("--json", str(tmp_path / "a.json"), ending=AssertionError("the work began"))
    assert result.exit_code == 2
    assert f"'{tmp_path}' cannot be written: permission denied." in result.stderr


def test_progress_is_plain_lines_where_nobody_looks(capsys, monkeypatch):
    clock = iter(range(0, 1000, 4))  # every look at the clock is four seconds later
    monkeypatch.setattr("deeplab_tf.core.progress.time.monotonic", lambda: float(next(clock)))
    assert list(progress([10, 20, 30, 40], "score")) == [10, 20, 30, 40]
    # lines are ten seconds apart: after the third item (12 s, 0.25/s, one left); then the end (20 s)
    assert capsys.readouterr().err.splitlines() == [
        "score: 3/4 images, 0.25/s, 4.0 s left",
        "score: 4 images in 20.0 s, 0.20/s",
    ]


def test_progress_of_a_resumed_run_counts_only_what_is_new(capsys, monkeypatch):
    clock = iter([0.0, 20.0, 20.0])
    monkeypatch.setattr("deeplab_tf.core.progress.time.monotonic", lambda: next(clock))
    with progress(100, "train", unit="steps", done=60) as bar:
        bar.advance(20, note="loss 0.5")  # 20 steps in 20 s; 20 are left
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["train: 80/100 steps, 1.00/s, 20.0 s left, loss 0.5", "train: 20 steps in 20.0 s, 1.00/s"]


@pytest.mark.parametrize(
    "seconds, text", [(1.25, "1.2 s"), (59.9, "59.9 s"), (185, "3 min 05 s"), (3600 * 2 + 7 * 60, "2 h 07 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_slow_start_does_not_count_in_the_rate(monkeypatch, capsys):
    clock = iter([0.0, 30.0, 40.0, 40.0])  # made, first step, eleventh step, end
    monkeypatch.setattr("deeplab_tf.core.progress.time.monotonic", lambda: next(clock))
    bar = progress(21, "train", unit="steps", slow=1)
    bar.advance(1)
    assert capsys.readouterr().err.splitlines()[-1] == "train: 1/21 steps"  # nothing is known yet
    bar.advance(10)
    # 10 steps in 10 s since the first; 10 more are to come
    assert capsys.readouterr().err.splitlines()[-1] == "train: 11/21 steps, 1.00/s, 10.0 s left"
    bar.__exit__(None, None, None)
    assert (
        capsys.readouterr().err.splitlines()[-1] == "train: 11 steps in 40.0 s, 1.00/s"
    )  # all of them, and all of the time


@pytest.mark.parametrize(
    "call", [["predict", "run", "a.png", "--out", "b"], ["evaluate", "run"], ["stream", "b", "--source", "sample://"]]
)
def test_runtimes_are_listed_and_a_wrong_one_gets_a_hint(call):
    from deeplab_tf.deploy.runtimes import names

    result = CliRunner().invoke(group, [call[0], "--help"])
    assert all(name in result.output for name in ["auto", *names()])
    result = CliRunner().invoke(group, [*call, "--runtime", "onxx"])
    assert result.exit_code == 2 and result.stderr.endswith("There is no runtime 'onxx'. Did you mean 'onnx'?\n")


def test_one_is_singular():
    assert [counted(count, "images") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


@pytest.mark.parametrize("name", ["evaluate", "predict", "stream"])
def test_commands_that_run_a_bundle_have_the_same_options(name):
    params = {param.name: param for param in group.get_command(None, name).params}
    assert list(params["precision"].type.choices) == ["int8", "float16", "float32"]
    assert "[default: the best" in params["precision"].help and "[default: auto" in params["runtime"].help
    assert ("checkpoint" in params) == (name != "stream")


@pytest.mark.parametrize(
    "command, option, value",
    [
        ("sample out", "--scenes", "1000000000000"),
        ("sample out", "--seed", "-1"),
        ("sample out", "--size", "512x" + "9" * 5000),
        ("sample out", "--size", "512x\u0661\u0662\u0668"),
        ("report run", "--frames", "1000000000"),
        ("compare bundle --source x.mp4", "--frames", "1000000000000"),
        ("compare bundle --source x.mp4", "--seconds", "nan"),
        ("compare bundle --source x.mp4", "--seconds", "inf"),
        ("compare bundle --source x.mp4", "--rounds", "9" * 5000),
        ("stream bundle --source x.mp4", "--frames", "9" * 30),
        ("stream bundle --source x.mp4", "--retries", "-1"),
        ("convert run", "--calibration-images", "1000000000"),
        ("convert run", "--score-images", "1000000000"),
        ("prune run", "--gmac", "nan"),
        ("prune run", "--images", "1000000000"),
        ("prune run", "--score-images", "9" * 30),
        ("budget recipe", "--fps", "inf"),
        ("budget recipe", "--classes", "256"),
        ("evaluate run", "--scales", "1e-9"),
        ("evaluate run", "--scales", "nan"),
        ("score --pred . --truth . --format ids", "--classes", "1000000000000"),
        ("score --pred . --truth . --format ids", "--classes", "9" * 5000),
        ("doctor", "--limit", "1e300"),
    ],
)
def test_absurd_numbers_are_wrong_calls(command, option, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(group, [*command.split(), option, value])
    assert result.exit_code == 2 and option in result.stderr, result.stderr
    assert not any(tmp_path.iterdir())


def test_no_help_shows_the_name_of_a_type():
    for name in group.list_commands(None):
        assert "RANGE" not in CliRunner().invoke(group, [name, "--help"]).stdout
