"""A folder is written by one process at a time, and what killed processes left in it goes; nobody else's files do."""

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from deeplab_tf.core import files
from deeplab_tf.core.errors import DeepLabError

HOLD = """
import sys
import tempfile
from deeplab_tf.core import files
with files.locked(sys.argv[1]), {inside}:
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that holds the lock of a folder, and does something in it, until it is killed."""

    def __init__(self, folder, inside="files.replacing(sys.argv[1] + '/a.png')"):
        call = [sys.executable, "-c", HOLD.format(inside=inside), str(folder)]
        root = str(Path(files.__file__).parent.parent.parent)
        self.process = subprocess.Popen(call, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"held\n"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def hold():
    """hold(folder, inside): a Holder, which is killed at the end of the test at the latest."""
    holders = []

    def start(*arguments):
        holders.append(Holder(*arguments))
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()


def names(folder):
    return sorted(os.listdir(str(folder)))


@pytest.mark.parametrize("there_before", [False, True])
def test_a_folder_takes_one_process_at_a_time(tmp_path, hold, there_before):
    folder = tmp_path / "out"
    if there_before:
        folder.mkdir()
    holder = hold(folder)
    with pytest.raises(DeepLabError, match=f"^Another process is writing to {folder}; wait"), files.locked(folder):
        raise AssertionError("two hold the lock")
    (part,) = names(folder)
    assert part.startswith(".deeplab-tf.") and part.endswith(".part.png"), "a living process's file stays"
    holder.kill()
    with files.locked(folder):
        assert names(folder) == [], "a killed one's does not"


def test_folders_that_were_made_for_nothing_go(tmp_path):
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "mine", tmp_path / "runs" / "first"):
        with pytest.raises(ValueError), files.locked(folder):
            raise ValueError
    assert names(tmp_path) == ["mine"]


def test_a_link_to_a_folder_is_that_folder(tmp_path, hold):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    hold(tmp_path / "out")
    with pytest.raises(DeepLabError, match="Another process"), files.locked(tmp_path / "link"):
        pass


def test_the_lock_goes_with_the_folder_that_is_replaced(tmp_path):
    """As in `convert`, which builds engines in the bundle that it has just put in place."""
    with files.locked(tmp_path / "out"):
        for _ in range(2):
            with files.new_folder(tmp_path / "out") as part:
                Path(part, "a").write_text("")
            with pytest.raises(DeepLabError, match="Another process"), files.locked(tmp_path / "out"):
                pass
    with files.locked(tmp_path / "out"):
        assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["a"]


def test_a_folder_being_swapped_is_locked_too(tmp_path, hold):
    """Between the two renames of `new_folder` there is none at its path."""
    folder = tmp_path / "out"
    holder = hold(folder, "files.new_folder(sys.argv[1]) as part")
    (part,) = (tmp_path / name for name in names(tmp_path) if name != "out")
    folder.rename(str(part)[: -len("part")] + "old")
    with pytest.raises(DeepLabError, match="Another process"), files.locked(folder):
        pass
    assert not folder.exists()
    holder.kill()
    with files.locked(folder):
        assert names(tmp_path) == ["out"]


def test_a_folder_that_vanishes_while_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """Its holder removes it as it was empty, between our opening and our locking it."""
    flock, rest = fcntl.flock, [lambda: os.rmdir(str(tmp_path / "out"))]

    def late(descriptor, how):
        if rest:
            rest.pop()()
        return flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with files.locked(tmp_path / "out"):
        (tmp_path / "out" / "a").write_text("")
    assert names(tmp_path / "out") == ["a"]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DeepLabError, match=f"{tmp_path}/file.* is a file; name a folder"), files.locked(
        tmp_path / name
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_only_our_own_unfinished_files_go(tmp_path):
    """In subfolders too; not what merely looks like them, nor through links."""
    ours = [".deeplab-tf.0123abcd.part.png", "deep/er/.deeplab-tf.0123abcd.part", "b/.deeplab-tf.89abcdef.part.keras"]
    theirs = [
        ".a.0123abcd.part.png",
        ".deeplab-tf.0123abcd.part.tar.gz",
        ".deeplab-tf.0123ABCD.part.png",
        ".deeplab-tf.0123abc.part",
        ".deeplab-tf.jsonl",
        "deeplab-tf.0123abcd.part.png",
        ".deeplab-tf.out.0123abcd.part",
        "deep/.thesis.part",
        "deep/notes.tmp",
    ]
    folder, other = tmp_path / "out", tmp_path / "other"
    for name in ours + theirs:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    (folder / ".deeplab-tf.00000000.part").mkdir()
    other.mkdir()
    (other / ours[0]).write_text("mine")
    (folder / "link").symlink_to(other)
    (folder / ".deeplab-tf.11111111.part").symlink_to(other / ours[0])
    os.mkfifo(str(folder / ".deeplab-tf.22222222.part"))
    with files.locked(folder):
        found = files.files_below(folder)
    assert found == sorted([*theirs, ".deeplab-tf.11111111.part", ".deeplab-tf.22222222.part"])
    assert (folder / ".deeplab-tf.00000000.part").is_dir() and (other / ours[0]).read_text() == "mine"


def test_a_part_that_is_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    """`remove_parts` of another process sees it between its making and its locking."""
    flock, rest = fcntl.flock, [lambda: files.remove_parts(str(tmp_path))]

    def late(descriptor, how):
        if rest:
            rest.pop()()
        return flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    files.write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_it_says_so_and_goes_on(tmp_path, monkeypatch, capsys, code):
    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    left = tmp_path / ".deeplab-tf.0123abcd.part"
    left.write_text("")
    with files.locked(tmp_path):
        files.write_text(tmp_path / "a.txt", "whole")
    said = capsys.readouterr().err
    assert said == f"The file system of {tmp_path} has no locks: let no other command write there at the same time.\n"
    assert left.exists(), "it may be a living process's"


def test_a_json_report_removes_the_half_of_a_killed_one(tmp_path):
    from deeplab_tf.cli.options import write_json

    (tmp_path / ".deeplab-tf.0123abcd.part.json").write_text('{"half')
    write_json({"a": 1}, str(tmp_path / "result.json"))
    assert names(tmp_path) == ["result.json"]


def test_other_folders_of_pictures_are_tidied_too(tmp_path):
    from deeplab_tf.core.cityscapes import CITYSCAPES
    from deeplab_tf.deploy.compare.disagreement import write_disagreements
    from deeplab_tf.deploy.video import sinks

    for tidy in (sinks.make_folder, lambda folder: write_disagreements(folder, np.zeros((0,)), [], CITYSCAPES)):
        (tmp_path / ".deeplab-tf.0123abcd.part.png").write_text("half")
        tidy(str(tmp_path))
        assert names(tmp_path) == []


def test_a_temporary_folder_that_another_process_removes_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    real = os.listdir
    gone = "deeplab-tf-trial-abcdefgh"  # it is listed, and is no more
    monkeypatch.setattr(
        files.os, "listdir", lambda path: [*real(path), gone] if str(path) == str(tmp_path) else real(path)
    )
    with files.temporary_folder("trial") as folder:
        assert os.path.isdir(folder)
    assert not os.path.exists(folder)


def test_a_temporary_folder_goes_with_its_process(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = ["deeplab-tf-trial-0123456", "deeplab-tf-trial-notes.txt", "deeplab-tf-other-01234567"]
    for name in [*theirs, "deeplab-tf-trial-01234567"]:
        (tmp_path / name).mkdir()
    with files.temporary_folder("trial") as living, files.temporary_folder("trial") as folder:
        assert names(tmp_path) == sorted([*theirs, os.path.basename(living), os.path.basename(folder)])
    assert names(tmp_path) == sorted(theirs)
